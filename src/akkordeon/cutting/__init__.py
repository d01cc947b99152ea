"""Gates cut out of a model that people already have."""

from akkordeon.cutting.split import split, untie

__all__ = ["split", "untie"]
