"""An ordinary MQTT subscriber: an application that logs in on amqtt's listener with aiomqtt."""

import asyncio
import json
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiomqtt

TIMEOUT_S = 20.0


class Subscriber:
    """`async with Subscriber(setup, "telemetry/#") as application: await application.next()`."""

    def __init__(
        self, setup: dict[str, Any], *filters: str, username: str | None = None, password: str | None = None,
        qos: int = 1, client_id: str | None = None,
    ) -> None:  # fmt: skip
        self._filters = filters
        self._qos = qos
        self._client = aiomqtt.Client(
            "127.0.0.1",
            setup["appPort"],
            username=username or setup["appUsername"],
            password=password or setup["appPassword"],
            identifier=client_id,
            timeout=TIMEOUT_S,
        )
        self._stack = AsyncExitStack()
        self.granted: list[int] = []
        """The SUBACK's codes; 128 is a refusal."""

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        for topic_filter in self._filters:
            codes = await self._client.subscribe(topic_filter, qos=self._qos)
            self.granted += [int(getattr(code, "value", code)) for code in codes]
        self._messages = self._client.messages
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    @property
    def received(self) -> int:
        """Messages that have arrived and were not taken yet."""
        return len(self._messages)

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next message: its topic and its JSON."""
        async with asyncio.timeout(TIMEOUT_S):
            message = await anext(self._messages)
        return str(message.topic), json.loads(message.payload)
