"""CPU and memory of the server, read from /proc."""

import os
from pathlib import Path

from loadtest.server_usage import ServerUsage

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def process(proc: Path, pid: int, *, user_s: float, system_s: float, pages: int) -> None:
    directory = proc / str(pid)
    directory.mkdir(exist_ok=True)
    ticks = f"{int(user_s * TICKS)} {int(system_s * TICKS)}"
    (directory / "stat").write_text(f"{pid} (gate) way) S {' '.join('0' * 10)} {ticks} 0 0 20 0 1 0\n")
    (directory / "statm").write_text(f"99 {pages} 3 4 0 5 0\n")


def test_cpu_is_told_for_each_interval_in_percent_of_a_core(tmp_path: Path) -> None:
    usage = ServerUsage(lambda: 7, proc=tmp_path)
    for elapsed_s, user_s in ((0.0, 1.0), (0.5, 1.1), (2.0, 2.0), (3.0, 2.0)):
        process(tmp_path, 7, user_s=user_s, system_s=0.5, pages=10)
        usage.sample(elapsed_s)
    assert [(s.elapsed_s, s.cpu_percent, s.rss_bytes) for s in usage.samples] == [
        (2.0, 50.0, 10 * PAGE),
        (3.0, 0.0, 10 * PAGE),
    ]


def test_a_server_that_is_restarted_is_followed_and_its_time_starts_anew(tmp_path: Path) -> None:
    pids = iter([7, None, 8, 8])
    usage = ServerUsage(lambda: next(pids), proc=tmp_path)
    process(tmp_path, 7, user_s=100, system_s=0, pages=1)
    process(tmp_path, 8, user_s=1, system_s=0, pages=2)
    for elapsed_s in (0.0, 1.0, 2.0):
        usage.sample(elapsed_s)
    process(tmp_path, 8, user_s=1.5, system_s=0, pages=2)
    usage.sample(3.0)
    assert [(s.elapsed_s, s.cpu_percent) for s in usage.samples] == [(3.0, 50.0)]


def test_a_server_that_is_gone_is_no_error(tmp_path: Path) -> None:
    usage = ServerUsage(lambda: 7, proc=tmp_path)
    usage.sample(0.0)
    assert not usage.samples
