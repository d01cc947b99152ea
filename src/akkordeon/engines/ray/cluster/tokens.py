"""The token of a network: it lets its holder join, and run code as the user who started the network.

It is kept in a file that only its owner can read, and goes from there into the header of a message. It is never an
argument of a command, and neither printed nor logged.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from akkordeon.errors import TokenUnusable

VARIABLE = "AKKORDEON_TOKEN_PATH"

NUM_BYTES = 32

FORM = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")
"""Characters that a header may have; tokens made by Ray itself are shorter than ours."""


class Token:
    """A secret that does not show itself: not by `repr`, and not in a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "<token>"

    @property
    def bearer(self) -> str:
        """The value of the header `authorization`."""
        return f"Bearer {self._text}"


def token_path() -> Path:
    """Return the path of the token: AKKORDEON_TOKEN_PATH, or ~/.config/akkordeon/token."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "akkordeon" / "token"


def new_token(path: Path | None = None, *, overwrite: bool = False) -> Path:
    """Make a token and write it into a file that only this user can read.

    Args:
        path: the file; as `token_path` says, if None.
        overwrite: replace one that is there, which is of no use any more then.

    Returns:
        The file.

    Raises:
        TokenUnusable: there is one already.
        OSError: the file cannot be written.
    """
    path = path or token_path()
    if path.exists() and not overwrite:
        raise TokenUnusable(f"there is a token in {path} already: use it, or ask for it to be replaced")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(NUM_BYTES) + "\n")
    part.replace(path)
    return path


def read_token(path: Path | None = None) -> Token:
    """Read the token.

    Args:
        path: its file; as `token_path` says, if None.

    Raises:
        TokenUnusable: it is missing or invalid, or others can read it; says what to do.
    """
    path = path or token_path()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(1024)
    except OSError as error:
        remedy = f"copy it from a machine that has it, or set {VARIABLE}"
        raise TokenUnusable(f"cannot read the token from {path} ({error.strerror}): {remedy}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        text = f"others can read the token in {path}, whose mode is {stat.S_IMODE(mode):04o}: run chmod 600 {path}"
        raise TokenUnusable(f"{text}, and make a new one in case it was read")
    text = content.decode("ascii", "replace").strip()
    if not FORM.fullmatch(text):
        raise TokenUnusable(f"{path} holds {len(text)} characters that are not a token: copy it again")
    return Token(text)
