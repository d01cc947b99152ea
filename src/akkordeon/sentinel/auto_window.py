"""Finds, while training goes on, how many batches in flight keep the bottleneck busy: that many, and no more.

Each batch more in flight makes gradients staler, and pays only as long as some gate, or the cores, have time to spare.
So the window begins at 1 and grows while that brings more batches per second. Which of two windows brings more is found
by taking turns: spans of one and of the other, compared pair by pair, until the median of the ratios is clear of the
threshold. What a machine does meanwhile for others then hits both alike.

Where the loader is the bottleneck, the window is never full: by Little's law (batches out = batches per second times
seconds that each is out), fewer are out on average than may be, and the rest of the window is of no use.
"""

import math
from dataclasses import dataclass, field
from statistics import fmean, median

MOST_IN_FLIGHT = 16
"""Batches in flight at most; gates that need more than that hardly compute, or are very far apart."""

LEAST_BATCHES, LEAST_SECONDS = 40, 0.3
"""Batches in a span, and seconds of it, at least."""

LEAST_GAIN, MOST_LOSS = 0.02, 0.01
"""Shares of throughput: what a wider window must gain, and what one batch less may lose. The loss is smaller, so that a
step up that was just worth it is not taken back."""

FAR_STEP = 4
"""How many more are tried where one more gains nothing: gains may be small steps for a while, or come in jumps."""

CLEAR_RATIO = 1.1
"""If all ratios are this factor away from the threshold, on the same side, two pairs of spans are enough."""

OUTLIERS = {5: 0, 8: 1, 11: 2}
"""Pairs of spans, and how many of them may contradict all others for a decision. By chance alone, two equal windows
give a decision about once in 15 times: a sign test."""

REST = (8, 128)
"""Spans until the next look: after a change, and at most; doubled after each look that changed nothing."""

UNUSUAL = 0.15
"""Share by which throughput must differ from what it was, in three spans in a row, for a look before that."""

SPARE = 0.5
"""If this many batches of the window are not in flight, on average, the loader is taken for the bottleneck."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the window; to try another one for some spans is no change.

    Args:
        before: batches in flight until now.
        window: batches in flight from now on.
        reason: why, for a person to read.
    """

    before: int
    window: int
    reason: str


class AutoWindow:
    """Finds the window from when batches come back.

    It alternates between a look, in which other windows are tried against the one that is kept, and a rest, in which
    throughput is only watched. A look tries one more; if that gains nothing, several more; if that gains nothing
    either, one less. A step up is followed by another look up, a step down by another one down.

    Args:
        most: batches in flight at most.

    Attributes:
        window: how many batches to have in flight now.
        reason: why, for a person to read.
    """

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self.window = 1
        self.reason = "it begins with 1"
        self._most = most
        self._base = 1  # the window that is kept, except while another one is tried
        self._span = _Span(1, 1)
        self._trial: _Trial | None = None
        self._rest = 1  # spans from the end of the next look to the one after it
        self._left = 0  # spans of the present rest
        self._begin_look()

    def limit(self, most: int) -> Change | None:
        """Have no more than that in flight from now on."""
        if most == self._most:
            return None
        self._most = most
        if self._trial is not None and self._trial.other > most:
            self._trial = None
        change = self._move(most, f"no more than {most} are granted") if self._base > most else None
        if self._trial is None:  # what is granted has changed, so another window may be the best one
            self._begin_look()
        if self.window > most:
            self.window = most
            self.interrupt()
        return change

    def interrupt(self) -> None:
        """Forget the present span: something else than the window has held training up, such as a save."""
        self._span = _Span(self.window, self.window)

    def came_back(self, now: float, out: int) -> Change | None:
        """Take in that a batch has come back; return what changes, if anything.

        Args:
            now: seconds.
            out: batches that were in flight until then, this one among them.
        """
        if not self._span.add(now, out):
            return None
        span, change = self._span, None
        # Where the loader is slow, a comparison of windows would measure its moods; what is not used is given up first.
        if (used := math.ceil(span.out + SPARE)) < self._base:
            change = self._move(used, f"on average {span.out:.1f} of {self._base} were in flight: the loader is slow")
            self._finish_look()
        elif self._trial is not None:
            change = self._tried(self._trial, span)
        else:
            self._rested(span)
        before = self.window
        self.window = self._base if self._trial is None else self._trial.next
        self._span = _Span(before, self.window)
        return change

    # Looking for a better window: one more, several more, one less

    def _begin_look(self) -> None:
        self._climbed = False  # whether this look has made the window wider, so that one less is known to be worse
        self._usual: float | None = None  # batches per second, in the first span of the rest that follows
        self._odd = 0  # latest spans, in a row, that differed from that
        self._try_more(self._base + 1)

    def _try_more(self, other: int) -> None:
        other = min(other, self._most)
        if other > self._base:
            self._trial = _Trial(self._base, other, 1 + LEAST_GAIN)
        else:
            self._try_less()

    def _try_less(self) -> None:
        if self._base > 1 and not self._climbed:
            self._trial = _Trial(self._base, self._base - 1, 1 - MOST_LOSS)
        else:
            self._finish_look()

    def _finish_look(self) -> None:
        self._trial = None
        self._left = self._rest
        self._rest = min(2 * self._rest, REST[1])

    def _tried(self, trial: "_Trial", span: "_Span") -> Change | None:
        trial.add(span)
        verdict = False if trial.is_loader_slow(span) else trial.verdict()
        if verdict is None:
            return None
        before, self.reason = self._base, trial.summary()
        if verdict:
            # One step at a time, even if several more were tried: staleness grows with each, and the first may do.
            change = self._move(min(trial.other, before + 1), self.reason)
            if trial.other > before:
                self._climbed = True
                self._try_more(self._base + 1)
            else:
                self._try_less()
            return change
        if trial.other == before + 1 and not trial.is_loader_slow(span):
            # One more gains nothing by itself; look behind the plateau, at most twice as far.
            self._try_more(min(2 * before, before + FAR_STEP) if before > 1 else FAR_STEP)
        elif trial.other > before:
            self._try_less()
        else:
            self._finish_look()
        return None

    def _move(self, window: int, reason: str) -> Change:
        change = Change(self._base, window, reason)
        self._base, self.reason = window, reason
        self._rest = REST[0]
        return change

    # Staying, until it is time to look again

    def _rested(self, span: "_Span") -> None:
        self._left -= 1
        if self._usual is None:
            self._usual = span.rate
        self._odd = self._odd + 1 if abs(span.rate / self._usual - 1) > UNUSUAL else 0
        if self._left <= 0 or self._odd == 3:
            self._begin_look()


