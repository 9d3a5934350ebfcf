"""`device.telemetry`: the last messages of a device."""

from typing import Any

import orjson

from gateway.errors import NotFoundError, OperationError
from gateway.operations.documents import timestamp
from gateway.operations.verbs import DeviceId
from gateway.registry.registry import Registry
from gateway.telemetry.last import LastMessage, LastMessages

__all__ = ["TelemetryOperations"]


class TelemetryOperations:
    """`device.telemetry`"""

    def __init__(self, *, registry: Registry, last_messages: LastMessages | None) -> None:
        self._registry = registry
        self._last_messages = last_messages

    async def show(self, *, device_id: DeviceId) -> dict[str, Any]:
        """The last messages of a device since the gateway started, the newest first, as subscribers got them."""
        if self._last_messages is None:
            raise OperationError(
                "no gateway runs, so no messages are remembered", hint="start it: gateway serve"
            )
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        if entry.device is None:
            raise NotFoundError(f"there is no device {device_id}", hint="see `gateway device list`")
        # A device that was deleted and is there again does not inherit the old one's messages.
        found = self._last_messages.of(device_id, since=entry.device.created_at)
        return {"id": device_id, "messages": [_to_json(each) for each in found]}


def _to_json(message: LastMessage) -> dict[str, Any]:
    return {
        "at": timestamp(message.at),
        "topic": message.topic,
        "bytes": message.size,
        "message": None if message.rendered is None else orjson.loads(message.rendered),
    }
