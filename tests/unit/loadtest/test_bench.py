"""The bench's arithmetic, its readings of the kernel, and what it writes down."""

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import OperationError
from loadtest.bench import servers
from loadtest.bench.arena import Arena
from loadtest.bench.cores import Core, Cores, choose_cores
from loadtest.bench.machine import Machine, file_system
from loadtest.bench.plan import FULL, SMOKE, Connects, rows
from loadtest.bench.report import BEGIN, END, Report
from loadtest.bench.rounds import Results, Sample, Spread, run_rounds
from loadtest.bench.tester import Storm, run_storm
from loadtest.bench.usage import Cost, CpuTime, cpu_time, open_sockets, resident_bytes
from tests.support.fake_gateway import FakeGateway, fake_gateway

MACHINE = Machine(
    date="2026-11-24 00:00 UTC",
    hardware="a machine",
    system="Linux",
    cores="apart",
    load="idle",
    store="SQLite on ext4",
    versions={"gateway": "0.1.0"},
)
BURN = "import sys\nfor i in range(300_000): pass\nprint('burnt', flush=True)\nsys.stdin.read()"


def results(ours: list[float], theirs: list[float]) -> Results:
    """Of row 1, with that many microseconds in each round."""
    (row,) = rows(FULL, [1])
    assert row.theirs is not None
    return Results(
        rounds=len(ours),
        samples={
            row.ours.name: [Sample(value=us, user_share=0.75) for us in ours],
            row.theirs.name: [Sample(value=us, user_share=0.25) for us in theirs],
        },
    )


def report(found: Results) -> Report:
    return Report(machine=MACHINE, command="python -m loadtest.bench", rows=rows(FULL, [1]), results=found)


def test_a_ratio_is_the_median_of_each_rounds_own_ratio() -> None:
    (row,) = rows(FULL, [1])
    # The machine was three times slower in the second round: the ratio of that round is as good as the others.
    assert results([100, 330, 120], [100, 300, 100]).figure(row) == Spread(median=1.1, low=1.0, high=1.2)


def test_the_ratio_of_the_least_is_beside_it() -> None:
    (row,) = rows(FULL, [1])
    assert results([120, 110, 330], [100, 130, 125]).least(row) == 1.1


def test_dps_and_hub_are_measured_against_two_connects() -> None:
    row = rows(FULL, [5])[0]
    assert row.theirs is not None
    found = Results(
        rounds=1, samples={row.ours.name: [Sample(value=300)], row.theirs.name: [Sample(value=100)]}
    )
    assert found.figure(row) == Spread(median=1.5, low=1.5, high=1.5)


def test_memory_is_a_figure_of_its_own() -> None:
    row = rows(FULL, [7])[0]
    found = Results(rounds=5, samples={row.ours.name: [Sample(value=5.5)]})
    assert found.figure(row) == Spread(median=5.5, low=5.5, high=5.5)
    page = Report(machine=MACHINE, command="", rows=[row], results=found).markdown()
    assert "| 5.50 | - | ≤ 6 | ≤ 3 | mark reached |" in page
    assert "| gateway | idle session, SAS, plain | 5.5 | 10,000 |" in page


def test_no_more_sessions_are_held_than_files_may_be_open() -> None:
    (row,) = rows(FULL, [6], open_files=20_000)
    assert "with 14,500 sessions held : with 100" in row.what
    (row,) = rows(FULL, [6], open_files=1_000_000)
    assert "with 20,000 sessions held : with 100" in row.what


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(1.0, "stretch reached"), (1.01, "mark reached"), (1.5, "mark reached"), (1.51, "missed")],
)
def test_the_verdict_names_what_was_reached(ours: float, verdict: str) -> None:
    assert report(results([ours], [1.0])).to_json()["rows"][0]["verdict"] == verdict


def test_a_missing_peer_is_named_with_its_package_and_its_ratio_is_no_number() -> None:
    (row,) = rows(FULL, [1])
    found = results([100], [100])
    assert row.theirs is not None
    del found.samples[row.theirs.name]
    found.missing["mosquitto"] = "mosquitto is not installed: apt-get install mosquitto"
    page = report(found).markdown()
    assert "SKIPPED mosquitto: mosquitto is not installed: apt-get install mosquitto" in page
    assert f"| {row.what} | skipped | - | ≤ 1.5 | ≤ 1 | skipped |" in page
    assert report(found).to_json()["rows"][0]["figure"] is None


def test_a_peer_that_keeps_losing_messages_has_no_figure_and_ends_no_other_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def exchange(_: object, server: Any, core: object) -> tuple[Cost, float]:
        tried.append(server.name)
        if not server.is_gateway:
            raise OperationError("not everything came through", hint="its log: mosquitto.log")
        return Cost(us=60, user_share=0.5), 100.0

    class OneArena:
        cores = SimpleNamespace(tester=None)

        def server(self, name: str, held: int = 0) -> Any:
            return SimpleNamespace(name=name, is_gateway=name == "gateway")

    monkeypatch.setattr("loadtest.bench.rounds.run_exchange", exchange)
    (row,) = rows(FULL, [8])
    found = run_rounds([row], 2, cast(Arena, OneArena()), lambda _: None)
    assert tried.count("mosquitto") == 3
    assert [sample.value for sample in found.samples[row.ours.name]] == [60, 60]
    assert found.figure(row) is None
    page = Report(machine=MACHINE, command="", rows=[row], results=found).markdown()
    assert "NOT MEASURED mosquitto: " in page
    assert "not everything came through (tried 3 times; its log: mosquitto.log)" in page


