"""Nothing is silent: what breaks surfaces in `watch`, named, within seconds, and the network goes on where it can."""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import akkordeon as ak
from akkordeon.actor import Engine
from tests.network.patience import wait_until

Batch = tuple[Tensor, Tensor]


def good_batches(num: int = 8) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(3)
    for _ in range(num):
        yield torch.randn(4, 6, generator=generator), torch.randint(0, 3, (4,), generator=generator)


def gates(body: nn.Module | None = None, optimizer: Callable[..., torch.optim.Optimizer] = SGD) -> list[ak.Gate]:
    make = partial(optimizer, lr=0.1)
    return [
        ak.Gate("stem", nn.Linear(6, 5), make),
        ak.Gate("body", body or nn.Linear(5, 4), make, computations=1),  # so batches reach the module in order
        ak.Gate("head", nn.Linear(4, 3), make),
    ]


@pytest.fixture
def network(engine: Engine) -> Iterator[ak.Network]:
    with ak.launch(gates(), engine=engine) as network:
        yield network


def trains_on(network: ak.Network) -> None:
    """The network still works for whoever joins now."""
    network.attach(ak.TrainingSentinel("another", good_batches, cross_entropy, epochs=1))
    (report,) = list(network.watch())
    assert report.sentinel == "another"
    assert report.samples == 32


def nothing_left(network: ak.Network) -> None:
    """No gate keeps anything of a sentinel that failed."""
    # a status overtakes the news that the sentinel has left
    wait_until(network, lambda: [gate.open for gate in network.status().gates] == [0, 0, 0])
    assert network.status().sentinels == ()


class Stubborn(nn.Module):
    """Raises at its third forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 4)
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        if self.count == 3:
            raise KeyError("the third one")
        return self.inner(x)  # type: ignore[no-any-return]


class BadBackward(torch.autograd.Function):
    """Fine forward, raises on the way back."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise ArithmeticError("no way back")


class NoWayBack(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return BadBackward.apply(x)[:, :4]  # type: ignore[no-any-return, no-untyped-call]


class BadSGD(SGD):
    """Raises at its second step."""

    steps = 0

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.steps += 1
        if self.steps == 2:
            raise OSError("the step slipped")
        super().step()


def test_an_exception_in_a_gate_names_gate_batch_and_sentinel(engine: Engine) -> None:
    with ak.launch(gates(Stubborn()), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, in_flight=2, epochs=1))
        with pytest.raises(
            ak.BatchRefused, match=r"gate 'body' .* batch 2 of sentinel 'train', \(4, 5\) float32: KeyE"
        ):
            list(network.watch())
        trains_on(network)
        nothing_left(network)


def test_an_exception_on_the_way_back_names_gate_batch_and_sentinel(engine: Engine) -> None:
    with ak.launch(gates(NoWayBack()), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, epochs=1))
        with pytest.raises(ak.BatchRefused, match=r"gate 'body' .* batch 0 of sentinel 'train', its gradient: Arith"):
            list(network.watch())
        assert list(network.watch()) == []
        nothing_left(network)


def test_a_shape_that_does_not_fit_says_where_to_look(network: ak.Network) -> None:
    network.attach(ak.TrainingSentinel("train", lambda: [(torch.ones(4, 7), torch.ones(4))], cross_entropy, epochs=1))
    with pytest.raises(ak.BatchRefused, match=r"gate 'stem' .*\(4, 7\) float32.* Check what the loader yields"):
        list(network.watch())
    trains_on(network)


def test_a_gate_whose_input_does_not_fit_names_the_gate_before(engine: Engine) -> None:
    with ak.launch(gates(nn.Linear(9, 4)), engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, epochs=1))
        with pytest.raises(ak.BatchRefused, match=r"gate 'body' .* Check the output of gate stem, which comes before"):
            list(network.watch())