class _Span:
    """What comes back at one window.

    Args:
        before: the window until now. What was sent at it does not count, nor does what comes back while gates settle.
        window: the present one.
    """

    def __init__(self, before: int, window: int) -> None:
        self.window = window
        self._skip = 0 if before == window else 2 * max(before, window)
        self._began: float | None = None
        self._now = 0.0
        self._count = self._out = 0

    def add(self, now: float, out: int) -> bool:
        """Take in that a batch has come back; return whether the span is over."""
        if self._skip > 0 or self._began is None:
            self._skip -= 1
            self._began = now if self._skip < 0 else None
            return False
        self._now, self._count, self._out = now, self._count + 1, self._out + out
        # Batches may come back in bursts, as many as are in flight; part of a burst would spoil the rate.
        whole = self._count % self.window == 0
        return whole and self._count >= LEAST_BATCHES and now - self._began >= LEAST_SECONDS

    @property
    def rate(self) -> float:
        """Batches per second."""
        assert self._began is not None
        return self._count / (self._now - self._began)

    @property
    def out(self) -> float:
        """Batches in flight, on average."""
        return self._out / self._count


@dataclass(slots=True)
class _Trial:
    """One window against another: spans of both in turns.

    The turns are A B, B A, A B, ...: a drift of the machine's speed then favours each of them equally often.

    Args:
        base: the window that is kept.
        other: the one that is tried.
        threshold: ratio of batches per second, other to base, above which the other is taken.
    """

    base: int
    other: int
    threshold: float
    _rates: list[float] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The window of the next span."""
        return self.other if len(self._rates) % 4 in (1, 2) else self.base

    def add(self, span: _Span) -> None:
        """Take in a span of the window that was next."""
        assert span.window == self.next
        self._rates.append(span.rate)

    def is_loader_slow(self, span: _Span) -> bool:
        """Whether fewer batches are in flight than the tried window allows, so that it gains nothing."""
        return span.window == self.other > self.base and span.out < self.other - SPARE

    def verdict(self) -> bool | None:
        """Decide whether to take the other window; None as long as that is not clear."""
        ratios = self._ratios
        if len(self._rates) % 2 or len(ratios) < 2:
            return None
        # A large difference shows at once; a smaller one needs as many pairs as chance allows for (`OUTLIERS`).
        if min(ratios) > CLEAR_RATIO * self.threshold or max(ratios) < self.threshold / CLEAR_RATIO:
            return min(ratios) > self.threshold
        if len(ratios) not in OUTLIERS:
            return None
        for_it = sum(ratio > self.threshold for ratio in ratios)
        if min(for_it, len(ratios) - for_it) <= OUTLIERS[len(ratios)]:
            return 2 * for_it > len(ratios)
        if len(ratios) < max(OUTLIERS):
            return None
        # Not decided after the most pairs: the windows are about equal at the threshold. The median decides for a
        # smaller window; a larger one must also gain something in all but the worst pairs, since it costs staleness.
        likely = median(ratios) > self.threshold
        return likely and (self.other < self.base or sorted(ratios)[max(OUTLIERS.values())] > 1)

    def summary(self) -> str:
        """Say what is known, for a person to read."""
        if not (ratios := self._ratios):
            return f"{self.other} instead of {self.base} were never in flight: the loader is slow"
        gain, rate = median(ratios) - 1, fmean(self._rates)
        return f"{self.other} against {self.base}: {gain:+.1%} throughput, {rate:.3g} batches/s"

    @property
    def _ratios(self) -> list[float]:
        """Batches per second, other to base, in each pair of spans; in every second pair the other one came first."""
        pairs = zip(self._rates[::2], self._rates[1::2], strict=False)
        return [one / other if n % 2 else other / one for n, (one, other) in enumerate(pairs)]
