"""Lets the functions that a module holds refer to a copy of the module.

`copy.deepcopy` takes a function over as it is. One that captured the module, as a lambda or a hook made in `__init__`
does, would compute with the weights of the original, which nobody trains.
"""

import copy
from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from akkordeon.errors import WiringError


class Captured:
    """The functions in a module's attributes and hooks that captured a part of it.

    Args:
        module: that is to be copied.

    Raises:
        WiringError: a function reaches the module through a global variable, which a copy cannot have.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parts = {id(part) for part in module.modules()}
        self._parts |= {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._functions: dict[int, FunctionType] = {}
        self._seen: set[int] = set()
        for name, part in module.named_modules():
            values = [value for key, value in vars(part).items() if key not in ("_parameters", "_buffers", "_modules")]
            for function in list(self._find(values)):
                self._refuse_globals(function, name)
                if any(map(self._reaches, (function.__closure__, function.__defaults__, function.__kwdefaults__))):
                    self._functions[id(function)] = function

    def replace(self, memo: dict[int, Any]) -> None:
        """Put a new function in place of each into the memo of a `deepcopy`, with nothing captured yet."""
        for function in self._functions.values():
            cells = tuple(CellType() for _ in function.__closure__ or ())
            new = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
            new.__dict__.update(function.__dict__)
            memo[id(function)] = new

    def fill(self, memo: dict[int, Any]) -> None:
        """Let the new functions capture what the old ones did, and the copies of what belongs to the module."""
        for function in self._functions.values():
            new = memo[id(function)]
            for cell, old in zip(new.__closure__ or (), function.__closure__ or (), strict=True):
                for value in _contents(old):
                    cell.cell_contents = self._copied(value, memo)
            if function.__defaults__:
                new.__defaults__ = tuple(self._copied(value, memo) for value in function.__defaults__)
            named = function.__kwdefaults__ or {}
            new.__kwdefaults__ = {name: self._copied(value, memo) for name, value in named.items()} or None

    def _copied(self, value: Any, memo: dict[int, Any]) -> Any:
        """Return a copy of what holds a part of the module; anything else stays one with the user's."""
        return copy.deepcopy(value, memo) if self._reaches(value) else value

    def _find(self, values: object) -> Iterator[FunctionType]:
        """Yield the functions in a value, those inside of others included."""
        self._seen = set()
        yield from (each for each in self._walk(values) if isinstance(each, FunctionType))

    def _walk(self, value: object) -> Iterator[object]:
        """Yield a value, and what it holds that can hold a function or a part."""
        if id(value) in self._seen or isinstance(value, nn.Module | Tensor):
            yield value
            return
        self._seen.add(id(value))
        yield value
        inside: Any = ()
        match value:
            case FunctionType():
                inside = [
                    *(value.__closure__ or ()),
                    *(value.__defaults__ or ()),
                    *(value.__kwdefaults__ or {}).values(),
                ]
            case CellType():
                inside = _contents(value)
            case MethodType():
                inside = (value.__self__, value.__func__)
            case partial():
                inside = (value.func, *value.args, *value.keywords.values())
            case dict():
                inside = list(value.values())
            case list() | tuple() | set() | frozenset():
                inside = list(value)
        for each in inside:
            yield from self._walk(each)

    def _reaches(self, value: object) -> bool:
        self._seen = set()
        return any(id(each) in self._parts for each in self._walk(value))

    def _refuse_globals(self, function: FunctionType, where: str) -> None:
        for name in function.__code__.co_names:
            if id(function.__globals__.get(name)) in self._parts:
                raise WiringError(
                    f"the function {function.__qualname__!r} in module {where!r} uses a module through "
                    f"the global variable {name!r}, which a network's own copy of the module cannot have; use the "
                    "module that a hook is called with, or make the function a method"
                )


def _contents(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty
        return ()
