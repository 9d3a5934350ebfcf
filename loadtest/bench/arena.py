"""The servers of one run: each is started when it is first needed, and all are ended together."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
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
from loadtest.bench.tester import Storm, holding, run_storm

__all__ = ["Arena"]

_MODELS: Final = Path(gateway.__file__).parent / "cli" / "demo_models"


class Arena:
    """Hands out running servers by name. Raises `Missing`, each time, for one that is not installed."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self._directory = directory
        self.cores = cores
        self._running: dict[tuple[str, Storm | None], Server] = {}
        self._missing: dict[str, Missing] = {}
        self._setup: Setup | None = None
        self._numbers = itertools.count(1)
        self._end = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    def server(self, name: str, held: Storm | None = None) -> Server:
        """The one of that name, or one that holds those sessions as long as the run lasts."""
        if (name, held) not in self._running:
            self._running[name, held] = self._end.enter_context(self.fresh(name, known=held))
            if held is not None:
                self._end.enter_context(holding(held, self._running[name, held], self.cores.tester))
        return self._running[name, held]

    @contextlib.contextmanager
    def fresh(self, name: str, *, known: Storm | None = None) -> Iterator[Server]:
        """A server of its own, that has just started. A gateway has registered `known` before that."""
        if name in self._missing:
            raise self._missing[name]
        try:
            server = self._starters()[name]()
        except Missing as missing:
            self._missing[name] = missing
            raise
        try:
            if server.is_gateway and known is not None:
                run_storm(known, server, self.cores.tester)
                server.stop()
                server = start_gateway(server.setup, self.cores.server)
            yield server
        finally:
            server.stop()

    def _starters(self) -> dict[str, Callable[[], Server]]:
        core = self.cores.server
        directory = self._directory / str(next(self._numbers))
        return {
            "gateway": lambda: start_gateway(self._make_setup(directory), core),
            "mosquitto": lambda: start_mosquitto("mosquitto", directory, self._shared(), core),
            "mosquitto-password": lambda: start_mosquitto(
                "mosquitto-password", directory, self._shared(), core, password=True
            ),
            "mosquitto-mtls": lambda: start_mosquitto(
                "mosquitto-mtls", directory, self._shared(), core, certificates=True
            ),
            "amqtt": lambda: start_amqtt(directory, self._shared(), core),
        }

    def _shared(self) -> Setup:
        """Whose certificates all but the gateways use."""
        if self._setup is None:
            self._setup = self._make_setup(self._directory / "shared")
        return self._setup

    @staticmethod
    def _make_setup(directory: Path) -> Setup:
        return make_setup(directory, _MODELS / "thermostat-1.json")
