"""Shows the reports of a run as columns."""

from collections.abc import Iterable, Iterator
from typing import Any

from akkordeon.actor import Inbox, Ref
from akkordeon.conductor.requests import Subscribe, Unsubscribe
from akkordeon.messages.reports import Notice, Report


def past_reports(conductor: Ref, inbox: Inbox, timeout: float) -> Iterator[tuple[float, Report]]:
    """Yield the reports that a conductor remembers, and when they came, in seconds since the network began.

    Raises:
        NoAnswer: none came within so many seconds.
    """
    conductor.tell(Subscribe(inbox.ref, 0))
    notice: Notice
    while (notice := inbox.take(timeout=timeout)).number:
        if isinstance(notice.event, Report):
            yield notice.seconds, notice.event
    conductor.tell(Unsubscribe(inbox.ref))


ALWAYS = ("seconds", "sentinel", "kind", "epoch", "samples", "loss")


class History(dict[str, list[Any]]):
    """One row per report, as a dict of columns of the same length; None where a report has no such figure.

    The columns are `seconds` (since the network began), `sentinel`, `kind`, `epoch`, `samples`, `loss`, and one per
    metric.
    """

    def __init__(self, reports: Iterable[tuple[float, Report]]) -> None:
        rows = list(reports)
        metrics = dict.fromkeys(name for _, report in rows for name in report.metrics)
        super().__init__({name: [] for name in (*ALWAYS, *metrics)})
        for seconds, report in rows:
            values = {name: getattr(report, name) for name in ALWAYS[1:]}
            for name, column in self.items():
                column.append({"seconds": seconds, **report.metrics, **values}.get(name))

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # noqa: PLC0415 - not a dependency

        return pd.DataFrame(self)
