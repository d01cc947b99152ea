"""The command line: a few lines per command over one `Network` method each.

Nothing here imports torch before a command runs, so that help and errors about options come at once.
"""

from akkordeon.cli.app import app, main

__all__ = ["app", "main"]
