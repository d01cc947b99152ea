"""How many batches to have in flight so that the bottleneck is busy, and no more: found while training goes on.

Each batch more in flight makes gradients staler, and pays only as long as some gate, or the cores, have time to spare.
So the window begins at 1 and grows while that brings more batches per second. Which of two windows brings more is found
by taking turns: spans of one and of the other, compared pair by pair, until the median of the ratios is clear of the
threshold. What a machine does meanwhile for others then hits both alike.

Where the loader is the bottleneck, the window is never full: by Little's law (batches out = batches per second times
seconds that each is out), fewer are out on average than may be, and the rest of the window is of no use.
"""

import math
from dataclasses import dataclass
from statistics import fmean, median

MOST = 16
"""Batches in flight at most; what needs more than that has gates that hardly work, or a very long way between them."""

GAIN, LOSS = 0.02, 0.01
"""Of throughput: what more in flight must bring, and what one less may cost. A step up that was just worth it must not
be taken back, so the second is less."""

FAR = 4
"""How many more are tried where one more brings nothing: gains may be small steps for a while, or come in jumps."""

CLEAR = 1.1
"""A ratio so far from the threshold needs no more than two pairs of spans."""

ODD_ONES = {5: 0, 8: 1, 11: 2}
"""Pairs of spans, and how many of them may speak against all others; by chance alone they do once in some 15 times."""

REST = (8, 128)
"""Spans until the next look: after a change, and at most; twice as long after each look that changed nothing."""

UNUSUAL = 0.15
"""By how much throughput must differ from what it was, in three spans in a row, to be looked at before that."""

SPARE = 0.5
"""Batches of the window that are not out, on average, from which on the loader is taken for the bottleneck."""


@dataclass(frozen=True, slots=True)
class Change:
    """Another window than before; windows that are only tried for some spans are none.

    Args:
        before: batches in flight until now.
        window: from now on.
        reason: why, for a person to read.
    """

    before: int
    window: int
    reason: str


