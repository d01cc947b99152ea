"""Compensations by name, for the command line. Each family publishes its own with `publish`."""

from akkordeon.staleness.compensation import COMPENSATIONS, Compensation


def named(text: str) -> tuple[Compensation, ...]:
    """Return the compensations in a text: "none", or names separated by commas, each with or without =NUMBER.

    Raises:
        ValueError: a name is unknown, or its number is out of range.
    """
    return () if text == "none" else tuple(_one(each.strip()) for each in text.split(","))


def _one(text: str) -> Compensation:
    name, equals, number = text.partition("=")
    if name not in COMPENSATIONS:
        raise ValueError(f"there is no compensation {name!r}; there are: none, {', '.join(COMPENSATIONS)}")
    try:
        value = float(number) if equals else None
    except ValueError:
        raise ValueError(f"{text!r}: {number!r} is not a number") from None
    try:
        return COMPENSATIONS[name](value)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