def test_an_optimizer_that_raises_again_and_again_fails_the_network_and_tells_every_sentinel(engine: Engine) -> None:
    at_once = ak.Supervision(restarts=2, backoff=(0.0,))
    with ak.launch(gates(optimizer=BadSGD), engine=engine, supervision=at_once) as network:
        network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, in_flight=3, epochs=2))
        network.attach(ak.ValidationSentinel("validation", good_batches, cross_entropy, every=60.0))
        with pytest.raises(
            ak.ActorFailed, match=r"gate .* has failed, and the network with it: OSError: the step slip"
        ):
            list(network.watch())
        assert not any(report.complete for report in network.watch())
        assert network.status().state == "failed"
        wait_until(network, lambda: network.status().sentinels == (), what="sentinels to leave")
        with pytest.raises(ak.WiringError, match="'late' cannot join: the network has failed"):
            network.attach(ak.TrainingSentinel("late", good_batches, cross_entropy, epochs=1))
        with pytest.raises(ak.ActorFailed, match="the step slipped"):
            network.model()


def test_an_exception_in_the_loss_names_the_sentinel_and_batch(network: ak.Network) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        raise ZeroDivisionError("nothing to divide")

    network.attach(ak.TrainingSentinel("train", good_batches, loss, in_flight=3, epochs=1))
    with pytest.raises(ak.SentinelFailed, match="sentinel 'train': no loss for batch 0: ZeroDivisionError") as caught:
        list(network.watch())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    trains_on(network)
    nothing_left(network)


def test_an_exit_in_the_loss_ends_only_the_sentinel_which_may_come_back(network: ak.Network) -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        raise SystemExit(3)

    for _ in range(2):
        network.attach(ak.TrainingSentinel("another", good_batches, loss, in_flight=3, epochs=1))
        with pytest.raises(ak.ActorFailed, match=r"sentinel another failed: SystemExit\(3\)"):
            list(network.watch())
    trains_on(network)
    nothing_left(network)


def test_an_exception_in_a_metric_names_the_metric(network: ak.Network) -> None:
    def worst(output: Tensor, target: Tensor) -> Tensor:
        raise ZeroDivisionError("nothing to divide")

    for sentinel in (
        ak.TrainingSentinel("train", good_batches, cross_entropy, {"worst": worst}, epochs=1),
        ak.ValidationSentinel("validation", good_batches, cross_entropy, {"worst": worst}),
    ):
        network.attach(sentinel)
        with pytest.raises(ak.SentinelFailed, match=rf"sentinel '{sentinel.name}': no .* batch 0") as caught:
            list(network.watch())
        assert caught.value.__cause__ is not None
        assert "raised by the metric 'worst'" in caught.value.__cause__.__notes__
    trains_on(network)


@pytest.mark.parametrize("where", ["call", "iterate", "next"])
def test_a_loader_that_raises_ends_its_sentinel_with_the_original(network: ak.Network, where: str) -> None:
    class Loader:
        def __iter__(self) -> Iterator[Batch]:
            if where == "iterate":
                raise OSError("disk gone")
            yield from good_batches(3)
            raise OSError("disk gone")

    def data() -> Loader:
        if where == "call":
            raise OSError("disk gone")
        return Loader()

    network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=2, epochs=1))
    with pytest.raises(
        ak.SentinelFailed, match=r"sentinel 'train': its loader raised after .*: OSError: disk"
    ) as caught:
        list(network.watch())
    assert isinstance(caught.value.__cause__, OSError)
    trains_on(network)
    nothing_left(network)


def test_an_empty_loader_is_an_error(network: ak.Network) -> None:
    network.attach(ak.TrainingSentinel("train", list, cross_entropy, epochs=1))
    with pytest.raises(ak.SentinelFailed, match="sentinel 'train': its loader yielded no batch in epoch 1"):
        list(network.watch())
    trains_on(network)


