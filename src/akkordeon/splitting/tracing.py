"""Traces a forward with `torch.fx`: stand-ins go through it while the graph is written down.

Three things are added to `torch.fx`. Submodules that are not looked into are called as they are, so their inside need
not be traced. So are the Python functions of the module's file that are called with a value (a mask maker, say), unless
a submodule is among their arguments. With a sample each value is known while tracing, so that the forward may look at
shapes and types.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import getitem, setitem
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from typing_extensions import override

from akkordeon.messages.tree import Tree
from akkordeon.splitting.pieces import UNKNOWN, execute, map_arguments

WHOLE = "model."
"""Prefix of the names of submodules while tracing."""

FACTORIES = ("empty", "finfo", "iinfo", "ones", "rand", "randn", "zeros")
"""Functions of torch that are called as they are, too: by themselves they refuse stand-ins for numbers and types."""

METADATA = frozenset(("dim", "element_size", "getattr", "is_complex", "is_floating_point", "nelement", "numel", "size"))
"""Functions of a tensor that reveal nothing of its values."""

CONSTANTS = (
    *(type(None), bool, int, float, complex, str, type, type(...), torch.Size),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
"""Types of arguments that are written down as they are."""


class _Value(fx.Proxy):
    """Stands for a value while tracing."""

    tracer: "Tracer"

    @property
    def value(self) -> Any:
        return self.tracer.values.get(self.node, UNKNOWN)

    # A forward that asks `isinstance(mask, Tensor)` or `isinstance(size, int)` must get the answer for the value. Where
    # the type itself does not match, `isinstance` looks at `__class__`. This package asks `type(...)`, or whether
    # something is an `fx.Proxy`, which both see the stand-in.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        value = self.value
        return _Value if value is UNKNOWN else type(value)

    def __getattr__(self, name: str) -> Any:
        value = self.value
        if value is UNKNOWN:
            return _Attribute(self, name)
        attribute = getattr(value, name)
        if callable(attribute):
            return _Attribute(self, name)
        if name == "ndim":  # the number of dimensions does not change from batch to batch
            return attribute
        return self.tracer.create_proxy("call_function", getattr, (self, name), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", setitem, (self, index, value), {})

    def __len__(self) -> int:
        if self.value is UNKNOWN or isinstance(self.value, Tensor):
            raise TypeError("len() of a tensor would be that of the sample for ever; use its shape[0]")
        return len(self.value)


class _Attribute(fx.proxy.Attribute, _Value):
    """A method that is called next, or an attribute of an unknown value."""

    @override
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.attr == "dim" and self.root.value is not UNKNOWN:
            return self.root.value.dim()
        return super().__call__(*args, **kwargs)


class Tracer(fx.Tracer):
    """Writes down one forward of a model in its current mode.

    Args:
        model: is changed by running it, if there is a sample.
        inlined: names of the submodules to look into.
        sample: an input, or `UNKNOWN`.
    """

    proxy_buffer_attributes = True

    def __init__(self, model: nn.Module, inlined: frozenset[str], sample: Tree) -> None:
        super().__init__()
        self._inlined = {WHOLE + name if name else WHOLE[:-1] for name in inlined}
        self._sample = sample
        # A step may have attributes of modules (a config, say) as arguments, but no object made in a forward.
        self._held = {id(value): value for module in model.modules() for value in vars(module).values()}
        self.calls: dict[str, int] = {}  # index of the node of the first call of each submodule
        self.values: dict[fx.Node, Any] = {}
        self._of_data: set[fx.Node] = set()  # numbers and booleans computed from the values in tensors
        self._stepping: dict[Any, Callable[..., Any]] = {}  # the patched functions, by their replacements
        self.evaluating = False

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._inlined

    @override
    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        is_made_in_forward = m not in (self.submodule_paths or {}) and not list(m.parameters())  # as nn.ReLU()(x)
        if self.evaluating or is_made_in_forward:
            return forward(*args, **kwargs)
        name = self.path_of_module(m)[len(WHOLE) :]
        self.calls.setdefault(name, sum(node.op != "placeholder" for node in self.graph.nodes))
        return super().call_module(m, forward, args, kwargs)

    @override
    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    @override
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    @override
    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **others: Any) -> Any:
        # With a sample, the step is executed as well; a None among attributes and items stays None.
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **others)
        node = proxy.node
        if self._sample is UNKNOWN:
            return proxy
        self.values[node] = value = self._sample if kind == "placeholder" else self._evaluate(node)
        self._trace_data(node, value)
        inside = isinstance(target, str) or target in (getattr, getitem)
        return None if value is None and kind != "call_module" and inside else proxy

    @override
    def create_arg(self, a: Any) -> Any:
        return map_arguments(self._argument, a)

    @override
    def to_bool(self, obj: fx.Proxy) -> bool:
        # The sample decides a branch, if other batches will decide the same.
        value = self._known(obj)
        if isinstance(value, Tensor) or obj.node in self._of_data:
            raise TypeError("it decides by the values in a tensor, which are others in each batch")
        return bool(value)

    @override
    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        value = self._known(obj)
        if isinstance(value, Tensor):
            raise TypeError("it loops over a tensor, whose length may be another in each batch")
        return iter(value) if isinstance(value, dict) else (obj[index] for index in range(len(value)))  # type: ignore[index]

    @override
    def keys(self, obj: fx.Proxy) -> Any:
        return self._known(obj).keys()

    @contextmanager
    def patched(self, namespace: dict[str, Any], names: Sequence[str] = ()) -> Iterator[None]:
        """Let functions of a namespace become steps when they are called with a value.

        Args:
            namespace: is changed for the duration of the block.
            names: of the functions; all Python functions other than those of torch by default.
        """
        before = {
            name: found
            for name, found in namespace.items()
            if (name in names if names else isinstance(found, FunctionType) and not _is_of_torch(found))
        }
        namespace.update({name: self._as_step(function) for name, function in before.items()})
        try:
            yield
        finally:
            namespace.update(before)

    def _as_step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*args: Any, **kwargs: Any) -> Any:
            leaves = pytree.tree_leaves((args, kwargs))
            if not _has_stand_in(leaves) or any(isinstance(leaf, nn.Module) for leaf in leaves):
                return function(*args, **kwargs)
            return self.create_proxy("call_function", function, args, kwargs, name=function.__name__)

        self._stepping[stepping] = function
        return stepping

    def _argument(self, a: Any) -> Any:
        if isinstance(a, fx.Proxy):  # first: it claims to be of another type
            return a.node
        if isinstance(a, nn.Parameter):
            return super().create_arg(a)
        if isinstance(a, CONSTANTS) or id(a) in self._held:
            return a
        if isinstance(a, FunctionType) and not any(isinstance(c.cell_contents, fx.Proxy) for c in a.__closure__ or ()):
            return self._stepping.get(a, a)
        if isinstance(a, Tensor):
            raise TypeError("it uses a tensor that no module held before; register it as a buffer, or return it")
        raise TypeError(f"it makes a {type(a).__name__} and hands it on, which cannot travel between gates")

    def _known(self, obj: fx.Proxy) -> Any:
        assert isinstance(obj, _Value)
        if obj.value is UNKNOWN:
            raise TypeError("it decides by a value that is unknown without a sample")
        return obj.value

    def _trace_data(self, node: fx.Node, value: Any) -> None:
        """Note a value other than a tensor that was read from a tensor, or computed from such a value."""
        if isinstance(value, Tensor) or node.op == "placeholder":
            return
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        tensors = any(isinstance(self.values[arg], Tensor) for arg in node.all_input_nodes)
        if (tensors and name not in METADATA) or any(arg in self._of_data for arg in node.all_input_nodes):
            self._of_data.add(node)

    def _evaluate(self, node: fx.Node) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        self.evaluating = True
        try:
            return execute(node.op, node.target, args, kwargs, self.root)
        finally:
            self.evaluating = False


class Factories(TorchFunctionMode):
    """Turns functions that make a tensor from no value, such as `torch.rand(3)`, into steps.

    Args:
        tracer: writes the steps down.
    """

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if self._tracer.evaluating or _has_stand_in((args, kwargs)) or not isinstance(result, Tensor):
            return result
        if torch.overrides.is_tensor_method_or_property(func):
            return self._tracer.create_proxy("call_method", func.__name__, args, kwargs)
        return self._tracer.create_proxy("call_function", func, args, kwargs)


def _has_stand_in(tree: Any) -> bool:
    return any(isinstance(leaf, fx.Proxy) for leaf in pytree.tree_leaves(tree))


def _is_of_torch(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "torch"
