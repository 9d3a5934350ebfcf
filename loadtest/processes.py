"""Worker processes, each with its part of the devices, and the one that starts them and adds up what they count."""

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from gateway.errors import GatewayError, OperationError
from gateway.open_files import allow_open_files
from loadtest.certificates import load_certificate
from loadtest.devices import Certificates, Population
from loadtest.driver import Driver
from loadtest.plan import Plan, Target
from loadtest.tally import Tally, Totals
from loadtest.tls import ClientCertificate

__all__ = ["Hold", "Interrupts", "Phase", "default_processes", "run"]

_TURN_S: Final = 0.25
_SPARE_FILES: Final = 64
_DEBUG: Final = "GATEWAY_DEBUG"
_MAX_PROCESSES: Final = 64
_GC_THRESHOLD: Final = 200_000
"""What a device leaves behind is freed by its reference count; looking for cycles among all held ones is not free."""


def default_processes() -> int:
    """All cores but the one that the server gets."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


class Interrupts:
    """Ctrl-C, counted: the first ends the offer, the second ends the run."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator["Interrupts"]:
        """While this lasts a Ctrl-C is only counted. In the main thread."""

        def interrupt(*_: object) -> None:
            self.count += 1

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield self
        finally:
            signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class Phase:
    """`offering`, `holding`: what is told while a run goes on."""

    name: str
    elapsed_s: float


