"""A link that remembers what a session sends: `gateway.session.Link` without a socket."""

from typing import Any

import orjson

from gateway.session import CloseReason


class RecordingLink:
    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, int]] = []
        self.order: list[str] = []
        self.acknowledged: list[int] = []
        self.closed: CloseReason | None = None

    @property
    def is_open(self) -> bool:
        return self.closed is None

    def publish(self, topic: str, payload: bytes, qos: int) -> bool:
        self.sent.append((topic, payload, qos))
        self.order.append("publish")
        return True

    def puback(self, packet_id: int) -> None:
        self.acknowledged.append(packet_id)
        self.order.append("puback")

    def close(self, reason: CloseReason, detail: str = "") -> None:
        self.closed = reason

    @property
    def last(self) -> tuple[str, Any]:
        """Topic and JSON of the last answer."""
        topic, payload, _ = self.sent[-1]
        return topic, orjson.loads(payload) if payload else None
