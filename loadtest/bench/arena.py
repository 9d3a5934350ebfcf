"""The servers of one run: each is started when it is first needed, and all are ended together."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import gateway
from loadtest.bench.cores import Cores
from loadtest.bench.servers import (
    Missing,
    Server,
    Setup,
    make_setup,
    start_amqtt,
    start_gateway,
    start_mosquitto,
)

__all__ = ["Arena"]

_MODELS: Final = Path(gateway.__file__).parent / "cli" / "demo_models"


class Arena:
    """`arena["mosquitto"]` is that server, running; `Missing` is raised again each time if it isn't here."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self._directory = directory
        self.cores = cores
        self._running: dict[str, Server] = {}
        self._missing: dict[str, Missing] = {}
        self._end = contextlib.ExitStack()
        self._setup: Setup | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    @property
    def setup(self) -> Setup:
        """The gateway's; its certificates and keys are everybody's."""
        if self._setup is None:
            self._setup = make_setup(self._directory / "gateway", _MODELS / "thermostat-1.json")
        return self._setup

    def __getitem__(self, name: str) -> Server:
        if name in self._missing:
            raise self._missing[name]
        if name not in self._running:
            try:
                server = self._starters()[name]()
            except Missing as missing:
                self._missing[name] = missing
                raise
            self._end.callback(server.stop)
            self._running[name] = server
        return self._running[name]

    def _starters(self) -> dict[str, Callable[[], Server]]:
        core = self.cores.server
        return {
            "gateway": lambda: start_gateway("gateway", self.setup, core),
            "mosquitto": lambda: start_mosquitto(
                "mosquitto", self._directory / "mosquitto", self.setup, core
            ),
            "mosquitto-password": lambda: start_mosquitto(
                "mosquitto-password", self._directory / "mosquitto-password", self.setup, core, password=True
            ),
            "amqtt": lambda: start_amqtt("amqtt", self._directory / "amqtt", core),
        }
