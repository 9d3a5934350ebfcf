"""Twice what a gateway can carry, for a minute: `python -m loadtest.overload` (`make storm`).

A gateway of its own runs on one core, the tester on another. First the tester finds out how many first connects a second
(TLS, SAS tokens, durably registered) the gateway carries; then as many devices come at twice that rate, who try again when
they are turned away. Everybody leaves as soon as they are in, so that the number of open files is no limit. Storm control
(docs/storms.md) holds if the gateway goes on admitting at its capacity meanwhile, the admitted don't wait for long, and all
are in soon after.

A TLS connect costs the tester about what it costs the gateway, so one core can't offer twice what another carries.
*Neighbours* make up for it: processes that do nothing but take their fair share of the gateway's core.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.errors import GatewayError, OperationError
from loadtest.bench.arena import Arena
from loadtest.bench.cores import choose_cores, open_files_allowed
from loadtest.bench.servers import Server
from loadtest.bench.usage import resident_bytes, settle

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False)

_FAILED: Final = 2
_MISSED: Final = 1
_TIMES: Final = 2
_LEAST_SHARE: Final = 0.8
"""Of the capacity, that is admitted while twice as many come: the mark."""
_WARM_UP: Final = 1000
_SHORT_S: Final = 10
"""A run shorter than that is a trial of this program, not of the gateway."""
_CAPACITY_S: Final = 8
_ADDRESSES: Final = [f"127.0.0.{number}" for number in range(2, 10)]
_MEMORY_EVERY_S: Final = 0.5
_MB: Final = 1_000_000


@app.command()
def overload(
    seconds: Annotated[int, typer.Option(min=1, help="How long twice the capacity is offered.")] = 60,
    neighbours: Annotated[
        int, typer.Option(min=0, help="Busy processes on the gateway's core: it keeps 1 part in N + 1.")
    ] = 3,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots there.")] = None,
    directory: Annotated[Path, typer.Option(help="Where the gateway's files go, on a real disk.")] = Path(),
) -> None:
    """Offer a gateway twice what it can carry, and see whether storm control holds."""
    open_files_allowed()
    cores = choose_cores()
    place = Path(tempfile.mkdtemp(prefix=".bench-", dir=directory.absolute()))
    with Arena(place, cores) as arena:
        server = arena.server("gateway")
        for _ in range(neighbours):
            # Each in a session of its own: Linux shares a core fairly among sessions (autogroups), not processes.
            cores.server.start([sys.executable, "-c", "while True: pass"], start_new_session=True)
        sources = [part for address in _ADDRESSES for part in ("--source", address)]
        is_short = seconds < _SHORT_S
        first = _storm(server, arena, _WARM_UP // 5 if is_short else _WARM_UP, "first-", *sources)
        count = max(200, round(first["admittedPerSecond"] * (1 if is_short else _CAPACITY_S)))
        capacity = _storm(server, arena, count, "capacity-", *sources)["admittedPerSecond"]
        print(
            f"{'capacity':<24} {capacity:,.0f} first connects a second; {cores}; {neighbours} neighbours",
            flush=True,
        )
        settle(server.pid)
        memory = _Memory(server.pid)
        rate = _TIMES * capacity
        offered = round(rate * seconds)
        how = ["--rate", f"{rate:.0f}", "--retry", "--longest-pause", "20", *sources]
        how += [] if is_short else ["--watch-after", "15"]
        how += ["--html", str(html)] if html is not None else []
        result = _storm(server, arena, offered, "twice-", *how)
        memory.stop()
        settle(server.pid)
        after = resident_bytes(server.pid)
    cores.end_all()
    shutil.rmtree(place)
    meanwhile = result["admittedPerSecondMeanwhile"] or 0.0  # below a whole second it is not counted
    share = meanwhile / capacity
    latency = result["latencyMs"]
    for name, said in (
        (
            "offered",
            f"{offered:,} new devices at {rate:,.0f} a second, for {result['offeredUntilSeconds']:.0f} s",
        ),
        (
            "admitted meanwhile",
            f"{meanwhile:,.0f} a second, {share:.0%} of the capacity",
        ),
        ("latency of the admitted", f"p50 {latency['p50'] / 1000:.1f} s, p99 {latency['p99'] / 1000:.1f} s"),
        (
            "everybody was in",
            f"{result['everybodyInSeconds']:.0f} s after the start; at capacity it takes {_TIMES * seconds}",
        ),
        ("attempts", f"{result['offered']:,}; timed out {result['timedOut']:,}"),
        ("registry", "holds each device once" if result["registry"]["holds"] else "DOES NOT HOLD"),
        (
            "memory",
            f"{memory.first / _MB:.0f} MB before, {memory.most / _MB:.0f} at most, {after / _MB:.0f} after",
        ),
        ("tester", f"started at most {result['tester']['latestStartMs']:,.0f} ms late"),
    ):
        print(f"{name:<24} {said}")
    held = share >= _LEAST_SHARE and result["registry"]["holds"] and result["devicesIn"] == offered
    print(
        f"{'storm control':<24} {'holds' if held else 'DOES NOT HOLD'}: the mark is {_LEAST_SHARE:.0%}, and everybody in"
    )
    if not held:
        raise typer.Exit(_MISSED)


class _Memory:
    """Looks at the server's memory until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.first = self.most = resident_bytes(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopping.wait(_MEMORY_EVERY_S):
            self.most = max(self.most, resident_bytes(self._pid))

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


def _storm(server: Server, arena: Arena, count: int, prefix: str, *how: str) -> dict[str, Any]:
    """The tester's JSON. Raises `OperationError` if it could not run."""
    config = str(server.setup.document["config"])
    command = [
        sys.executable, "-m", "loadtest", "storm", "-n", str(count), "-c", config, "--prefix", prefix, "--leave",
        "--processes", "1", "--json", *how,
    ]  # fmt: skip
    tester = arena.cores.tester.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, complaint = tester.communicate()
    try:
        result: dict[str, Any] = json.loads(said)
    except ValueError:
        raise OperationError(
            f"the tester failed: {(complaint or said).strip()}", hint=f"see {server.log}"
        ) from None
    return result


def main() -> None:
    """Run the command line; what can't be run is one line on standard error."""
    try:
        app(prog_name="python -m loadtest.overload")
    except GatewayError as error:
        print(f"error: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        sys.exit(_FAILED)


if __name__ == "__main__":
    main()
