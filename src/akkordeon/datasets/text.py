"""Texts for character models: Shakespeare's plays, and the Python programs that come with the interpreter.

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
"""The vocabulary of all texts here, so that one network fits each of them."""

SHAKESPEARE = FileSet(
    name="shakespeare",
    title="tiny-shakespeare",
    digests={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    sources=(Mirror("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/", suffix=""),),
)

PYTHON_BYTES = 1_000_000
"""Size of the part of the standard library that is used: about that of Shakespeare's plays."""


@dataclass(frozen=True)
class Text:
    """A text as character codes.

    Args:
        codes: (N,), uint8, indices into the vocabulary.
        vocabulary: all characters.
    """

    codes: Tensor
    vocabulary: str = ASCII

    def __len__(self) -> int:
        return len(self.codes)

    def windows(self, length: int, take: slice = slice(None)) -> "Windows":
        """Return windows that do not overlap.

        Args:
            length: characters per window; an incomplete window at the end is dropped.
            take: windows to use.

        Raises:
            ValueError: the length is not positive, or no window is left.
        """
        if length < 1:
            raise ValueError(f"the length of a window must be at least 1 character, not {length}")
        num = max(0, len(self) - 1) // length  # the last window needs a character that follows it
        starts = taken(f"windows of {length} in {len(self)} characters", torch.arange(num) * length, take)
        return Windows(self, starts, length)


@dataclass(frozen=True)
class Windows:
    """Windows of a text; the target of each is the window one character later.

    Args:
        text: the whole text.
        starts: (W,), int64, index of the first character of each window.
        length: characters per window.
    """

    text: Text
    starts: Tensor
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and target, both (B, T) int64; each target character follows that of x.

        Args:
            rows: indices of windows, (B,) int64.
        """
        places = self.starts[rows].unsqueeze(1) + torch.arange(self.length + 1)
        codes = self.text.codes[places].long()
        return codes[:, :-1].contiguous(), codes[:, 1:].contiguous()


def shakespeare(split: str, *, folder: Path | None = None) -> Text:
    """Return a part of tiny-shakespeare, 1,115,394 characters; fetch it if necessary.

    Args:
        split: "train" is the first nine tenths; "validate" and "test" are the last tenth.
        folder: the user's folder with `input.txt`; or the file itself, under any name.

    Raises:
        ValueError: the split is unknown.
        DataUnavailable: no source has it; lists the sources tried, and says how to place the file by hand.
    """
    check_split(SHAKESPEARE.title, split)
    return _part(split, read(locate(SHAKESPEARE, folder).where, "input.txt"))


def python(split: str) -> Text:
    """Return a part of the Python programs that come with the interpreter: no download, the same for each version.

    They are the modules in the top folder of the standard library, ordered by name, without characters that are not
    ASCII, up to 1,000,000 characters.

    Args:
        split: "train" is the first nine tenths; "validate" and "test" are the last tenth.

    Raises:
        ValueError: the split is unknown.
        DataUnavailable: the interpreter came without the source of its library.
    """
    check_split("python", split)
    folder = Path(sysconfig.get_path("stdlib"))
    content = b""
    for path in sorted(folder.glob("*.py")):
        if len(content) >= PYTHON_BYTES:
            break
        content += path.read_text(encoding="utf-8", errors="ignore").encode("ascii", errors="ignore")
    if not content:
        raise DataUnavailable(
            f"there are no programs in {folder}: this Python lacks the source of its library; use another text"
        )
    return _part(split, content[:PYTHON_BYTES])


def _part(split: str, content: bytes) -> Text:
    border = len(content) * 9 // 10
    part = content[:border] if split == "train" else content[border:]
    return Text(torch.frombuffer(bytearray(part), dtype=torch.uint8))
