"""Turns records into plain values, as JSON has them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from akkordeon.messages.histogram import Histogram


def plain(value: Any) -> Any:
    """Return a value of JSON, which has neither NaN nor infinity: None stands for these."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Histogram():
            return plain(value.figures())
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    return plain(fields_of(value)) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a record by name; those that are left out of its text hold tensors."""
    return {each.name: getattr(record, each.name) for each in dataclasses.fields(record) if each.repr}
