"""`akkordeon test`: tests a saved network in this process."""

from contextlib import suppress

from akkordeon.cli.options import LocalOptions, refusal
from akkordeon.cli.output import Output
from akkordeon.cli.recipe import load
from akkordeon.errors import ActorNotFound


class TestCommand(LocalOptions):
    """Test saved weights on the test data.

    \b
    Examples:
      akkordeon test mnist --resume runs/mnist
      akkordeon test mine.py --weights model.safetensors --take 1000 --json
    """  # noqa: D301

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is None and self.weights is None:
            raise refusal("--resume", "name what to test: --resume DIR or --weights FILE")

    def run(self, output: Output) -> None:
        """Make one pass over the test data."""
        recipe = load(self.recipe, self.settings, batch_size=self.batch_size, folder=self.data)
        import torch  # noqa: PLC0415 - takes seconds

        from akkordeon.network.launching import launch  # noqa: PLC0415
        from akkordeon.sentinel.description import TestSentinel  # noqa: PLC0415

        torch.manual_seed(0)
        data = recipe.loader("test", self.samples)
        test = TestSentinel("test", data, recipe.loss, recipe.metrics, outputs=False, time_limit=self.time_limit)
        with launch(recipe.gates(), engine=self.engine(), weights=self.weights or self.resume) as network:

            def detach() -> None:
                with suppress(ActorNotFound):  # it may not have been attached yet
                    network.detach("test")

            with output.interrupts.gently(detach), output.watching(network.status):
                network.attach(test)
                output.reports(network.watch())
