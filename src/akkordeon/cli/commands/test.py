"""`akkordeon test`: one pass of a saved network over the data of the test split."""

from contextlib import suppress
from functools import partial

import torch

from akkordeon.cli.output import Output
from akkordeon.cli.interrupt import Interrupts
from akkordeon.cli.options import TestOptions
from akkordeon.cli.recipe import load
from akkordeon.engines import Threads
from akkordeon.errors import ActorNotFound
from akkordeon.launching import launch
from akkordeon.network import Network
from akkordeon.sentinel import TestSentinel

__all__ = ["evaluate"]


def _detach(network: Network) -> None:
    with suppress(ActorNotFound):  # it may not have been attached yet
        network.detach("test")


def evaluate(options: TestOptions, output: Output, interrupts: Interrupts) -> int:
    """Test what was saved.

    Returns:
        The exit code: 0, or what the signal that ended it asks for.

    Raises:
        AkkordeonError: a wrong input, or the test failed.
    """
    recipe = load(options, {"batch_size": options.batch_size, "folder": options.data})
    torch.manual_seed(0)
    data = recipe.loader("test", options.samples)
    test = TestSentinel("test", data, recipe.loss, recipe.metrics, outputs=False, time_limit=options.time_limit)
    engine = None if options.workers is None else Threads(options.workers)
    with (
        launch(recipe.gates(), engine=engine, weights=options.weights or options.resume) as network,
        interrupts.gently(partial(_detach, network)),
        output.watching(network.status),
    ):
        network.attach(test)
        for report in network.watch():
            output.report(report)
    return interrupts.code or 0
