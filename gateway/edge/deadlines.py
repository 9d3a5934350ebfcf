"""One timer for all connections.

A timer per connection costs a heap entry on every connect and a cancel on every close. Deadlines here (time
to CONNECT, keep-alive, token expiry) need a second's precision at most, so they live in buckets of one
second, and one tick per second looks at the buckets that are due.
"""

from typing import Protocol

from gateway.log import get_logger

__all__ = ["Deadlines", "Watched"]

log = get_logger()


class Watched(Protocol):
    """Something with a deadline. `bucket` belongs to `Deadlines`; start it at 0."""

    bucket: int

    def deadline_reached(self, now: float) -> float | None:
        """What was scheduled is due. Returns the next time to look (seconds, same clock), or None."""
        ...


class Deadlines:
    """Buckets of one second. Times are seconds of any one monotonic clock."""

    def __init__(self, *, now: float) -> None:
        self._buckets: dict[int, set[Watched]] = {}
        self._done_until = int(now)

    def watch(self, item: Watched, at: float) -> None:
        """Call `item.deadline_reached` at the first tick that is not before `at`. Replaces an earlier time."""
        if item.bucket:
            self.forget(item)
        # Rounded up, so never early; and never into a bucket that was ticked already.
        bucket = max(int(at) + 1, self._done_until + 1)
        item.bucket = bucket
        members = self._buckets.get(bucket)
        if members is None:
            self._buckets[bucket] = {item}
        else:
            members.add(item)

    def forget(self, item: Watched) -> None:
        members = self._buckets.get(item.bucket)
        if members is not None:
            members.discard(item)
            if not members:
                del self._buckets[item.bucket]
        item.bucket = 0

    def tick(self, now: float) -> None:
        """Look at everything that is due at `now`. A fault in one look is logged, and keeps nobody from theirs."""
        while self._done_until < int(now):
            self._done_until += 1
            for item in self._buckets.pop(self._done_until, ()):
                if item.bucket != self._done_until:
                    continue  # one before it has ended it, or given it another time
                item.bucket = 0
                try:
                    again = item.deadline_reached(now)
                except Exception as error:  # noqa: BLE001 - the wheel turns for all connections
                    log.error("deadline.failed", error=repr(error))
                    continue
                if again is not None:
                    self.watch(item, again)

    def __len__(self) -> int:
        return sum(len(members) for members in self._buckets.values())