def test_the_page_is_changed_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    report(results([150], [100])).update(page)
    text = page.read_text()
    assert text.startswith(f"# Before\n{BEGIN}\n- 2026-11-24")
    assert text.endswith(f"|\n{END}\nafter\n")
    assert "| 1.50 | 1.50 | ≤ 1.5 | ≤ 1 | mark reached |" in text
    assert "old" not in text


def test_a_page_without_markers_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Mine\n")
    with pytest.raises(OperationError, match="the markers are missing"):
        report(results([150], [100])).update(page)
    assert page.read_text() == "# Mine\n"


def test_new_devices_have_other_ids_in_each_round_and_known_ones_the_same() -> None:
    known, new = (row.ours for row in rows(FULL, [1, 2]))
    assert isinstance(known, Connects)
    assert isinstance(new, Connects)
    assert known.in_round(0) == known.in_round(3)
    assert len({new.in_round(number).prefix for number in range(4)}) == 4


def test_the_smoke_has_every_row_of_the_table() -> None:
    assert [row.number for row in rows(SMOKE)] == [row.number for row in rows(FULL)]


def test_a_cost_is_the_exact_sum_and_its_split_is_the_samples() -> None:
    used = CpuTime(total_ns=5_000_000, sampled_ns=8_000_000, sampled_user_ns=2_000_000)
    assert used.per(100) == Cost(us=50.0, user_share=0.25)


def test_the_cpu_clock_of_another_process_is_read_and_one_that_is_gone_is_an_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"burnt\n"
        first = cpu_time(child.pid)
        assert first.total_ns > 0
        assert (cpu_time(child.pid) - first).total_ns >= 0
        assert resident_bytes(child.pid) > 1_000_000
    with pytest.raises(ProcessLookupError):
        cpu_time(child.pid)


def test_a_process_is_charged_for_its_children() -> None:
    command = [sys.executable, "-c", BURN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alone = cpu_time(child.pid).total_ns
        assert cpu_time(os.getpid()).total_ns > alone


def test_sockets_are_counted_and_other_files_are_not(tmp_path: Path) -> None:
    before = open_sockets(os.getpid())
    with socket.socket(), socket.socket(), (tmp_path / "file").open("w"):
        assert open_sockets(os.getpid()) == before + 2


def test_what_is_started_on_a_core_stays_there_and_the_bench_itself_does_not() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    command = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    with Core(core).start(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate()[0].split() == [str(core)]
    assert os.sched_getaffinity(0) == before


def test_the_servers_and_the_tester_are_apart_where_there_are_two_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert not choose_cores().apart
    assert "ONE core" in str(choose_cores())
    assert Cores(server=Core(1), tester=Core(0)).apart


def test_a_file_system_is_told_by_its_nearest_mount() -> None:
    assert file_system(Path("/proc/self")) == "proc"


def test_a_server_that_is_not_installed_is_missing_each_time_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda *_args, **_more: None)
    monkeypatch.setattr(Arena, "_shared", lambda _self: None)
    with Arena(tmp_path, choose_cores()) as arena:
        for _ in range(2):
            with pytest.raises(servers.Missing) as missing:
                arena.server("mosquitto")
            assert missing.value.hint == "apt-get install mosquitto"


def test_what_still_runs_on_a_core_is_ended_with_it() -> None:
    core = Core(max(os.sched_getaffinity(0)))
    process = core.start([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    core.end_all()
    assert process.returncode == -signal.SIGKILL
    process.stdin.close()


def test_ctrl_c_while_a_process_starts_is_heard_when_it_can_be_ended() -> None:
    core = Core(max(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", BURN]
    with pytest.raises(KeyboardInterrupt):
        # Before the child has even become another program.
        core.start(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.kill(os.getppid(), signal.SIGINT),
        )
    (process,) = core._started
    assert process.poll() is None
    process.stdin.close()
    core.end_all()
    assert process.returncode is not None


async def test_a_storm_in_which_one_device_is_refused_is_no_measurement(tmp_path: Path) -> None:
    setup = servers.Setup(directory=tmp_path, document={}, group_key=base64.b64encode(bytes(64)).decode())
    setup.openssl_config.touch()
    gateway = FakeGateway(behaviours={"storm-000002": 5})
    async with fake_gateway(gateway):
        server = servers.Server(
            name="fake",
            setup=setup,
            is_gateway=True,
            plain=servers.Address(port=gateway.port),
            tls=None,
            log=tmp_path / "fake.log",
            process=cast("subprocess.Popen[bytes]", None),
        )
        storm = Storm(count=3, prefix="storm-")
        with pytest.raises(OperationError, match=r'fake: not every device .*"connack 5": 1') as error:
            await asyncio.to_thread(run_storm, storm, server, NoCore())
    assert error.value.hint == f"its log: {tmp_path / 'fake.log'}"


class NoCore(Core):
    """Starts processes from any thread, wherever they run."""

    def __init__(self) -> None:
        super().__init__(0)

    def start(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        return subprocess.Popen(command, **options)
