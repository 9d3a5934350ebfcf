"""Is all as it should be? If not, what is not, in words: the first thing that somebody wants to know of a run."""

from collections.abc import Mapping
from typing import Any

from loadtest.registry_check import RegistryCheck
from loadtest.result import MessageResult, StormResult

__all__ = ["problems"]


def problems(
    result: StormResult,
    *,
    good_devices: int,
    retried: bool,
    registry: RegistryCheck | None,
    delivery: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    """Empty if all is as it should be. `good_devices` are those with a credential of their own."""
    found = [
        (result.bad_admitted, "devices came in with somebody else's credential"),
        *(_attempts(result, good_devices) if retried else _first_attempts(result)),
    ]
    if result.messages is not None:
        found += _messages(result.messages)
    if registry is not None:
        found += [
            (
                len(registry.missing),
                "devices were told that they are registered, and are not in the registry",
            ),
            (len(registry.unexpected), "devices were refused, and are in the registry"),
            (len(registry.twice), "devices are in the registry more than once"),
        ]
    if delivery is not None:
        found += [
            (delivery["missing"]["count"], "messages did not reach the application"),
            (delivery["unexpected"], "messages reached the application that nobody had sent"),
        ]
    return tuple(f"{count:,} {what}" for count, what in found if count)


def _first_attempts(result: StormResult) -> list[tuple[int, str]]:
    admitted = result.admitted - result.bad_admitted
    return [
        (max(0, result.offered - result.bad_offered - admitted), "attempts were not admitted"),
        (result.lost, "sessions were lost"),
    ]


def _attempts(result: StormResult, good_devices: int) -> list[tuple[int, str]]:
    never = max(0, good_devices - result.devices_in)
    return [
        (never, "devices never came in"),
        (max(0, good_devices - never - result.sessions), "devices are not connected at the end"),
    ]


def _messages(messages: MessageResult) -> list[tuple[int, str]]:
    unacknowledged = messages.published - messages.acknowledged if messages.qos else 0
    return [
        (messages.unsent, "messages were due when no device was connected"),
        (unacknowledged, "messages were not acknowledged"),
    ]
