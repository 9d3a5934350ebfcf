"""The enrollment groups in force: a snapshot that admission reads, replaced whole when an operator changes one.

The store is written first, the snapshot made anew after it, and with it the cache of verified leaves: what a
removed CA vouched for is forgotten with the snapshot that trusted it.
"""

from gateway.enrollment.decide import GroupBook
from gateway.enrollment.models import EnrollmentGroup
from gateway.registry.store import Store

__all__ = ["Groups"]


class Groups:
    """`book` is what is in force now."""

    def __init__(self, store: Store, *, leaf_cache_size: int) -> None:
        self._store = store
        self._leaf_cache_size = leaf_cache_size
        self._groups: dict[str, EnrollmentGroup] = {}
        self.book = GroupBook(leaf_cache_size=leaf_cache_size)

    async def load(self) -> None:
        """Read every group. Raises `StoreError`."""
        self._groups = {group.id: group for group in await self._store.load_groups()}
        self._renew()

    def get(self, group_id: str) -> EnrollmentGroup | None:
        return self._groups.get(group_id)

    def list(self) -> tuple[EnrollmentGroup, ...]:
        return tuple(self._groups[group_id] for group_id in sorted(self._groups))

    async def save(self, group: EnrollmentGroup) -> None:
        """Store a new or changed group and put it in force. Raises `StoreError`."""
        await self._store.save_group(group)
        self._groups[group.id] = group
        self._renew()

    async def delete(self, group_id: str) -> None:
        """Raises `StoreError`. Deleting what is not there does nothing."""
        await self._store.delete_group(group_id)
        self._groups.pop(group_id, None)
        self._renew()

    def _renew(self) -> None:
        self.book = GroupBook(self._groups.values(), leaf_cache_size=self._leaf_cache_size)
