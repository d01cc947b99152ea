"""Four small files in the format of MNIST, of the same names, with digests of their own."""

import hashlib
import struct
from pathlib import Path

import torch
from torch import Tensor

from akkordeon.datasets.sources import FileSet, Source

TRAIN, TEST = 300, 40
"""Samples."""


def images(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures that show their class: a bright row."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (samples,), generator=generator)
    pixels = torch.randint(64, (samples, 28, 28), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(samples), 2 * labels + 3] = 255
    return pixels, labels


def files() -> dict[str, bytes]:
    """The content of the four files by name."""
    content = {}
    for prefix, samples, seed in (("train", TRAIN, 1), ("t10k", TEST, 2)):
        pixels, labels = images(samples, seed)
        content[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4i", 2051, samples, 28, 28) + pixels.numpy().tobytes()
        content[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2i", 2049, samples) + labels.byte().numpy().tobytes()
    return content


def digests(content: dict[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}


def file_set(*sources: Source) -> FileSet:
    """What stands in for `akkordeon.datasets.images.MNIST`."""
    return FileSet("mnist", "MNIST", digests(files()), sources)


def write(folder: Path, content: dict[str, bytes]) -> Path:
    """Put files into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder
