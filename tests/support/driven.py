"""The load test's driver in a thread of the test, against a server in the test's own loop."""

import asyncio
import collections
import os
import time
from collections.abc import Callable
from typing import Any

from gateway.secrets import SymmetricKey
from loadtest.devices import Credentials, Population, SasKeys
from loadtest.driver import Driver
from loadtest.plan import Plan, Target
from loadtest.result import StormResult
from loadtest.tally import Totals
from loadtest.tls import ClientCertificate

GROUP_KEY = SymmetricKey(bytes(range(64)))
PATIENCE_S = 20.0


class Control:
    """Says `leave` when all is settled, unless it is told to wait for `order`."""

    def __init__(
        self, on_settled: "Callable[[Control], None]" = lambda control: control.order("leave")
    ) -> None:
        self._read, self._write = os.pipe()
        self._commands: collections.deque[str] = collections.deque()
        self._on_settled = on_settled
        self.totals = Totals()

    def order(self, command: str) -> None:
        self._commands.append(command)
        os.write(self._write, b"\0")

    def fileno(self) -> int:
        return self._read

    def command(self) -> str:
        os.read(self._read, 1)
        return self._commands.popleft()

    def tell(self, totals: Totals) -> None:
        self.totals = totals

    def settled(self) -> None:
        self._on_settled(self)

    def quiet(self) -> None:
        self.order("leave")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def population(count: int, credentials: Credentials | None = None, **fields: Any) -> Population:
    return Population(
        count=count,
        credentials=credentials or SasKeys(group_key=GROUP_KEY),
        hub="127.0.0.1",
        id_scope="0ne00ABCDEF",
        model_id="dtmi:com:example:Thermostat;1",
        **fields,
    )


def target(port: int, **fields: Any) -> Target:
    return Target(host="localhost", address=("127.0.0.1", port), **fields)


async def drive(
    where: Target,
    devices: Population,
    plan: Plan,
    *,
    control: Control | None = None,
    certificate_of: Callable[[int], ClientCertificate] | None = None,
) -> StormResult:
    """One worker with all devices, from its preparation to its end."""
    control = control or Control()
    driver = Driver(where, devices, plan, certificate_of=certificate_of)
    try:
        driver.prepare()
        await asyncio.to_thread(driver.run, time.monotonic(), control)
    finally:
        control.close()
    return StormResult.of(driver.tally, qos=None if plan.messages is None else plan.messages.qos)