def test_a_loader_that_never_returns_is_an_error_and_is_named_at_the_end() -> None:
    release = threading.Event()

    def data() -> Iterator[Batch]:
        yield from good_batches(2)
        release.wait()

    network = ak.launch(gates(), engine=ak.engines.Threads(2, debug=True, patience=0.1))
    network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=2, time_limit=0.3))
    with pytest.raises(ak.SentinelFailed, match=r"sentinel 'train': its loader has yielded nothing for 0\.3 s"):
        list(network.watch())
    trains_on(network)
    with pytest.warns(RuntimeWarning, match=r"left behind after 0\.1 s.*provider train"):
        network.close()
    release.set()


def test_a_batch_that_does_not_come_back_is_lost_with_its_name() -> None:
    release = threading.Event()

    class Stuck(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            release.wait()
            return super().forward(x)

    network = ak.launch(gates(Stuck(5, 4)), engine=ak.engines.Threads(2, debug=True))
    network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, time_limit=0.3, epochs=1))
    with pytest.raises(ak.BatchLost, match=r"batch 0 of sentinel 'train' has not come back after .*time_limit is 0\.3"):
        list(network.watch())
    release.set()
    network.close()


def test_a_network_without_a_free_worker_says_what_the_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akkordeon.network.watching.CHECK_AFTER", 0.1)
    monkeypatch.setattr("akkordeon.network.network.ANSWER_TIMEOUT", 0.3)
    release = threading.Event()

    class Stuck(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            release.wait()
            return super().forward(x)

    network = ak.launch(gates(Stuck(5, 4)), engine=ak.engines.Threads(1))
    network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, epochs=1))
    with pytest.raises(ak.NoAnswer, match=r"conductor did not answer .* workers are busy with: gate body"):
        list(network.watch())
    release.set()
    network.close()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda output, target: (output - 1) ** 2, r"must be one number, .* \(4, 3\) float32; reduce it"),
        (lambda output, target: 1.0, "must be one number, the mean over the batch, not float"),
        (lambda output, target: (output.argmax(1) == target).float().mean(), "does not depend on the network's output"),
    ],
)
def test_a_loss_that_is_no_scalar_or_has_no_gradient_is_refused(
    network: ak.Network, loss: Callable[[Tensor, Tensor], Tensor], message: str
) -> None:
    network.attach(ak.TrainingSentinel("train", good_batches, loss, epochs=1))
    with pytest.raises(ak.SentinelFailed, match=message):
        list(network.watch())
    trains_on(network)


def test_one_batch_with_nan_is_skipped_counted_and_logged(
    network: ak.Network, caplog: pytest.LogCaptureFixture
) -> None:
    def data() -> Iterator[Batch]:
        for number, (x, target) in enumerate(good_batches(5)):
            yield (x * float("nan") if number == 2 else x), target

    network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=2, epochs=1))
    with caplog.at_level(logging.WARNING):
        (report,) = list(network.watch())
    assert dict(report.skipped) == {"non-finite loss": 1}
    assert report.samples == 16
    assert "batch 2 of sentinel 'train' has a loss of nan; its input holds NaN" in caplog.text
    assert all(bool(parameter.isfinite().all()) for parameter in network.model().parameters())
    assert [gate.version for gate in network.status().gates] == [4, 4, 4]
    nothing_left(network)


def test_nothing_but_nan_fails_the_sentinel_soon_and_harms_no_weight(network: ak.Network) -> None:
    before = network.model().state_dict()

    def data() -> Iterator[Batch]:
        for x, target in good_batches(1000):
            yield x * float("inf"), target

    network.attach(ak.TrainingSentinel("train", data, cross_entropy, in_flight=2, epochs=1))
    with pytest.raises(ak.SentinelFailed, match=r"10 batches in a row .* its input holds NaN or infinity: check what"):
        list(network.watch())
    after = network.model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    trains_on(network)


def test_an_epoch_without_a_finite_batch_fails_the_sentinel(network: ak.Network) -> None:
    nan = torch.full((4, 6), float("nan"))
    network.attach(ak.TrainingSentinel("train", lambda: [(nan, torch.zeros(4).long())], cross_entropy, epochs=1))
    with pytest.raises(ak.SentinelFailed, match="no batch of epoch 1 had a finite loss"):
        list(network.watch())


