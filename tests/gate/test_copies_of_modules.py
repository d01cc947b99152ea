"""A network trains copies of modules: with all that their parameters carry, or refused before anything starts."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer

import akkordeon as ak
from akkordeon.actor import Engine
from akkordeon.gate.description import own_copy
from tests.networks import data, pairs, stepped
from tests.properties.numerics.loops import assert_same, train_as_network, train_plainly

SGD_ = partial(SGD, lr=0.1)


# What a copy keeps


def tagged() -> Any:
    torch.manual_seed(0)
    module: Any = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    module[0].weight.spared = True
    module[2].bias.lr_scale = 0.1
    return module


def by_attribute(parameters: list[nn.Parameter]) -> Optimizer:
    groups = [
        {
            "params": [parameter],
            "weight_decay": 0.0 if getattr(parameter, "spared", False) else 0.5,
            "lr": 0.1 * getattr(parameter, "lr_scale", 1.0),
        }
        for parameter in parameters
    ]
    return SGD(groups)


@pytest.mark.parametrize("how", ["gate", "split"])
def test_attributes_of_parameters_group_them_as_in_a_plain_loop(how: str, engine: Engine) -> None:
    gates = (
        [ak.Gate("all", tagged(), by_attribute)]
        if how == "gate"
        else ak.split(tagged(), at=["2"], optimizer=by_attribute)
    )
    trained, plain = train_as_network(gates, engine, pairs(), epochs=2), tagged()
    train_plainly(plain, by_attribute, pairs(), epochs=2)
    assert_same(trained.model, plain)


def test_attributes_survive_every_copy_of_a_module(tmp_path: Path) -> None:
    gates = [ak.Gate("all", tagged(), SGD_)]
    with ak.launch(gates, engine=stepped()) as network:
        network.save(tmp_path)
        models: list[Any] = [
            network.model()[0],
            own_copy(own_copy(tagged())),
            ak.load(tmp_path, gates)[0],
        ]
    for model in models:
        assert model.get_parameter("0.weight").spared is True
        assert model.get_parameter("2.bias").lr_scale == 0.1
        assert not vars(model.get_parameter("2.weight"))


def test_attributes_are_copied_with_what_they_refer_to() -> None:
    module = tagged()
    module[0].weight.twin = module[2].weight
    module[0].weight.notes = ["a"]
    module[0].weight.lock = threading.Lock()  # cannot be copied
    copy: Any = own_copy(module)
    weight = copy.get_parameter("0.weight")
    assert weight.twin is copy.get_parameter("2.weight")
    assert weight.notes == ["a"]
    assert weight.notes is not module[0].weight.notes
    assert not hasattr(weight, "lock")


def test_untied_parameters_keep_their_attributes() -> None:
    def tied() -> Any:
        module: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        module[0].weight.spared = True
        module[1].weight = module[0].weight
        return module

    shared: Any = nn.Sequential(*[tied()[0]] * 2)
    for model in (ak.untie(tied()), ak.untie(shared)):
        assert model[1].weight is not model[0].weight
        assert model[1].weight.spared is True


@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support is in beta:UserWarning")
def test_sparse_tensors_of_any_layout_are_copied() -> None:
    module: Any = nn.Linear(2, 2)
    for number, layout in enumerate((torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)):
        module.register_buffer(f"edges{number}", torch.eye(3).to_sparse(layout=layout))
        setattr(module, f"more{number}", torch.eye(3).to_sparse(layout=layout))
    gate = ak.Gate("graph", module, SGD_)
    copy: Any = own_copy(gate.module)
    for name, buffer in module.named_buffers():
        own = copy.get_buffer(name)
        assert own.layout is buffer.layout
        assert own.values().data_ptr() != buffer.values().data_ptr()
    assert copy.more1.values().data_ptr() != module.more1.values().data_ptr()


# Grouping by name


def by_name(named_parameters: list[tuple[str, nn.Parameter]], lr: float = 0.1) -> Optimizer:
    decayed = [(name, each) for name, each in named_parameters if not name.endswith("bias")]
    spared = [(name, each) for name, each in named_parameters if name.endswith("bias")]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.1}, {"params": spared}]
    return Adam(groups, lr=lr)


def test_an_optimizer_may_group_by_name_as_in_a_plain_loop(engine: Engine) -> None:
    gates = ak.split(tagged(), at=["2"], optimizer=partial(by_name, lr=0.01))
    trained, plain = train_as_network(gates, engine, pairs(), epochs=2), tagged()
    train_plainly(plain, lambda _: by_name(list(plain.named_parameters()), lr=0.01), pairs(), epochs=2)
    assert_same(trained.model, plain)


def test_names_are_those_of_the_whole_network() -> None:
    seen = []

    def make(named_parameters: list[tuple[str, nn.Parameter]]) -> Optimizer:
        seen.append([name for name, _ in named_parameters])
        return SGD(named_parameters, lr=0.1)

    ak.Gate("head", tagged(), make)
    assert seen.pop() == ["head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"]
    ak.split(tagged(), at=["2"], optimizer=make)
    assert seen == [["0.weight", "0.bias"], ["2.weight", "2.bias"]]


def test_an_optimizer_that_groups_by_name_goes_on_from_a_save(tmp_path: Path) -> None:
    def gates() -> list[ak.Gate]:
        return [ak.Gate("all", tagged(), by_name)]

    described = ak.TrainingSentinel("train", data(), cross_entropy, epochs=2)
    with ak.launch(gates(), engine=stepped()) as network:
        network.attach(described)
        list(network.watch())
        network.save(tmp_path)
    with ak.launch(gates(), engine=stepped(), resume=tmp_path) as network:
        assert network.status().gates[0].version == 8


# What cannot be copied


class Keeping(nn.Linear):
    """Keeps something in an attribute."""

    def __init__(self, kept: Any) -> None:
        super().__init__(4, 3)
        self.kept = kept


class Remembering(nn.Linear):
    """Has a buffer that was computed of its weight."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("kept", self.weight * 2)


