"""Does the gateway's registry hold what the devices were told, and nothing else?

The law that this holds the gateway to: registered means durable, and a refused peer changes nothing. A device whose
attempt ended without an answer may be registered or not; it is not held against anybody.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.cli.channel import call_pages
from loadtest.devices import Population
from loadtest.tally import Tally

__all__ = ["RegistryCheck", "Row", "check", "read_registry"]

_PAGE: Final = 1000
_TOLD: Final = 100
_COUNTED: Final = frozenset({"registered", "provisioned"})
"""A device that waits for approval is on record, and not in."""

Row = tuple[str, str]
"""(device id, status)"""


def read_registry(config: Path, prefix: str) -> list[Row]:
    """The devices whose ids start like the load test's, as the running gateway (or its store) lists them."""
    rows: list[Row] = []

    def keep(page: list[dict[str, Any]]) -> None:
        rows.extend((row["id"], row["status"]) for row in page)

    call_pages(config, "device.list", "devices", keep, page=_PAGE, id_prefix=prefix)
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryCheck:
    """Device ids that should not be in any of these lists."""

    acknowledged: int
    """Devices that were told that they are registered."""
    unsure: int
    """Devices without an answer: they may be there."""
    missing: tuple[str, ...]
    """Told so, and not there."""
    unexpected: tuple[str, ...]
    """There, though all of their attempts were refused, and not there before."""
    twice: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not (self.missing or self.unexpected or self.twice)

    def to_json(self) -> dict[str, Any]:
        """The first hundred of each list."""
        lists: Mapping[str, tuple[str, ...]] = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "twice": self.twice,
        }
        return {
            "holds": self.holds,
            "acknowledged": self.acknowledged,
            "unsure": self.unsure,
            **{name: {"count": len(ids), "devices": list(ids[:_TOLD])} for name, ids in lists.items()},
        }


def check(
    population: Population, tally: Tally, *, before: Iterable[Row], after: Iterable[Row]
) -> RegistryCheck:
    """Compare what the devices were told with the registry before and after."""
    after = list(after)
    ids = Counter(device_id for device_id, _ in after)
    counted = {device_id for device_id, status in after if status in _COUNTED}
    known = {device_id for device_id, status in before if status in _COUNTED}
    told = {population.device_id(number) for number in tally.registered}
    unsure = {population.device_id(number) for number in tally.unsure - tally.registered}
    ours = set(population.device_ids())
    return RegistryCheck(
        acknowledged=len(told),
        unsure=len(unsure),
        missing=tuple(sorted(told - counted)),
        unexpected=tuple(sorted((counted & ours) - told - unsure - known)),
        twice=tuple(sorted(device_id for device_id, count in ids.items() if count > 1)),
    )
