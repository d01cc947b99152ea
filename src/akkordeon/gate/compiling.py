"""Compiles the forward of a gate's module with `torch.compile`.

The tensors in a module's slots are inputs of what is compiled, so that a new version of the weights needs no new code.

Invariant: while one thread compiles, no other runs what is compiled, nor draws random numbers under the random lock.
torch has one compiler per process. It puts the random generators back where it found them, and marks the process as
tracing, at which compiled code on another thread may raise (torch 2.13 has a second mark against that).
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from akkordeon.messages.tree import Tree, flatten
from akkordeon.tensors import compile_backward_at_once, compiler_failed


class _Compiler:
    """What compiled code may do at once: run on any number of threads, or be made on one, alone."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._running = 0
        self._compiles = False

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait until no thread compiles, nor runs what is compiled if `alone`, and let none begin to."""
        with self._turn:
            self._turn.wait_for(lambda: not self._compiles)
            self._compiles = alone  # before those that run are through, so that no others begin
            self._turn.wait_for(lambda: not (alone and self._running))
            self._running += 1
        try:
            yield
        finally:
            with self._turn:
                self._running -= 1
                self._compiles = self._compiles and not alone
                self._turn.notify_all()


_COMPILER = _Compiler()
_NUMBERS = itertools.count()


class Compiled:
    """Runs modules that are alike, such as the replicas of a gate; compiled at the first input of each mode and shape.

    Args:
        random_lock: held while it compiles. It is always taken before the compiler's own, so that none deadlocks.
        compiler: a backend of `torch.compile`.
    """

    def __init__(self, random_lock: AbstractContextManager[object], compiler: str) -> None:
        self._random_lock = random_lock
        self._run: Callable[[nn.Module, Tree], Tree] = torch.compile(_runner(), backend=compiler)
        self._known: set[object] = set()

    def __call__(self, module: nn.Module, x: Tree) -> Tree:
        """Run a module with the tensors that are in its slots.

        Raises:
            RuntimeError: it cannot be compiled here; says why, and what to do.
            Exception: anything that the module raises.
        """
        leaves, structure = flatten(x)
        shapes = tuple((leaf.shape, leaf.dtype, leaf.requires_grad) for leaf in leaves)
        kind = (module.training, torch.is_grad_enabled(), structure, shapes)
        if kind in self._known:
            with _COMPILER.turn(alone=False):
                return self._run(module, x)
        with self._random_lock, _COMPILER.turn(alone=True):
            output = self._compile(module, x)
        self._known.add(kind)
        return output

    def _compile(self, module: nn.Module, x: Tree) -> Tree:
        """Run the module, which compiles it, unless code that is compiled already fits these shapes, too."""
        with compile_backward_at_once():
            try:
                return self._run(module, x)
            except compiler_failed() as error:
                why = (str(error).splitlines() or [type(error).__name__])[0]
                remedy = "Install a C++ compiler such as g++, which torch.compile needs, or leave out compile=True"
                raise RuntimeError(f"its module could not be compiled: {why}. {remedy}") from error


def _runner() -> Callable[[nn.Module, Tree], Tree]:
    """Return a function that runs a module, with a code object and a name that no other function has.

    `torch.compile` keeps what it compiled per code object, and limits how much that may be; gates that shared one would
    evict each other's. It remembers by the code's name which sizes vary, and those of one gate's input say nothing
    about another's. A closure made anew shares its code with the one before, so the code is replaced.
    """

    def run(module: nn.Module, x: Tree) -> Tree:
        return module(x)

    run.__code__ = run.__code__.replace(co_name=f"run_{next(_NUMBERS)}")
    return run
