"""Turns options and settings from the command line into keyword arguments of a recipe's functions."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from akkordeon.errors import RecipeError

FLAGS = {"lr": "--lr", "batch_size": "--batch-size", "folder": "--data"}
"""Keywords that have an option of their own."""

TAKEN = {"split": "the kind of sentinel", "take": "--take and --share"}
"""Keywords that `-o` cannot set, and what sets them."""

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
"""Types whose values can be typed, besides None and those of a `Literal`, and their names in messages."""

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

Parameters = Mapping[str, inspect.Parameter]

Settings = Iterable[tuple[str, str]]
"""Keywords and texts, of `-o`."""


class Binding:
    """Holds what was given, and gives each function the arguments that it has parameters for.

    Args:
        recipe: its name, for messages.
        functions: by name, with their parameters.
        given: by keyword, of options such as --lr; None is not given.
        settings: keywords and texts, of `-o`.

    Raises:
        RecipeError: no function has this keyword, or a text is not a value of its type.
    """

    def __init__(
        self, recipe: str, functions: Mapping[str, Parameters], given: Mapping[str, object], settings: Settings
    ) -> None:
        self._recipe = recipe
        self._functions = functions
        self._given = {key: value for key, value in given.items() if value is not None}
        self._texts: dict[str, str] = {}
        for key in self._given:
            self._check_known(key, FLAGS[key])
        for key, text in settings:
            self._check_known(key, f"-o {key}={text}")
            if key in self._texts or key in self._given:
                twice = f" (also as {FLAGS[key]})" if key in self._given else ""
                raise RecipeError(f"-o {key}={text}: {key} is given twice{twice}; leave one out")
            self._texts[key] = text
        self._values = {name: self._convert(name) for name in functions}

    def arguments(self, function: str, offered: Mapping[str, object]) -> dict[str, object]:
        """Return the keyword arguments of a function: those given, and those offered that it has a parameter for.

        Raises:
            RecipeError: a required argument is missing.
        """
        known = self._functions[function]
        values = {key: value for key, value in offered.items() if key in known} | self._values[function]
        for key, parameter in known.items():
            if parameter.default is parameter.empty and key not in values and key not in TAKEN:
                raise RecipeError(f"{self._recipe}: {function}() requires {key!r}; give -o {key}=...")
        return values

    def _check_known(self, key: str, typed: str) -> None:
        if key in TAKEN:
            raise RecipeError(f"{typed}: {key!r} is not a setting; it is set by {TAKEN[key]}")
        known = sorted({each for parameters in self._functions.values() for each in parameters} - TAKEN.keys())
        if key in known:
            return
        close = difflib.get_close_matches(key, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        there_are = f"It has: {', '.join(known)}" if known else "It has none"
        raise RecipeError(
            f"{typed}: the recipe {self._recipe} has no setting {key!r}{hint} {there_are} "
            "(keyword arguments of its gates() and batches())"
        )

    def _convert(self, function: str) -> dict[str, object]:
        known = self._functions[function]
        texts = {key: _value(key, text, known[key]) for key, text in self._texts.items() if key in known}
        return texts | {key: value for key, value in self._given.items() if key in known}


def parameters(function: Callable[..., Any]) -> Parameters:
    """Return the parameters that can be given by keyword, their annotations evaluated where possible."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError, AttributeError):  # of a type imported under `if TYPE_CHECKING`, say
        signature = inspect.signature(function)
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {key: each for key, each in signature.parameters.items() if each.kind in by_keyword}


def _value(key: str, text: str, parameter: inspect.Parameter) -> object:
    """Convert a text to the annotated type of a parameter, or else to the type of its default."""
    kinds = _kinds(parameter)
    for kind in kinds:
        try:
            return _as(kind, text)
        except ValueError:
            continue
    able = [_name(kind) for kind in kinds if kind in (*NAMES, NoneType) or get_origin(kind) is Literal]
    if not able:
        raise RecipeError(
            f"-o {key}={text}: {key} is a {_name(kinds[0])}, which cannot be given on the command line; "
            "write a recipe that sets it"
        )
    raise RecipeError(f"-o {key}={text}: {text!r} is not {' or '.join(able)}, as {key} must be")


def _kinds(parameter: inspect.Parameter) -> list[Any]:
    annotation, default = parameter.annotation, parameter.default
    if annotation is parameter.empty or isinstance(annotation, str):
        return [str] if default is None or default is parameter.empty else [type(default)]
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return sorted(kinds, key=lambda kind: (kind is str, kind is float))  # the narrower type is tried first


def _as(kind: Any, text: str) -> object:
    if kind is NoneType and text.lower() == "none":
        return None
    if kind is bool and text.lower() in WORDS:
        return WORDS[text.lower()]
    if kind in (int, float, str, Path):
        return kind(text)
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if str(choice) == text:
                return choice
    raise ValueError(text)


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return "none" if kind is NoneType else NAMES.get(kind, getattr(kind, "__name__", str(kind)))
