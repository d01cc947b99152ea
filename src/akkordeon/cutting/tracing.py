"""Follow a forward with stand-ins for values, while `torch.fx` writes down what is done with them.

It does so with three additions. Submodules that are not looked into are called as they are, so what happens inside
them need not be traced. So are the Python functions of the module's file that are called with a value (a mask maker,
say), unless they are given a submodule to call. And with a sample each value is known while tracing, so that the
forward may look at shapes and types.
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

from akkordeon.cutting.pieces import UNKNOWN, execute
from akkordeon.tree import Tree

WHOLE = "model."
"""What stands before the names of submodules while tracing."""

# These do not take stand-ins for numbers and types by themselves.
FACTORIES = ("empty", "finfo", "iinfo", "ones", "rand", "randn", "zeros")
"""Functions of torch that are called as they are, too."""

METADATA = frozenset(("dim", "element_size", "getattr", "is_complex", "is_floating_point", "nelement", "numel", "size"))
"""What tells of a tensor nothing that it holds."""

PLAIN = (
    *(type(None), bool, int, float, complex, str, type, torch.Size),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
"""Types of arguments that are written down as they are."""


class _Value(fx.Proxy):
    """Stands for a value while tracing."""

    tracer: "Tracer"

    @property
    def value(self) -> Any:
        return self.tracer.values.get(self.node, UNKNOWN)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # so that `isinstance` tells what the value is
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


class _Attribute(_Value):
    """A method that is called next, or an attribute of an unknown value."""

    def __init__(self, root: _Value, name: str) -> None:
        self.root = root
        self.attr = name
        self.tracer = root.tracer
        self._node: fx.Node | None = None

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.attr == "dim" and self.root.value is not UNKNOWN:
            return self.root.value.dim()
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class Tracer(fx.Tracer):
    """Writes down one forward of a model, in the mode it is in.

    Args:
        model: is changed by running it, where there is a sample.
        inlined: names of the submodules to look into.
        sample: an input, or `UNKNOWN`.
    """

    proxy_buffer_attributes = True

    def __init__(self, model: nn.Module, inlined: frozenset[str], sample: Tree) -> None:
        super().__init__()
        self._inlined = {WHOLE + name if name else WHOLE[:-1] for name in inlined}
        self._sample = sample
        # What its modules hold (a config, say) may stand in a step; what is made in a forward may not.
        self._held = {id(value): value for module in model.modules() for value in vars(module).values()}
        self.calls: dict[str, int] = {}  # at which node each submodule is called first
        self.values: dict[fx.Node, Any] = {}
        self._of_data: set[fx.Node] = set()  # numbers and truths that were read out of tensors
        self._stepping: dict[Any, Callable[..., Any]] = {}  # the functions that are patched, by what replaces them
        self.evaluating = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - as in the base
        """Whether to call a submodule as it is."""
        return module_qualified_name not in self._inlined

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Note where a submodule begins, and look into it or not."""
        if self.evaluating:
            return forward(*args, **kwargs)
        if m not in (self.submodule_paths or {}) and not list(m.parameters()):
            return forward(*args, **kwargs)  # made in the forward, as nn.ReLU()(x) does
        name = self.path_of_module(m)[len(WHOLE) :]
        self.calls.setdefault(name, sum(node.op != "placeholder" for node in self.graph.nodes))
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Return what stands for a parameter or buffer; other attributes are as they are."""
        return attr_val if self.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for the value of a node."""
        return _Value(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **others: Any) -> Any:
        """Write down a step, and take it if there is a sample; where nothing is there, nothing stands for it."""
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **others)
        node = proxy.node
        if self._sample is UNKNOWN:
            return proxy
        self.values[node] = value = self._sample if kind == "placeholder" else self._evaluate(node)
        self._trace_data(node, value)
        inside = isinstance(target, str) or target in (getattr, getitem)
        return None if value is None and kind != "call_module" and inside else proxy

    def create_arg(self, a: Any) -> Any:
        """Return an argument as it is written down."""
        if isinstance(a, fx.Proxy):  # first: it pretends to be of another type
            return a.node
        if isinstance(a, nn.Parameter):
            return super().create_arg(a)
        match a:
            case tuple() | list() if type(a) in (tuple, list):
                return type(a)(self.create_arg(branch) for branch in a)
            case dict() if type(a) is dict:
                return {key: self.create_arg(branch) for key, branch in a.items()}
            case slice(start=start, stop=stop, step=step):
                return slice(self.create_arg(start), self.create_arg(stop), self.create_arg(step))
        return self._constant(a)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a branch by a value of the sample, if other batches will decide the same."""
        value = self._known(obj)
        if isinstance(value, Tensor) or obj.node in self._of_data:
            raise TypeError("it decides by the values in a tensor, which are others in each batch")
        return bool(value)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Iterate over a tuple, list or dict."""
        value = self._known(obj)
        if isinstance(value, Tensor):
            raise TypeError("it loops over a tensor, whose length may be another in each batch")
        return iter(value) if isinstance(value, dict) else (obj[index] for index in range(len(value)))  # type: ignore[index]

    def keys(self, obj: fx.Proxy) -> Any:
        """Return the keys of a dict, as `**` asks for."""
        return self._known(obj).keys()

    @contextmanager
    def patched(self, namespace: dict[str, Any], names: Sequence[str] = ()) -> Iterator[None]:
        """Let functions that are called with a value be steps: those of these names, or all of Python's."""
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
            opaque = any(isinstance(leaf, fx.Proxy) for leaf in leaves)
            if self.evaluating or not opaque or any(isinstance(leaf, nn.Module) for leaf in leaves):
                return function(*args, **kwargs)
            return self.create_proxy("call_function", function, args, kwargs, name=function.__name__)

        self._stepping[stepping] = function
        return stepping

    def _constant(self, a: Any) -> Any:
        if isinstance(a, PLAIN) or a is Ellipsis or id(a) in self._held:
            return a
        if isinstance(a, FunctionType) and not any(isinstance(c.cell_contents, fx.Proxy) for c in a.__closure__ or ()):
            return self._stepping.get(a, a)
        if isinstance(a, Tensor):
            raise TypeError("it uses a tensor that no module held before; register it as a buffer, or return it")
        raise TypeError(f"it makes a {type(a).__name__} and hands it on, which cannot travel between gates")

    def _known(self, obj: fx.Proxy) -> Any:
        assert isinstance(obj, _Value)
        if obj.value is UNKNOWN:
            raise TypeError("it decides by a value that is not known without a sample")
        return obj.value

    def _trace_data(self, node: fx.Node, value: Any) -> None:
        """Remember that a value which is no tensor was read out of one, or computed of such a value."""
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
    """Makes steps of functions that make a tensor of nothing, such as `torch.rand(3)`.

    Args:
        tracer: that writes them down.
    """

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        known = not any(isinstance(leaf, fx.Proxy) for leaf in pytree.tree_leaves((args, kwargs)))
        if self._tracer.evaluating or not known:
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if torch.overrides.is_tensor_method_or_property(func):
            return self._tracer.create_proxy("call_method", func.__name__, args, kwargs)
        return self._tracer.create_proxy("call_function", func, args, kwargs)


def _is_of_torch(function: FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "torch"
