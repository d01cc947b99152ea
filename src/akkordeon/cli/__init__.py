"""The command line: `app` registers the commands, and `commands` holds one file for each, or for each family.

To add a command, write a subclass of `options.Command` there and register it in `app`. Nothing here imports torch
before a command runs, so that help and errors about options come at once.
"""

from akkordeon.cli.app import app, main

__all__ = ["app", "main"]
