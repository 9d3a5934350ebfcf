"""`trace.*`: what one device says and is told, in the log, for a bounded time."""

from typing import Annotated, Any

from pydantic import Field

from gateway.errors import OperationError
from gateway.operations.documents import timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import DeviceId
from gateway.trace import Trace, Traces

__all__ = ["TraceOperations"]

Seconds = Annotated[int, Field(ge=1, le=86_400)]


class TraceOperations:
    """`trace.*`"""

    def __init__(self, *, traces: Traces | None, sessions: Sessions) -> None:
        self._traces = traces
        self._sessions = sessions

    async def start(
        self, *, device_id: DeviceId, for_s: Seconds = 600, payload: bool = False
    ) -> dict[str, Any]:
        """Log every packet from and to a device, connected or not, as `device.traced` for a while.

        Payloads only if they are asked for. A trace that it has already is replaced.
        """
        trace = self._running().start(device_id, for_s=for_s, payload=payload)
        self._sessions.trace(device_id, trace)
        return _to_json(trace)

    async def stop(self, *, device_id: DeviceId) -> dict[str, Any]:
        """End the trace of a device before its time."""
        trace = self._running().stop(device_id)
        self._sessions.trace(device_id, None)
        return _to_json(trace)

    async def list(self) -> dict[str, Any]:
        """The devices that are traced now."""
        return {"traces": [_to_json(trace) for trace in self._running().by_device.values()]}

    def _running(self) -> Traces:
        if self._traces is None:
            raise OperationError(
                "no gateway runs, so there is nobody to trace", hint="start it: gateway serve"
            )
        return self._traces


def _to_json(trace: Trace) -> dict[str, Any]:
    return {
        "id": trace.device_id,
        "startedAt": timestamp(trace.started_at),
        "endsAt": timestamp(trace.ends_at),
        "packets": trace.packets,
    }
