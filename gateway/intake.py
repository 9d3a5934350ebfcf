"""How many devices are admitted and registered at once: the second gate of storm control, behind the proof.

The first gate (`gateway.edge.storm`) knows addresses only. This one is asked by admission once a device has proved its
identity, and before anything changes, so nobody gains by claiming somebody else's id. It knows what matters
there: whether the device is known, and its enrollment group. Pure; the clock is an argument.

Both limits keep something back, as telephone networks keep trunks for calls that must get through: a new device,
and a group that already took its share, may only use what is above a reserve. While nobody else comes they get the whole
rate, since the level then rests at the reserve; and who comes after all finds the reserve untouched.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.settings import StormSettings

__all__ = ["Intake"]

_NEW_RESERVE: Final = 0.25
_GROUP_RESERVE: Final = 0.25
_NEW_MINIMUM: Final = 0.1
"""New devices get this part of the rate whatever the known ones take."""
_MAX_GROUPS: Final = 1000


class Intake:
    """The admission rate (a token bucket of one second, if there is a rate), and the registrations in progress."""

    def __init__(
        self, settings: StormSettings, *, now: float, randint: Callable[[int, int], int] = random.randint
    ) -> None:
        self._retry_after_s = (settings.retry_after_min_s, settings.retry_after_max_s)
        self._randint = randint
        self._rate_per_s = settings.admission_rate_per_s
        self._burst = max(1.0, self._rate_per_s or 0.0)
        self._share = settings.per_group_share
        self._tokens = self._burst
        self._new_burst = max(1.0, self._burst * _NEW_MINIMUM)
        self._new_tokens = self._new_burst
        self._filled_at = now
        # group → (what it took above its share, leaking away; when that was so)
        self._taken: OrderedDict[str | None, tuple[float, float]] = OrderedDict()
        self._max_registrations = settings.max_registrations
        self._registering: dict[str | None, int] = {}
        self.registrations = 0
        self.refused_rate = 0
        """Refused because of the admission rate, since the start."""
        self.refused_registrations = 0
        """Refused because too many registrations were waiting for their commit, since the start."""
        self._reported = (0, 0)

    def admit(self, group: str | None, now: float, *, is_known: bool) -> bool:
        """Whether a proven device may come in now. `now` is seconds of any clock; it may jump."""
        if self._rate_per_s is None:
            return True
        self._fill(now)
        reserve = 0.0 if is_known else _NEW_RESERVE
        if self._is_over_share(group, now):
            reserve += _GROUP_RESERVE
        if self._tokens >= max(1.0, reserve * self._burst):
            self._tokens -= 1
        elif not is_known and self._new_tokens >= 1:
            self._new_tokens -= 1
        else:
            self.refused_rate += 1
            return False
        self._count(group, now)
        return True

    def begin_registration(self, group: str | None) -> bool:
        """Whether a new device may be registered now. If so, `end_registration` is called when that is done."""
        ours = self._registering.get(group, 0)
        limit = self._max_registrations
        if ours >= limit * self._share:
            limit = max(1, int(limit * (1 - _GROUP_RESERVE)))
        if self.registrations >= limit:
            self.refused_registrations += 1
            return False
        self.registrations += 1
        self._registering[group] = ours + 1
        return True

    def end_registration(self, group: str | None) -> None:
        self.registrations -= 1
        ours = self._registering[group] - 1
        if ours:
            self._registering[group] = ours
        else:
            del self._registering[group]

    def retry_after_s(self) -> int:
        """When a device that was refused here is to ask again: spread out, so that they do not all ask at once."""
        return self._randint(*self._retry_after_s)

    def report(self) -> dict[str, int]:
        """What was refused since the last report, by cause; empty if nothing was."""
        counts = (self.refused_rate, self.refused_registrations)
        before, self._reported = self._reported, counts
        names = ("over_rate", "over_registrations")
        return {
            name: now - then for name, now, then in zip(names, counts, before, strict=True) if now != then
        }

    def _fill(self, now: float) -> None:
        elapsed = max(0.0, now - self._filled_at)
        self._filled_at = now
        gained = elapsed * (self._rate_per_s or 0.0)
        own = min(gained * _NEW_MINIMUM, self._new_burst - self._new_tokens)
        self._new_tokens += own
        self._tokens = min(self._burst, self._tokens + gained - own)

    def _is_over_share(self, group: str | None, now: float) -> bool:
        return self._level(group, now) >= self._share * self._burst

    def _level(self, group: str | None, now: float) -> float:
        level, at = self._taken.get(group, (0.0, now))
        return max(0.0, level - max(0.0, now - at) * self._share * (self._rate_per_s or 0.0))

    def _count(self, group: str | None, now: float) -> None:
        level = min(self._level(group, now) + 1, self._burst + 1)
        self._taken[group] = (level, now)
        self._taken.move_to_end(group)
        if len(self._taken) > _MAX_GROUPS:
            self._taken.popitem(last=False)
