"""Characters and what follows them: Shakespeare's plays, and the Python programs that come with the interpreter.

Shapes: N = characters, W = windows, B = batch, T = length of a window.
"""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from akkordeon.datasets.sources import FileSet, Mirror, locate, read
from akkordeon.datasets.splits import check_split, taken
from akkordeon.errors import DataUnavailable

ASCII = "".join(map(chr, range(128)))
"""The vocabulary of all texts here, so that a network fits whichever is found."""

SHAKESPEARE = FileSet(
    name="shakespeare",
    title="tiny-shakespeare",
    digests={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    sources=(Mirror("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/", suffix=""),),
)

PYTHON_BYTES = 1_000_000
"""How much of the standard library is taken: about as much as there is of Shakespeare."""

SPLITS = ("train", "validate", "test")


@dataclass(frozen=True)
class Text:
    """A text as numbers of characters.

    Args:
        codes: (N,), uint8, each the place of a character in the vocabulary.
        vocabulary: the characters that there are.
    """

    codes: Tensor
    vocabulary: str = ASCII

    def __len__(self) -> int:
        return len(self.codes)

    def windows(self, length: int, take: slice = slice(None)) -> "Windows":
        """Cut it into windows that do not overlap.

        Args:
            length: characters per window; what is left at the end is left out.
            take: which windows.

        Raises:
            ValueError: the length is not positive, or that leaves no window.
        """
        if length < 1:
            raise ValueError(f"the length of a window must be at least 1 character, not {length}")
        num = max(0, len(self) - 1) // length  # the last window needs a character that follows it
        starts = taken(f"windows of {length} in {len(self)} characters", torch.arange(num) * length, take)
        return Windows(self, starts, length)


@dataclass(frozen=True)
class Windows:
    """Pieces of a text, and the same one character later.

    Args:
        text: which one.
        starts: (W,), int64, where each begins.
        length: characters in each.
    """

    text: Text
    starts: Tensor
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and target, both (B, T) int64, of the windows with these numbers; target is what follows x."""
        places = self.starts[rows].unsqueeze(1) + torch.arange(self.length + 1)
        codes = self.text.codes[places].long()
        return codes[:, :-1].contiguous(), codes[:, 1:].contiguous()


def shakespeare(split: str, *, folder: Path | None = None) -> Text:
    """Return a part of tiny-shakespeare, 1,115,394 characters, fetching it where necessary.

    Args:
        split: "train" is the first nine tenths; "validate" and "test" are the last.
        folder: where `input.txt` is, if the user has it; or the file itself, of any name.

    Raises:
        ValueError: there is no such split.
        DataUnavailable: no source has it; says what was tried, and how to place the file by hand.
    """
    check_split(SHAKESPEARE.title, split, SPLITS)
    return _part(split, read(locate(SHAKESPEARE, folder).where, "input.txt"))


def python(split: str) -> Text:
    """Return a part of the Python programs that come with the interpreter: always there, the same for each version.

    They are the modules of the standard library's top folder in order of their names, without the few characters that
    are not ASCII, and end after 1,000,000 characters.

    Args:
        split: "train" is the first nine tenths; "validate" and "test" are the last.

    Raises:
        ValueError: there is no such split.
        DataUnavailable: the interpreter came without the text of its library.
    """
    check_split("python", split, SPLITS)
    folder = Path(sysconfig.get_path("stdlib"))
    content = b""
    for path in sorted(folder.glob("*.py")):
        if len(content) >= PYTHON_BYTES:
            break
        content += path.read_text(encoding="utf-8", errors="ignore").encode("ascii", errors="ignore")
    if not content:
        raise DataUnavailable(f"there are no programs in {folder}, where the interpreter should have its library")
    return _part(split, content[:PYTHON_BYTES])


def _part(split: str, content: bytes) -> Text:
    border = len(content) * 9 // 10
    part = content[:border] if split == "train" else content[border:]
    return Text(torch.frombuffer(bytearray(part), dtype=torch.uint8))
