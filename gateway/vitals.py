"""How the running gateway is doing: rates of what it counts, for `gateway status`.

The gateway counts in plain integers where things happen. Once a second the totals are read here and their growth is kept
for an hour, so nothing is paid per connect or per message.
"""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.refusals import Reason

__all__ = ["Rate", "Vitals"]

_MINUTE: Final = 60
_HOUR: Final = 3600


class Rate:
    """How fast a total grows. `total` is read once a second."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._last = total()
        self._grown = array("L", [0]) * _HOUR
        self._seconds = 0

    def sample(self) -> None:
        """Called each second."""
        now = self._total()
        self._grown[self._seconds % _HOUR] = max(0, now - self._last)
        self._last = now
        self._seconds += 1

    def last(self, seconds: int) -> list[int]:
        """The growth in each of the last seconds, the oldest first; fewer if it runs for less."""
        known = min(seconds, self._seconds, _HOUR)
        return [self._grown[number % _HOUR] for number in range(self._seconds - known, self._seconds)]

    def per_second(self, seconds: int) -> float:
        """On average over the last `seconds`, or as long as it runs."""
        grown = self.last(seconds)
        return sum(grown) / len(grown) if grown else 0.0

    def minutes(self) -> list[int]:
        """The growth in each whole minute of the last hour, the oldest first."""
        first = max(0, -((_HOUR - self._seconds) // _MINUTE))
        return [
            sum(self._grown[number % _HOUR] for number in range(minute * _MINUTE, (minute + 1) * _MINUTE))
            for minute in range(first, self._seconds // _MINUTE)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "now": self.per_second(1),
            "minute": round(self.per_second(_MINUTE), 2),
            "hour": round(self.per_second(_HOUR), 2),
            "total": self._last,
            "lastMinute": self.last(_MINUTE),
            "lastHour": self.minutes(),
        }


class Vitals:
    """Rates by name, refusals by reason, and facts that are read when they are asked for."""

    def __init__(self, *, started_at: float) -> None:
        self.started_at = started_at
        self._rates: dict[str, Rate] = {}
        self._facts: dict[str, Callable[[], Any]] = {}
        self._refusals: Callable[[], Mapping[Reason, int]] = dict
        self._minutes: deque[Counter[Reason]] = deque(maxlen=_MINUTE)
        self._last_refusals: Counter[Reason] = Counter()
        self._seconds = 0

    def watch(self, name: str, total: Callable[[], int]) -> None:
        """Keep the rate at which `total` grows."""
        self._rates[name] = Rate(total)

    def watch_refusals(self, counted: Callable[[], Mapping[Reason, int]]) -> None:
        """Keep what was refused in the last hour, by reason."""
        self._refusals = counted

    def add_fact(self, name: str, read: Callable[[], Any]) -> None:
        """Have a JSON value read whenever somebody looks."""
        self._facts[name] = read

    def sample(self) -> None:
        """Called each second."""
        for rate in self._rates.values():
            rate.sample()
        self._seconds += 1
        if self._seconds % _MINUTE == 0:
            self._minutes.append(self._refused_since())
            self._last_refusals = Counter(self._refusals())

    def to_json(self) -> dict[str, Any]:
        """`refusals`: reasons of the last hour, the most frequent first."""
        refused = sum(self._minutes, self._refused_since())
        return {
            "rates": {name: rate.to_json() for name, rate in self._rates.items()},
            "refusals": [{"reason": str(reason), "count": count} for reason, count in refused.most_common()],
            **{name: read() for name, read in self._facts.items()},
        }

    def _refused_since(self) -> Counter[Reason]:
        return Counter(self._refusals()) - self._last_refusals
