"""A bounded cache: the least recently used entry makes room."""

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["LruCache"]

T = TypeVar("T")


class LruCache(Generic[T]):
    """At most `capacity` values by key."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: str, value: T) -> bool:
        """Returns whether another value had to make room."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) <= self._capacity:
            return False
        self._values.popitem(last=False)
        return True

    def discard(self, key: str) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)
