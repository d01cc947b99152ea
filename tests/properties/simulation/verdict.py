"""Checks the end of a run: every batch has ended, nothing is kept, and no actor that was replaced lives on."""

from collections import Counter
from collections.abc import Iterator

from akkordeon.gate.actor import GateActor
from tests.properties.simulation import private
from tests.properties.simulation.oracle import Oracle
from tests.properties.simulation.records import Watched, reason_of
from tests.properties.simulation.scenario import Scenario
from tests.properties.simulation.stub import Trouble


def judge(oracle: Oracle) -> None:
    """Check it."""
    _check_departures(oracle)
    for watched in oracle.sentinels.values():
        _check_batches(oracle, watched)
    _check_living(oracle)
    for name, lives in oracle.lives.items():
        history = lives[-1].learner.history
        if len(set(history)) != len(history):
            oracle.violated(f"{name} has applied a batch twice")


def judge_flavour(scenario: Scenario, oracle: Oracle) -> None:
    """Check what must hold where only certain things go wrong."""
    if scenario.flavour == "poison":
        _check_poison(scenario.trouble, oracle)
    if scenario.flavour == "sleep":
        _check_quiet(oracle)
    if scenario.flavour == "patient":
        _check_patient(oracle)


def _check_quiet(oracle: Oracle) -> None:
    """A few lost messages and a conductor that sleeps for a while cost nothing."""
    if oracle.counts["replacements"]:
        oracle.violated("a gate was taken for dead while it was its conductor that slept")
    if (given_up := dropped(oracle)) or oracle.failures:
        oracle.violated(f"batches were given up, or sentinels failed: {given_up}, {oracle.failures}")


def _check_patient(oracle: Oracle) -> None:
    """What is slow costs nothing but time."""
    for name in ("computed_again", "batches_resent", "replacements"):
        if oracle.counts[name]:
            oracle.violated(f"nothing went wrong, and {name} is {oracle.counts[name]}")
    if (given_up := dropped(oracle)) or oracle.failures:
        oracle.violated(f"batches were given up, or sentinels failed: {given_up}, {oracle.failures}")


def _check_poison(trouble: Trouble, oracle: Oracle) -> None:
    """One batch that ends gates is dropped before they are restarted too often.

    Where a gate cannot say whose batch it was, each other sentinel may lose the one that it had out alone; and where
    gates were replaced for other reasons as well, a batch that was out each time.
    """
    injected = oracle.engine.injected
    others = max(0, oracle.counts["replacements"] - injected["poison"] - injected["torn update"])
    guilty = {batch for batch, _ in trouble.poison | trouble.torn}
    if oracle.cause is not None:
        oracle.violated(f"the network has failed of one batch: {oracle.cause}")
    for watched in oracle.sentinels.values():
        found = [int(each.split(" ", 1)[0]) for each in watched.actor.in_flight.given_up if reason_of(each) == "poison"]
        innocent = [(watched.key, seq) for seq in found if (watched.key, seq) not in guilty]
        if len(innocent) > others + (not trouble.torn and len(found) == len(innocent)):
            oracle.violated(f"batches {innocent} are dropped as poison, and {guilty} is it")


def dropped(oracle: Oracle) -> Counter[str]:
    """Return how many batches were given up, by reason."""
    return Counter(
        reason_of(each) for watched in oracle.sentinels.values() for each in watched.actor.in_flight.given_up
    )


def _check_departures(oracle: Oracle) -> None:
    if oracle.state.sentinels:
        oracle.violated(f"sentinels never end: {list(oracle.state.sentinels)}")
    if oracle.cause is not None:
        for name, watched in oracle.sentinels.items():
            if not (watched.told or watched.ended is not None or private.has_left(watched.actor)):
                oracle.violated(f"{name} was never told why the network failed")


def _check_batches(oracle: Oracle, watched: Watched) -> None:
    """C2: each batch is done, or was given up and counted, or its sentinel has ended with an error that says why."""
    actor = watched.actor
    name, in_flight = actor.sentinel.name, actor.in_flight
    given_up = len(in_flight.given_up)
    sent = private.sent(actor)
    if sent != actor.epochs.done + given_up + len(in_flight) and given_up < 20:
        oracle.violated(f"{name} has sent {sent} batches; {actor.epochs.done} are done and {given_up} given up")
    excused = watched.crashed or actor.error is not None or oracle.cause is not None or _taken_for_dead(oracle, name)
    if len(in_flight) and not excused:
        oracle.violated(f"{name} has left {len(in_flight)} batches behind, and says no reason")
    if given_up and not all(reason_of(each) for each in in_flight.given_up):
        oracle.violated(f"{name} has given batches up and says no reason")
    oracle.counts["sentinels_failed"] += actor.error is not None
    oracle.counts["batches_done"] += actor.epochs.done
    oracle.counts["batches_resent"] += in_flight.resent
    oracle.counts["abandoned"] += len(in_flight) if watched.ended is not None else 0


def _taken_for_dead(oracle: Oracle, name: str) -> bool:
    """Whether users were told that it sent no heartbeat. What a dying conductor was about to publish is lost."""
    return oracle.engine.injected["conductor dies"] > 0 or any(
        f"{name!r} sent no heartbeat" in text for text in oracle.failures
    )


def leftovers(oracle: Oracle) -> Iterator[str]:
    """C11, C12: the present gates alone live, with nothing in hand; yield what is not so."""
    roster = oracle.roster()
    for name, actor in oracle.engine.actors():
        if not isinstance(actor, GateActor):
            if name != "conductor":
                yield f"{name} lives on"
        elif name not in roster:
            yield f"{name} was replaced, and lives on"
        elif private.open_batches(actor) or private.known_incarnations(actor) or private.in_hand(actor):
            known, in_hand = private.known_incarnations(actor), private.in_hand(actor)
            yield f"{name} keeps {private.open_batches(actor)} batches, those of sentinels {known}, and {in_hand}"


def _check_living(oracle: Oracle) -> None:
    for text in leftovers(oracle):
        oracle.violated(text)
    for _, actor in oracle.engine.actors():
        if isinstance(actor, GateActor):
            oracle.counts.update({f"skipped {why}": count for why, count in private.skipped(actor).items() if count})
