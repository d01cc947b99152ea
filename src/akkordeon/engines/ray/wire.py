"""Messages as they travel between processes: bytes, and beside them the memory of their tensors.

A tensor travels as a NumPy view of its values, wherever in a message it is, and is copied once, on arrival: Ray hands
out read-only memory that processes share, and that it keeps for as long as an array uses it. A small tensor travels
among the bytes instead: Ray takes longer to handle an array than to copy a small one.
The bytes are cloudpickle's, like all that Ray carries; they come only from holders of the network's token.
"""

import builtins
import io
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from ray import cloudpickle
from torch import Tensor
from torch.nn import Parameter

from akkordeon import errors
from akkordeon.errors import ActorFailed, WiringError

Packed = tuple[bytes, list[Any]]
Ints = tuple[int, ...]

Form = tuple[Ints, Ints, bool | None]
"""Shape and strides of a tensor, and whether it requires a gradient; None where it is no parameter."""

UNKNOWN_TO_NUMPY = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
"""Stand-ins of the same size for types that NumPy lacks (bfloat16, the float8s, complex32), by their bytes."""

KNOWN_TO_NUMPY = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
}  # fmt: skip

SMALL = 256 * 1024
"""Bytes of a tensor up to which two more copies are faster than an array of Ray's."""

NAMED = (type, FunctionType)
"""What cloudpickle inspects, slowly. A tuple: making a union for each object takes longer than the check."""

OURS = "akkordeon."
"""Prefix of the modules that all processes of a network have."""

PLAIN = (str, int, float, bool, type(None))


def pack(message: object) -> Packed:
    """Turn a message into bytes and arrays.

    Raises:
        WiringError: something in it cannot travel; names the message.
    """
    file, buffers = io.BytesIO(), list[Any]()
    try:
        _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(message)
    except Exception as error:
        kind = type(message).__name__
        raise WiringError(f"{kind} cannot be sent to another process: {error}; {message!r:.200}") from error
    return file.getvalue(), [np.frombuffer(buffer, dtype=np.uint8) for buffer in buffers]


def unpack(data: bytes, buffers: Sequence[Any]) -> Any:
    """Return the message that `pack` packed; its tensors own their memory.

    Raises:
        WiringError: this machine lacks a module, or what is in it, that the other one has.
    """
    try:
        return cloudpickle.loads(data, buffers=buffers)
    except (ImportError, AttributeError) as error:
        remedy = "install it there, too, or put it into the file of the recipe, which travels along"
        raise WiringError(f"another machine of the network cannot use this: {error}; {remedy}") from error


_Base: Any = cloudpickle.Pickler


class _Pickler(_Base):  # type: ignore[misc]
    """Packs tensors and exceptions in ways of its own."""

    def reducer_override(self, thing: Any) -> Any:
        """Return how to make `thing` again, as `__reduce__` does."""
        if type(thing) is Tensor or type(thing) is Parameter:
            return _reduced(thing)
        if isinstance(thing, NAMED):
            return NotImplemented if _is_everywhere(thing) else super().reducer_override(thing)
        if isinstance(thing, BaseException):
            return _error, _plain(thing)
        return NotImplemented


def _is_everywhere(thing: Any) -> bool:
    """Whether any process of a network finds a class or function by its name."""
    return (thing.__module__ or "").startswith(OURS) and "<" not in thing.__qualname__


def _reduced(tensor: Tensor) -> Any:
    values = tensor.detach()
    if values.device.type != "cpu" or values.layout != torch.strided or values.is_conj() or values.is_neg():
        values = values.to_dense().resolve_conj().resolve_neg().cpu()
    values, stride = _laid_out(values)
    if values.dtype not in KNOWN_TO_NUMPY:
        values = values.view(UNKNOWN_TO_NUMPY[values.dtype.itemsize])
    trains = tensor.requires_grad if type(tensor) is Parameter else None
    form = tuple(tensor.shape), stride, trains
    if 0 < values.nbytes <= SMALL:
        kind = str(tensor.dtype).removeprefix("torch.")
        return _small, (bytearray(values.numpy().data), kind, form)
    return _tensor, (values.numpy(), tensor.dtype, form)


def _laid_out(tensor: Tensor) -> tuple[Tensor, Ints]:
    """Return the numbers one after the other, as they lie in memory, and the strides.

    The layout is kept, since a convolution is twice as fast channels last; only gaps are closed.
    """
    strides = tensor.stride()
    along = tensor.permute(sorted(range(tensor.dim()), key=strides.__getitem__, reverse=True))
    if not along.is_contiguous():
        along = tensor.contiguous()
        strides = along.stride()
    return along.reshape(-1), strides


def _small(values: bytearray, kind: str, form: Form) -> Tensor:
    return _formed(torch.frombuffer(values, dtype=getattr(torch, kind)), form)


def _tensor(values: Any, dtype: torch.dtype, form: Form) -> Tensor:
    tensor = torch.from_numpy(values.copy())
    return _formed(tensor if tensor.dtype == dtype else tensor.view(dtype), form)


def _formed(values: Tensor, form: Form) -> Tensor:
    shape, stride, trains = form
    tensor = values.as_strided(shape, stride)
    return tensor if trains is None else Parameter(tensor, requires_grad=trains)


def _plain(error: BaseException) -> tuple[Any, ...]:
    """Return the parts of an exception that any process can make again: not its traceback, nor a user's class."""
    kind = type(error)
    home = kind.__module__ if getattr(builtins, kind.__name__, None) is kind or _is_ours(kind) else ""
    given = error.__reduce__()[1] if isinstance(error, OSError) else error.args  # its file is not among its arguments
    args = tuple(each if isinstance(each, PLAIN) else str(each) for each in given)
    state = {key: each for key, each in vars(error).items() if key == "__notes__" or _is_ours(kind)}
    return home, kind.__name__, args, _text(error), state, error.__cause__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001 - the first one must not be lost for that
        return f"its text cannot be shown: {type(another).__name__}: {another}"


def _is_ours(kind: type[BaseException]) -> bool:
    return getattr(errors, kind.__name__, None) is kind


def _error(
    home: str, name: str, args: tuple[Any, ...], text: str, state: dict[str, Any], cause: BaseException | None
) -> BaseException:
    kind = getattr(builtins if home == "builtins" else errors, name, None) if home else None
    try:
        error: BaseException = ActorFailed(f"{name}: {text}") if kind is None else kind(*args)
    except Exception:  # noqa: BLE001 - its constructor wants something else
        error = ActorFailed(f"{name}: {text}")
    vars(error).update(state)
    error.__cause__ = cause
    return error