Tell = Callable[[Phase, Totals], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How long all stay connected after the last one has its outcome; then all that was begun is ended."""

    seconds: float = 0.0
    ends: Callable[[Totals], None] = lambda _: None
    """Called when each message has its outcome, and the devices are still connected."""


def run(
    target: Target,
    population: Population,
    plan: Plan,
    *,
    processes: int = 1,
    hold: "Hold | None" = None,
    interrupts: Interrupts | None = None,
    tell: Tell = lambda _phase, _totals: None,
) -> Tally:
    """Run the plan and return what was counted.

    Raises `OperationError` if this machine or the files do not allow it, and whatever a worker process raised.
    """
    processes = min(population.count, max(processes, _processes_for_files(population, plan)))
    context = multiprocessing.get_context("spawn")
    crew = _Crew(tell, interrupts or Interrupts())
    try:
        for worker in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, target, population, plan, worker, processes),
                name=f"loadtest-{worker}",
                daemon=True,
            )
            process.start()
            theirs.close()
            crew.add(ours, process)
        return crew.run(hold or Hold())
    finally:
        crew.end()


class _Crew:
    """The parent's end of the workers."""

    def __init__(self, tell: Tell, interrupts: Interrupts) -> None:
        self._tell = tell
        self._interrupts = interrupts
        self._workers: dict[Connection, Any] = {}
        self._totals: dict[Connection, Totals] = {}
        self._open: list[Connection] = []
        self._waiting: set[Connection] = set()
        self._finished: set[Connection] = set()
        self._tally = Tally()
        self._started = 0.0
        self._stopped = False

    def add(self, connection: Connection, process: Any) -> None:
        self._workers[connection] = process
        self._totals[connection] = Totals()
        self._open.append(connection)

    def run(self, hold: Hold) -> Tally:
        self._await("ready", "preparing")
        self._started = time.monotonic()
        self._order(self._started)
        self._await("settled", "offering")
        if not self._interrupts.count and hold.seconds:
            self._order("hold")
            self._hold(hold.seconds)
            self._order("quiet")
            self._await("quiet", "finishing")
            hold.ends(self._total())
        self._order("leave")
        self._await("tally", "leaving")
        return self._tally

    def _order(self, command: Any) -> None:
        for connection in self._workers:
            with contextlib.suppress(BrokenPipeError):  # its last word is read, and tells more
                connection.send(command)

    def _await(self, word: str, phase: str) -> None:
        """Until each worker has said it. The first Ctrl-C says `stop` to them, the second ends the waiting."""
        self._waiting = set(self._workers)
        while self._waiting:
            self._turn(word, phase, _TURN_S)
            if self._interrupts.count and not self._stopped:
                self._stopped = True
                self._order("stop")
            if self._interrupts.count > 1 and word in {"settled", "quiet"}:
                return

    def _hold(self, hold_s: float) -> None:
        ends = time.monotonic() + hold_s
        while not self._interrupts.count and (left := ends - time.monotonic()) > 0:
            self._turn("", "holding", min(left, _TURN_S))

    def _turn(self, word: str, phase: str, timeout_s: float) -> None:
        for connection in wait(self._open, timeout_s):
            assert isinstance(connection, Connection)
            try:
                said, value = connection.recv()
            except EOFError:
                self._open.remove(connection)
                if connection not in self._finished:
                    raise OperationError("a worker process of the load test ended unexpectedly") from None
                continue
            match said:
                case "totals":
                    self._totals[connection] = value
                case "tally":
                    self._tally.merge(value)
                    self._finished.add(connection)
                case "error":
                    raise value
            if said == word:
                self._waiting.discard(connection)
        self._tell(Phase(phase, time.monotonic() - self._started if self._started else 0.0), self._total())

    def _total(self) -> Totals:
        totals = Totals()
        for each in self._totals.values():
            totals.add(each)
        return totals

    def end(self) -> None:
        for connection, process in self._workers.items():
            connection.close()
            process.join(_TURN_S)
            if process.is_alive():
                process.kill()
                process.join()


class _Control:
    """A worker's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return self._connection.fileno()

    def command(self) -> str:
        try:
            return str(self._connection.recv())
        except (EOFError, OSError):  # the parent is gone
            return "leave"

    def tell(self, totals: Totals) -> None:
        self._say("totals", totals)

    def settled(self) -> None:
        self._say("settled", None)

    def quiet(self) -> None:
        self._say("quiet", None)

    def _say(self, word: str, value: object) -> None:
        with contextlib.suppress(OSError):
            self._connection.send((word, value))


def _work(  # noqa: PLR0917 - multiprocessing passes them by position
    connection: Connection, target: Target, population: Population, plan: Plan, worker: int, processes: int
) -> None:
    """The body of a worker process. Ctrl-C reaches it too, but the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        allow_open_files(_open_files(population, plan, processes))
        certificate_of: Callable[[int], ClientCertificate] | None = None
        if isinstance(population.credentials, Certificates):
            kept = population.credentials

            def certificate_of(number: int) -> ClientCertificate:
                directory = kept.strangers if population.is_bad(number) else kept.directory
                return load_certificate(directory, population.device_id(number))

        driver = Driver(
            target, population, plan, worker=worker, processes=processes, certificate_of=certificate_of
        )
        driver.prepare()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        connection.send(("ready", None))
        driver.run(connection.recv(), _Control(connection))
        connection.send(("tally", driver.tally))
    except GatewayError as error:
        connection.send(("error", error))
    except (EOFError, BrokenPipeError):  # the parent is gone
        return
    except Exception as error:
        if _DEBUG in os.environ:
            raise
        told = OperationError(
            f"an error in the load tester itself: {type(error).__name__}: {error}",
            hint=f"please report it, with what {_DEBUG}=1 shows",
        )
        connection.send(("error", told))


def _processes_for_files(population: Population, plan: Plan) -> int:
    """Each process may have only so many open files; so many processes are needed for all devices.

    Raises `OperationError` if that would be an absurd number.
    """
    allowed = allow_open_files(_open_files(population, plan, 1))
    for processes in range(1, _MAX_PROCESSES + 1):
        if _open_files(population, plan, processes) <= allowed:
            return processes
    raise OperationError(
        f"{population.count} devices need more open files than {_MAX_PROCESSES} processes of this user may have, "
        f"{allowed} each",
        hint="raise it: ulimit -Hn",
    )


def _open_files(population: Population, plan: Plan, processes: int) -> int:
    """At most, in one of so many processes."""
    at_once = population.count if plan.stay or plan.connectors is None else plan.connectors
    return -(-at_once // processes) + (plan.connectors or 0) // processes + _SPARE_FILES
