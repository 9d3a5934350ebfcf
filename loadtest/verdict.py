"""Is all as it should be? If not, what is not, in words: the first thing that somebody wants to know of a run."""

from collections.abc import Mapping
from typing import Any, Final

from loadtest.registry_check import RegistryCheck
from loadtest.result import MessageResult, StormResult

__all__ = ["cautions", "problems"]

_LATE_S: Final = 0.5
Problem = tuple[int, str, str]
"""How many, of what, and what is wrong with them."""


def problems(
    result: StormResult,
    *,
    good_devices: int,
    retried: bool,
    registry: RegistryCheck | None,
    delivery: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    """Empty if all is as it should be. `good_devices` are those with a credential of their own."""
    found: list[Problem] = [
        (result.bad_admitted, "device", "came in with somebody else's credential"),
        *(_devices(result, good_devices) if retried else _attempts(result)),
    ]
    if result.messages is not None:
        found += _messages(result.messages)
    if registry is not None:
        found += [
            (len(registry.missing), "registered device", "missing from the registry"),
            (len(registry.unexpected), "refused device", "found in the registry"),
            (len(registry.twice), "device", "found in the registry more than once"),
        ]
    if delivery is not None:
        found += [
            (delivery["missing"]["count"], "message", "did not reach the application"),
            (delivery["unexpected"], "message", "reached the application that nobody had sent"),
        ]
    return tuple(
        f"{count:,} {noun}{'' if count == 1 else 's'} {what}" for count, noun, what in found if count
    )


def cautions(result: StormResult, *, connectors: int | None) -> tuple[str, ...]:
    """What a reader has to know before believing the latencies.

    With a limit of connectors an attempt may wait for one, which is the plan; without, only the tester can be late.
    """
    if connectors is not None or result.tester_late_s < _LATE_S:
        return ()
    late = (
        f"the tester had too little CPU: it began attempts up to {result.tester_late_s:.1f} s after they were due, "
        "which their latencies include"
    )
    return (late,)


def _attempts(result: StormResult) -> list[Problem]:
    admitted = result.admitted - result.bad_admitted
    return [
        (
            max(0, result.offered - result.bad_offered - admitted),
            "attempt",
            "did not end in an admission",
        ),
        (result.lost, "session", "broke off"),
    ]


def _devices(result: StormResult, good_devices: int) -> list[Problem]:
    never = max(0, good_devices - result.devices_in)
    return [
        (never, "device", "never came in"),
        (max(0, good_devices - never - result.sessions), "device", "had no connection at the end"),
    ]


def _messages(messages: MessageResult) -> list[Problem]:
    unacknowledged = messages.published - messages.acknowledged if messages.qos else 0
    return [
        (messages.unsent, "message", "fell due when no device was connected"),
        (unacknowledged, "message", "got no PUBACK"),
    ]
