"""Messages as they travel between processes: bytes, and beside them the memory of their tensors.

A tensor travels as a NumPy view of its values, wherever in a message it is, and is copied once, on arrival: what Ray
hands out is read-only memory that others share, and that it would have to keep for as long as anybody looks at it. A
small one travels among the bytes instead: Ray takes longer to look at an array than to copy one.
The bytes are cloudpickle's, as all that Ray carries; they come from holders of the network's token alone.
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

UNKNOWN_TO_NUMPY = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
"""What else to call a type that NumPy does not have (bfloat16, the float8s, complex32), by its bytes."""

KNOWN_TO_NUMPY = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
}  # fmt: skip

SMALL = 256 * 1024
"""Bytes of a tensor that are rather copied twice more than given to Ray as an array."""

NAMED = (type, FunctionType)
"""All that cloudpickle looks at, and it takes its time. A tuple: making a union takes longer than looking."""

OURS = "akkordeon."
"""What the names of modules begin with that all processes of a network have alike."""

PLAIN = (str, int, float, bool, type(None))


def pack(message: object) -> Packed:
    """Take a message apart.

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
    """Put together again what `pack` took apart; its tensors own their memory.

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
    """Knows tensors and exceptions."""

    def reducer_override(self, thing: Any) -> Any:
        """Say how to make `thing` again."""
        if type(thing) is Tensor or type(thing) is Parameter:
            return _reduced(thing)
        if isinstance(thing, NAMED):
            return NotImplemented if _is_everywhere(thing) else super().reducer_override(thing)
        if isinstance(thing, BaseException):
            return _error, _told(thing)
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
        return _small, (bytearray(values.numpy().data), kind, *form)
    return _tensor, (values.numpy(), tensor.dtype, *form)


def _laid_out(tensor: Tensor) -> tuple[Tensor, Ints]:
    """Return the numbers one after the other, as they lie in memory, and the strides.

    They are to lie alike there, too: a convolution is twice as fast channels last. Only what has gaps is closed up.
    """
    strides = tensor.stride()
    along = tensor.permute(sorted(range(tensor.dim()), key=strides.__getitem__, reverse=True))
    if not along.is_contiguous():
        along = tensor.contiguous()
        strides = along.stride()
    return along.reshape(-1), strides


def _small(values: bytearray, kind: str, shape: Ints, stride: Ints, trains: bool | None) -> Tensor:  # noqa: FBT001
    tensor = torch.frombuffer(values, dtype=getattr(torch, kind)).as_strided(shape, stride)
    return tensor if trains is None else Parameter(tensor, requires_grad=trains)


def _tensor(
    values: Any,
    dtype: torch.dtype,
    shape: Ints,
    stride: Ints,
    trains: bool | None,  # noqa: FBT001 - as it was packed
) -> Tensor:
    tensor = torch.from_numpy(values.copy())
    tensor = (tensor if tensor.dtype == dtype else tensor.view(dtype)).as_strided(shape, stride)
    return tensor if trains is None else Parameter(tensor, requires_grad=trains)


def _told(error: BaseException) -> tuple[Any, ...]:
    """Return of an exception what can be made again anywhere: its traceback cannot, nor a class of somebody's own."""
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
        return f"its text cannot be told: {type(another).__name__}: {another}"


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