def test_a_gradient_that_is_not_finite_is_skipped_at_each_gate(network: ak.Network) -> None:
    before = network.model().state_dict()

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return torch.sqrt((output * 0.0).abs()).sum()  # is 0, its gradient is 0/0

    network.attach(ak.TrainingSentinel("train", lambda: good_batches(3), loss, epochs=1))
    (report,) = list(network.watch())
    assert report.loss == 0
    assert dict(report.skipped) == {f"non-finite at {gate}": 3 for gate in ("stem", "body", "head")}
    assert [gate.skipped for gate in network.status().gates] == [{"non-finite": 3}] * 3
    after = network.model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_gradient_that_is_not_finite_does_not_spoil_a_compensation_for_the_next_ones(engine: Engine) -> None:
    gate = ak.Gate("only", nn.Linear(6, 3), partial(SGD, lr=0.1), ak.DelayCompensation())
    calls = iter(range(8))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return torch.sqrt((output * 0.0).abs()).sum() if next(calls) == 1 else cross_entropy(output, target)

    with ak.launch([gate], engine=engine) as network:
        network.attach(ak.TrainingSentinel("train", good_batches, loss, in_flight=3, epochs=1))
        (report,) = list(network.watch())
        assert dict(report.skipped) == {"non-finite at only": 1}
        assert network.status().gates[0].version == 7


def test_a_batch_that_is_no_pair_is_refused_with_what_it_is(network: ak.Network) -> None:
    network.attach(ak.TrainingSentinel("train", lambda: [torch.ones(4, 6)], cross_entropy, epochs=1))
    with pytest.raises(ak.SentinelFailed, match=r"batch 0 cannot be used.*a pair \(x, target\).*\(4, 6\) float32"):
        list(network.watch())
    trains_on(network)


def test_an_until_that_raises_ends_its_sentinel(network: ak.Network) -> None:
    network.attach(
        ak.TrainingSentinel("train", good_batches, cross_entropy, until=lambda report: report.metrics["none"] > 1)
    )
    with pytest.raises(ak.SentinelFailed, match="sentinel 'train': its `until` raised: KeyError"):
        list(network.watch())
    trains_on(network)


class Unstartable(ak.Compensation):
    def start(self, parameters: object, optimizer: object) -> ak.Compensator:
        raise ZeroDivisionError("no start")


def test_a_gate_that_cannot_start_fails_the_launch(engine: Engine) -> None:
    with pytest.raises(ak.ActorFailed, match="gate stem has ended: ZeroDivisionError"):
        ak.launch([ak.Gate("stem", nn.Linear(6, 5), partial(SGD, lr=0.1), Unstartable())], engine=engine)


def test_a_scheduler_that_cannot_be_used_is_refused() -> None:
    make = partial(SGD, lr=0.1)
    with pytest.raises(ak.WiringError, match="gate 'stem': its scheduler could not be made: division by zero"):
        ak.Gate("stem", nn.Linear(6, 5), make, scheduler=lambda optimizer: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(ak.WiringError, match=r"gate 'stem': ReduceLROnPlateau.step\(\) needs 'metrics'"):
        ak.Gate("stem", nn.Linear(6, 5), make, scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau)


def test_what_is_no_sentinel_cannot_join(network: ak.Network) -> None:
    with pytest.raises(ak.WiringError, match="a str cannot join a network; attach a TrainingSentinel"):
        network.attach("train")  # type: ignore[arg-type]
    trains_on(network)


def test_a_failed_sentinel_does_not_disturb_another_one(network: ak.Network) -> None:
    network.attach(ak.TrainingSentinel("broken", list, cross_entropy, epochs=1))
    network.attach(ak.TrainingSentinel("train", good_batches, cross_entropy, epochs=3))
    reports: list[ak.Report] = []
    errors: list[Exception] = []
    for _ in range(3):
        try:
            reports.extend(network.watch())
        except ak.SentinelFailed as error:
            errors.append(error)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert len(errors) == 1
    assert "'broken'" in str(errors[0])
