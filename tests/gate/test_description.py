"""What can be wrong with a gate or a chain of gates, and what is said about it."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import weight_norm
from torch.optim import LBFGS, SGD, AdamW
from torch.optim.optimizer import Optimizer

from akkordeon import DelayCompensation, Gate, StalenessScaledRate, WiringError
from akkordeon.gate.chain import check_chain
from akkordeon.gate.description import own_copy

SGD_ = partial(SGD, lr=0.1)


def linear(**settings: Any) -> Gate:
    values: dict[str, Any] = {"name": "body", "module": nn.Linear(3, 2), "optimizer": SGD_}
    return Gate(**(values | settings))


class NeedsClosure(Optimizer):
    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any) -> None:  # type: ignore[override]
        closure()


def raising(parameters: Any) -> Optimizer:
    raise RuntimeError("no momentum today")


def foreign(parameters: Any) -> Optimizer:
    return SGD([torch.zeros(2, requires_grad=True)], lr=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, r"the name of a gate must be a word, not ''"),
        ({"name": " body"}, r"the name of a gate must be a word, not ' body'"),
        ({"name": 3}, r"the name of a gate must be a word, not 3"),
        ({"module": torch.relu}, r"gate 'body': its module is a builtin_function_or_method; give it an nn\.Module"),
        ({"module": nn.Linear}, r"gate 'body': its module is a type; give it an nn\.Module"),
        ({"computations": 0}, r"gate 'body': computations must be a whole number, at least 1, not 0"),
        ({"computations": -2}, r"gate 'body': computations must be a whole number, at least 1, not -2"),
        ({"activations": "forgotten"}, r"activations must be 'stashed' or 'recomputed', not 'forgotten'"),
        (
            {"compensation": "dc-asgd"},
            r"gate 'body': 'd' is not a compensation; give one such as DelayCompensation\(\)",
        ),
        ({"compensation": [None]}, r"gate 'body': None is not a compensation"),
        (
            {"compensation": DelayCompensation(), "activations": "recomputed"},
            r"gate 'body': DelayCompensation needs the weights of each batch's forward, .* use activations=\"stashed\"",
        ),
        ({"module": nn.LazyLinear(3)}, r"gate 'body': 'weight' has no shape yet; run one batch through the module"),
        (
            {"optimizer": None},
            r"gate 'body' has 8 trainable parameters and no optimizer: give it one, such as .*, or freeze them",
        ),
        ({"optimizer": raising}, r"gate 'body': its optimizer could not be made: no momentum today"),
        ({"optimizer": partial(SGD, lr=-1.0)}, r"gate 'body': its optimizer could not be made: Invalid learning rate"),
        ({"optimizer": SGD([torch.ones(1)], lr=0.1)}, r"its optimizer could not be made: 'SGD' object is not callable"),
        ({"optimizer": list}, r"gate 'body': its optimizer is a list, not a torch\.optim\.Optimizer"),
        ({"optimizer": LBFGS}, r"gate 'body': LBFGS\.step\(\) needs a closure .*Use an optimizer without one, such as"),
        ({"optimizer": NeedsClosure}, r"gate 'body': NeedsClosure\.step\(\) needs a closure"),
        ({"optimizer": foreign}, r"gate 'body': its SGD holds none of the gate's parameters; make it of those it is"),
    ],
)
def test_a_gate_that_cannot_work_is_refused_by_name_with_the_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WiringError, match=message):
        linear(**settings)


def test_whether_to_compile_is_yes_or_no() -> None:
    given: Any = "inductor"
    with pytest.raises(WiringError, match="gate 'body': compile must be True or False, not 'inductor'"):
        linear(compile=given)


def test_a_gradient_hook_is_refused_because_nobody_would_call_it() -> None:
    for register in ("register_hook", "register_post_accumulate_grad_hook"):
        module = nn.Linear(3, 2)
        getattr(module.weight, register)(lambda _: None)
        with pytest.raises(WiringError, match="gate 'body': parameter 'weight' has a gradient hook"):
            linear(module=module)


def test_what_an_optimizer_raised_is_the_cause() -> None:
    with pytest.raises(WiringError) as caught:
        linear(optimizer=raising)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Linear(3, 2).requires_grad_(False)])
def test_a_gate_without_trainable_parameters_needs_no_optimizer(module: nn.Module) -> None:
    for optimizer in (None, SGD_):
        gate = linear(module=module, optimizer=optimizer)
        assert gate.make_optimizer(module) is None


def test_an_optimizer_gets_all_parameters_of_the_gate() -> None:
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    optimizer = linear(module=module, optimizer=AdamW).make_optimizer(module)
    assert optimizer is not None
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(p) for p in module.parameters()]


def test_an_optimizer_may_train_some_of_the_parameters_only() -> None:
    gate = linear(optimizer=lambda parameters: SGD(parameters[:1], lr=0.1))
    assert gate.name == "body"


def test_one_compensation_or_several_are_applied_in_order() -> None:
    first, second = DelayCompensation(), StalenessScaledRate()
    assert linear().compensations == ()
    assert linear(compensation=first).compensations == (first,)
    assert linear(compensation=[first, second]).compensations == (first, second)


def test_describing_a_gate_does_not_change_its_module() -> None:
    module = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    linear(module=module)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert module.weight.grad is None


def test_a_network_needs_a_gate() -> None:
    with pytest.raises(WiringError, match="a network needs at least one gate, and the list is empty"):
        check_chain([])


def test_a_chain_holds_nothing_but_gates() -> None:
    with pytest.raises(WiringError, match="a network is made of gates, and the list holds a Linear"):
        check_chain([linear(), nn.Linear(2, 2)])  # type: ignore[list-item]


def test_two_gates_of_one_name_are_refused_and_all_names_listed() -> None:
    chain = [linear(name="stem"), linear(name="body"), linear(name="stem")]
    with pytest.raises(WiringError, match=r"two gates are named 'stem'; .* Names: stem, body, stem"):
        check_chain(chain)


def tied() -> tuple[nn.Module, nn.Module]:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    return one, other


def tied_by_storage() -> tuple[nn.Module, nn.Module]:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = nn.Parameter(one.weight)
    assert other.weight is not one.weight
    return one, other


def tied_by_transposition() -> tuple[nn.Module, nn.Module]:
    one, other = nn.Linear(4, 3), nn.Linear(3, 4)
    other.weight = nn.Parameter(one.weight.detach().T)
    return one, other


@pytest.mark.parametrize("make", [tied, tied_by_storage, tied_by_transposition])
def test_a_parameter_of_two_gates_is_refused_by_both_names_with_the_remedy(make: Any) -> None:
    one, other = make()
    chain = [linear(name="embedding", module=one), linear(name="head", module=nn.Sequential(other))]
    what = (
        r"gates 'embedding' and 'head' share a parameter \('weight' and '0\.weight'\)\. "
        "A parameter has one owner: put both modules into one gate"
    )
    with pytest.raises(WiringError, match=what):
        check_chain(chain)


def test_a_parameter_shared_inside_a_gate_is_no_fault() -> None:
    check_chain([linear(module=nn.Sequential(*tied())), linear(name="head")])
    assert len(list(nn.Sequential(*tied()).parameters())) == 3


def test_one_module_in_two_gates_is_refused() -> None:
    module = nn.Linear(3, 3)
    with pytest.raises(WiringError, match="gates 'a' and 'b' share a parameter"):
        check_chain([linear(name="a", module=module), linear(name="b", module=module)])


def test_empty_parameters_are_not_taken_for_shared() -> None:
    chain = [linear(name=name, module=nn.ParameterList([torch.empty(0), torch.ones(2)])) for name in "ab"]
    check_chain(chain)
    assert len({next(iter(gate.module.parameters())).untyped_storage().data_ptr() for gate in chain}) == 1


def tensors(module: nn.Module) -> list[Tensor]:
    direct = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return [*module.parameters(), *module.buffers(), *direct]


def test_an_own_copy_shares_nothing_and_computes_the_same() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 2)))
    module.extra = torch.ones(2)
    copy = own_copy(module)
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors(module)}
    assert not storages & {tensor.untyped_storage().data_ptr() for tensor in tensors(copy)}
    x = torch.randn(4, 3)
    assert torch.equal(copy(x), module(x))
    assert all(isinstance(parameter, nn.Parameter) for parameter in copy.parameters())


def test_what_is_shared_inside_a_module_is_shared_inside_its_copy() -> None:
    copy = own_copy(nn.Sequential(*tied()))
    assert copy.get_parameter("0.weight") is copy.get_parameter("1.weight")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_an_own_copy_of_the_old_weight_norm_trains_its_own_weights() -> None:
    module = weight_norm(nn.Linear(3, 2))
    x = torch.randn(4, 3)
    module(x)  # leaves a computed weight on the module, which deepcopy refuses
    copy = own_copy(module)
    assert torch.equal(copy(x), module(x))
    copy(x).sum().backward()
    gradient = copy.get_parameter("weight_g").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert module.weight_g.grad is None
