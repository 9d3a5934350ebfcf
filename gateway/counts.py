"""What is counted where it happens, in plain integers. `gateway.metrics` reads them when somebody scrapes.

The hot path pays an addition, or for a histogram a search in a short list, where prometheus-client's own counters take a
lock and a look-up of labels (docs/metrics.md has the comparison).
"""

from bisect import bisect_left
from collections import Counter
from typing import Final

from gateway.refusals import Reason
from gateway.session import CloseReason, Dialect

__all__ = ["EdgeCounts", "Histogram"]

_SECONDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How many values fell between bounds. A value on a bound counts below it, as Prometheus has it."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = _SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class EdgeCounts:
    """What connections count."""

    __slots__ = ("accepted", "admission_seconds", "closed", "handshake_seconds", "refused", "tls_failed")

    def __init__(self) -> None:
        self.accepted: Counter[tuple[Dialect, str, str | None]] = Counter()
        """CONNECTs that were answered with 0, by dialect, mechanism and TLS version (None on the plain listener)."""
        self.refused: Counter[Reason] = Counter()
        self.closed: Counter[CloseReason] = Counter()
        self.tls_failed = 0
        self.handshake_seconds = Histogram()
        """From accept to the end of the TLS handshake."""
        self.admission_seconds = Histogram()
        """From the bytes of the CONNECT to its CONNACK 0; a first connect's has its commit in it."""
