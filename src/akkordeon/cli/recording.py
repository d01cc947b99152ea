"""Options that keep what happens in a run: a folder, and files for other tools."""

import os
import re
import time
from pathlib import Path
from typing import Annotated, Any

from akkordeon.cli.options import FILES, SHOWN, STOP, RecipeOptions, refusal
from akkordeon.cli.recipe import Recipe
from akkordeon.messages.plain import fields_of

RUNS = "AKKORDEON_RUNS"
"""Variable that names the folder in which run folders are made; `runs` otherwise."""

SECRET = re.compile("token|secret|password|credential|key", re.IGNORECASE)
"""In the name of a setting whose value is not written down."""


class RecordingOptions(RecipeOptions):
    """Options of all commands that can keep what happens."""

    run_folder: Annotated[
        Path | None, FILES("DIR", "Keep what happens in a folder.", "--run", default="a new one in runs/")
    ] = None
    no_run: Annotated[bool, FILES(None, "Keep no run folder.", "--no-run")] = False
    tensorboard: Annotated[Path | None, SHOWN("DIR", "Write curves for TensorBoard.")] = None
    csv: Annotated[Path | None, SHOWN("FILE", "Write all numbers as a table.")] = None
    wandb: Annotated[str | None, SHOWN("PROJECT", "Log to Weights & Biases.")] = None

    keep_best: Annotated[
        str | None, FILES("FIGURE", "Save whenever validation.accuracy, or the like, is better; in DIR/best.")
    ] = None
    trace: Annotated[int | None, FILES("N", "Trace the first N batches; see akkordeon trace.", min=1)] = None
    patience: Annotated[int | None, STOP("N", "Stop after N reports that are no better.", min=1)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, value in (("--keep-best", self.keep_best), ("--trace", self.trace)):
            if value is not None and self.no_run:
                raise refusal(option, "is kept in the run folder, and --no-run leaves that out")
        if self.patience is not None and self.keep_best is None:
            raise refusal("--patience", "needs --keep-best, which says what is to become better")

    def recorded(self, recipe: Recipe) -> dict[str, Any]:
        """Return what `launch` needs to keep what happens.

        Raises:
            WiringError: TensorBoard or Weights & Biases is to be written, and is not installed.
        """
        from akkordeon.network.run_folder import RunFolder  # noqa: PLC0415 - imports torch
        from akkordeon.network.sinks import Csv, TensorBoard, Wandb  # noqa: PLC0415 - likewise

        wanted = ((Csv, self.csv), (TensorBoard, self.tensorboard), (Wandb, self.wandb))
        sinks = [make(where) for make, where in wanted if where is not None]  # type: ignore[arg-type]
        run = None if self.no_run else RunFolder(self.run_folder or _new_folder(recipe), self._about(recipe))
        best = {"keep_best": self.keep_best, "patience": self.patience}
        return {"run": run, "sinks": sinks, "trace": self.trace, **best}

    def _about(self, recipe: Recipe) -> dict[str, Any]:
        """Return what it takes to repeat the run, without secrets."""
        options = fields_of(self)
        settings = {key: "***" if SECRET.search(key) else value for key, value in options.pop("settings") or ()}
        return {"recipe": recipe.name, "source": recipe.source, "settings": settings, "options": options}


def _new_folder(recipe: Recipe) -> Path:
    """Return the path of a folder that does not exist, named by recipe and time."""
    path = Path(os.environ.get(RUNS, "runs")) / f"{Path(recipe.name).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())