class AutoWindow:
    """Finds the window; told of each batch that comes back, in the order of time.

    Args:
        most: batches in flight at most.
        batches: that a span has at least.
        seconds: that a span has at least.

    Attributes:
        window: how many batches to have in flight now.
        reason: why that is so, for a person to read.
    """

    def __init__(self, most: int = MOST, *, batches: int = 40, seconds: float = 0.3) -> None:
        self.window = 1
        self.reason = "it begins with 1"
        self._most = most
        self._least = (batches, seconds)
        self._base = 1  # the window that is kept to, but for trials of others
        self._span = _Span(1, 1, self._least)
        self._trial: _Trial | None = None
        self._climbed = False  # in this look: one less is known to be worse
        self._rest = 1
        self._left = 0
        self._usual: float | None = None
        self._odd = 0
        self._begin_look()

    def limit(self, most: int) -> Change | None:
        """Have no more than that in flight from now on."""
        if most == self._most:
            return None
        self._most = most
        self._trial = None if self._trial is None or self._trial.other > most else self._trial
        change = None
        if self._base > most:
            change = self._move(most, f"no more than {most} are granted")
        if self._trial is None:
            self._begin_look()
        if self.window > most:
            self.window = most
            self.interrupt()
        return change

    def interrupt(self) -> None:
        """Forget the present span: something else than the window has held training up, such as a save."""
        self._span = _Span(self.window, self.window, self._least)

    def came_back(self, now: float, out: int) -> Change | None:
        """Take in that a batch has come back.

        Args:
            now: seconds.
            out: how many were out until then, with this one.

        Returns:
            What changes, if anything does.
        """
        if not self._span.add(now, out):
            return None
        span, change = self._span, None
        if (used := math.ceil(span.out + SPARE)) < self._base:
            change = self._move(used, f"of {self._base} only {span.out:.1f} were out on average: the loader is slow")
            self._finish_look()
        elif self._trial is not None:
            change = self._tried(self._trial, span)
        else:
            self._rested(span)
        before, self.window = self.window, self._base if self._trial is None else self._trial.next
        self._span = _Span(before, self.window, self._least)
        return change

    # Looking for a better window: one more, several more, one less

    def _begin_look(self) -> None:
        self._climbed = False
        self._odd, self._usual = 0, None
        self._try_more(self._base + 1)

    def _try_more(self, other: int) -> None:
        if self._base < (other := min(other, self._most)):
            self._trial = _Trial(self._base, other, 1 + GAIN)
        else:
            self._try_less()

    def _try_less(self) -> None:
        if self._base > 1 and not self._climbed:
            self._trial = _Trial(self._base, self._base - 1, 1 - LOSS)
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
        before, self.reason = self._base, trial.told()
        if verdict and trial.other > before:
            self._climbed = True
            change = self._move(before + 1, self.reason)
            self._try_more(self._base + 1)
            return change
        if verdict:
            change = self._move(trial.other, self.reason)
            self._try_less()
            return change
        if trial.other == before + 1 and not trial.is_loader_slow(span):
            self._try_more(min(2 * before, before + FAR) if before > 1 else FAR)
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
        before: the window before; what was sent at it does not count, and how the gates settle neither.
        window: the present one.
        least: batches and seconds that the span has at least.
    """

    def __init__(self, before: int, window: int, least: tuple[int, float]) -> None:
        self.window = window
        self._skip = 0 if before == window else 2 * max(before, window)
        self._batches, self._seconds = least
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
        whole = self._count % self.window == 0  # batches may come back in bursts of as many as are out
        return whole and self._count >= self._batches and now - self._began >= self._seconds

    @property
    def rate(self) -> float:
        """Batches per second."""
        assert self._began is not None
        return self._count / (self._now - self._began)

    @property
    def out(self) -> float:
        """How many were out, on average."""
        return self._out / self._count


class _Trial:
    """One window against another: spans of both in turns, first A B, then B A.

    Args:
        base: the window that is kept to.
        other: what is tried.
        threshold: ratio of batches per second from which on the other is taken.
    """

    def __init__(self, base: int, other: int, threshold: float) -> None:
        self.other = other
        self._base = base
        self._threshold = threshold
        self._rates: list[float] = []

    @property
    def next(self) -> int:
        """The window of the next span."""
        return self.other if len(self._rates) % 4 in (1, 2) else self._base

    def add(self, span: _Span) -> None:
        """Take in a span of the window that was next."""
        assert span.window == self.next
        self._rates.append(span.rate)

    def is_loader_slow(self, span: _Span) -> bool:
        """Whether more batches could be out than there are, so that still more are of no use."""
        return span.window == self.other > self._base and span.out < self.other - SPARE

    def verdict(self) -> bool | None:
        """Say whether the other window is to be taken; None as long as that is not clear."""
        ratios = self._ratios
        if len(self._rates) % 2 or len(ratios) < 2:
            return None
        if min(ratios) > CLEAR * self._threshold or max(ratios) < self._threshold / CLEAR:
            return min(ratios) > self._threshold
        if len(ratios) not in ODD_ONES:
            return None
        for_it = sum(ratio > self._threshold for ratio in ratios)
        if min(for_it, len(ratios) - for_it) <= ODD_ONES[len(ratios)]:
            return 2 * for_it > len(ratios)
        if len(ratios) < max(ODD_ONES):
            return None
        # Nobody can tell for sure. A smaller window is none the worse; a larger one must bring anything at all.
        likely = median(ratios) > self._threshold
        return likely and (self.other < self._base or sorted(ratios)[max(ODD_ONES.values())] > 1)

    def told(self) -> str:
        """Say what is known, for a person to read."""
        if not (ratios := self._ratios):
            return f"{self.other} in flight instead of {self._base} were never out: the loader is slow"
        rate = fmean(self._rates)
        gain = f"{median(ratios) - 1:+.1%} batches per second"
        return f"{self.other} in flight instead of {self._base}: {gain}, at some {rate:.3g}"

    @property
    def _ratios(self) -> list[float]:
        pairs = zip(self._rates[::2], self._rates[1::2], strict=False)
        return [one / other if n % 2 else other / one for n, (one, other) in enumerate(pairs)]