class Replaced(nn.Linear):
    """Has a computed tensor in the place of its weight."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.kept = nn.Parameter(self.weight.detach())
        self._parameters["weight"] = self.kept * 2  # type: ignore[assignment]


class Raising(nn.Linear):
    def __deepcopy__(self, memo: Any) -> nn.Module:
        raise ZeroDivisionError("no copies")


class Named(nn.Parameter):
    """A parameter that is made with one argument more than torch knows of."""

    def __new__(cls, values: Tensor, *, name: str) -> "Named":
        return nn.Parameter.__new__(cls, values)


class Naming(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 3)
        self.kept = Named(torch.ones(3), name="three")


def generated() -> Iterator[int]:
    yield 1


def hooked() -> nn.Module:
    lock, module = threading.Lock(), nn.Linear(4, 3)
    module.register_forward_hook(partial(lambda lock, *_: None, lock))
    return module


UNCOPYABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lock": (
        lambda: Keeping(threading.Lock()),
        r"has 'kept', .* \(cannot pickle '_thread.lock' object\); leave the lock",
    ),
    "thread": (lambda: Keeping({"a": [threading.Thread()]}), "has 'kept', .* leave the dict out in a __getstate__"),
    "file": (lambda: Keeping(Path(__file__).open()), "has 'kept', .* leave the TextIOWrapper out"),  # noqa: SIM115
    "generator": (lambda: Keeping(generated()), "has 'kept', .* leave the generator out"),
    "history": (lambda: Keeping([torch.ones(2, requires_grad=True) * 2]), "has 'kept', .* or detach its tensors"),
    "buffer": (Remembering, "has 'kept', .* or detach its tensors"),
    "weight": (Replaced, "has 'weight', .* or detach its tensors"),
    "kind of parameter": (Naming, "has 'kept', .* leave the Named out"),
    "hook": (hooked, "has '_forward_hooks'"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", UNCOPYABLE)
def test_what_cannot_be_copied_is_refused_by_module_and_attribute(name: str) -> None:
    make, what = UNCOPYABLE[name]
    with pytest.raises(ak.WiringError, match=r"gate 'body', of which .* its module '0\.1' " + what):
        ak.Gate("body", nn.Sequential(nn.Sequential(nn.ReLU(), make())), SGD_)
    with pytest.raises(ak.WiringError, match="the Sequential to split, of which .* its module '1' " + what):
        ak.split(nn.Sequential(nn.Linear(4, 4), make()), at=["1"], optimizer=SGD_)


def test_a_module_that_refuses_to_be_copied_is_refused() -> None:
    with pytest.raises(ak.WiringError, match=r"gate 'body', .* cannot be copied: ZeroDivisionError\('no copies'\)"):
        ak.Gate("body", Raising(4, 3), SGD_)


def scripted(module: nn.Module) -> Any:
    return torch.jit.script(module)


def traced(module: nn.Module) -> Any:
    return torch.jit.trace(module, torch.zeros(1, 4))  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [scripted, traced])
def test_modules_of_torch_jit_are_refused_where_they_would_be_trained(
    make: Callable[[nn.Module], Any], engine: Engine
) -> None:
    for module in (make(nn.Linear(4, 3)), nn.Sequential(nn.ReLU(), make(nn.Linear(4, 3)))):
        with pytest.raises(
            ak.WiringError, match=r"gate 'all': its .* is of torch\.jit, .* and compile=True to compile it"
        ):
            ak.Gate("all", module, SGD_)
    frozen: Any = nn.Sequential(make(nn.Linear(4, 4).requires_grad_(False)), nn.Linear(4, 3))
    before = frozen[1].weight.detach().clone()
    trained = train_as_network([ak.Gate("all", frozen, SGD_)], engine, pairs())
    assert not torch.equal(trained.model.get_parameter("all.1.weight"), before)


def test_describing_a_gate_copies_no_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tensor: Tensor, memo: Any) -> Tensor:
        raise AssertionError("it was copied")

    monkeypatch.setattr(Tensor, "__deepcopy__", refuse)
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", refuse)
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    module.extra = torch.ones(2)
    ak.Gate("all", module, SGD_)
