"""A device and its states. Pure.

                  approve            provision
    WAITING ───────────────▶ REGISTERED ─────────▶ PROVISIONED
       │ block                   │ block               │ block
       └────────────▶ BLOCKED ◀──┴─────────────────────┘      unblock: back to where it was

Status and template are two axes, as in IoT Central: an Unassociated device may be provisioned.
"""

import dataclasses
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from gateway.errors import ConflictError

__all__ = [
    "MAX_TAGS",
    "TRANSITIONS",
    "Device",
    "Status",
    "Verb",
    "is_device_id",
    "is_device_name",
    "is_tag",
    "transition",
]

_CENTRAL_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}")
_DPS_ID: Final = re.compile(r"[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]")
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=/@+-]{0,63}")
_MAX_NAME: Final = 148
"""IoT Central's longest device name."""
MAX_TAGS: Final = 32


class Status(StrEnum):
    WAITING = "waiting"
    REGISTERED = "registered"
    PROVISIONED = "provisioned"
    BLOCKED = "blocked"


Verb = Literal["approve", "provision", "block", "unblock"]

_BACK: Final = None
TRANSITIONS: Final[dict[tuple[Status, Verb], Status | None]] = {
    (Status.WAITING, "approve"): Status.REGISTERED,
    (Status.REGISTERED, "provision"): Status.PROVISIONED,
    (Status.WAITING, "block"): Status.BLOCKED,
    (Status.REGISTERED, "block"): Status.BLOCKED,
    (Status.PROVISIONED, "block"): Status.BLOCKED,
    (Status.BLOCKED, "unblock"): _BACK,
}
"""The only ways a status moves. `None` is the status before the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A registration. Times are unix seconds."""

    id: str
    name: str
    status: Status
    status_before_block: Status | None = None
    template_id: str | None = None
    template_assigned_by: Literal["association", "operator"] | None = None
    model_id: str | None = None
    model_announced_by: Literal["dps", "hub"] | None = None
    enrollment_group: str | None = None
    tags: tuple[str, ...] = ()
    """An operator's labels, sorted, each once."""
    created_at: float
    updated_at: float
    assigned_at: float | None = None
    etag: str

    @classmethod
    def new(cls, device_id: str, *, status: Status, now: float, **facts: Any) -> "Device":
        assigned = now if status is Status.PROVISIONED else None
        return cls(
            id=device_id, name=facts.pop("name", None) or device_id, status=status, created_at=now, updated_at=now,
            assigned_at=assigned, etag=secrets.token_hex(8), **facts,
        )  # fmt: skip

    @property
    def provisioned(self) -> bool:
        return (self.status_before_block or self.status) is Status.PROVISIONED

    @property
    def enabled(self) -> bool:
        return self.status in (Status.REGISTERED, Status.PROVISIONED)

    def replace(self, *, now: float, **changes: Any) -> "Device":
        """A changed copy with a new etag."""
        return dataclasses.replace(self, updated_at=now, etag=secrets.token_hex(8), **changes)


def transition(device: Device, verb: Verb, *, now: float) -> Device:
    """Move along the table. Raises `ConflictError`."""
    if (device.status, verb) not in TRANSITIONS:
        raise ConflictError(f"{device.id} is {device.status}: it can't be {_PAST[verb]}")
    status = TRANSITIONS[(device.status, verb)]
    if status is _BACK:
        return device.replace(
            now=now, status=device.status_before_block or Status.REGISTERED, status_before_block=None
        )
    if status is Status.BLOCKED:
        return device.replace(now=now, status=status, status_before_block=device.status)
    if status is Status.PROVISIONED:
        return device.replace(now=now, status=status, assigned_at=now)
    return device.replace(now=now, status=status)


_PAST: Final[dict[Verb, str]] = {
    "approve": "approved", "provision": "provisioned", "block": "blocked", "unblock": "unblocked",
}  # fmt: skip


def is_device_id(text: str, *, extended: bool = False) -> bool:
    """IoT Central's rule: letters, digits and `-`, at most 128. `extended` is DPS's: also `.`, `_` and `:` inside."""
    return (_DPS_ID if extended else _CENTRAL_ID).fullmatch(text) is not None


def is_device_name(text: str) -> bool:
    """One line of text that prints, of at most 148 characters."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable() and not text.isspace()


def is_tag(text: str) -> bool:
    """A label such as `berlin` or `site=berlin/hall-3`: no spaces, at most 64 characters, so that many fit on one line."""
    return _TAG.fullmatch(text) is not None
