"""Gates cut out of a model that people already have."""

from akkordeon.splitting.split import split, untie

__all__ = ["split", "untie"]
