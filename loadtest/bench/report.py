"""The result as a table for a terminal, as JSON, and as the generated part of docs/performance.md."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, assert_never

from rich.console import Console
from rich.table import Table

from gateway.errors import OperationError
from loadtest.bench.machine import Machine
from loadtest.bench.plan import Connects, Measure, Memory, Messages, Row
from loadtest.bench.rounds import Results, Spread

__all__ = ["Report"]

BEGIN: Final = "<!-- bench: begin -->"
END: Final = "<!-- bench: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything of one run."""

    machine: Machine
    command: str
    rows: Sequence[Row]
    results: Results

    def print(self, console: Console) -> None:
        """For people at a terminal."""
        for title, head, lines, bold in (
            ("Ratios of server CPU time, and memory", _ROW_HEAD, self._row_lines(), 2),
            ("Server CPU time each", _CPU_HEAD, self._cpu_lines(), 2),
            ("Resident memory of an idle session", _MEMORY_HEAD, self._memory_lines(), 2),
        ):
            if lines:
                console.print(_rich(title, head, lines, bold))
        for line in self._notes():
            console.print(line, style="dim", highlight=False, soft_wrap=True)
        for problem in self.problems:
            console.print(problem, style="yellow", highlight=False, soft_wrap=True)

    def print_smoke(self, console: Console) -> None:
        """What was tried and worked; the times of so few mean nothing."""
        for name in self.results.samples:
            console.print(f"every device was admitted: {name}", highlight=False, soft_wrap=True)
        for problem in self.problems:
            console.print(problem, style="yellow", highlight=False, soft_wrap=True)

    @property
    def problems(self) -> list[str]:
        """What was not measured, and how to have it measured."""
        return [
            *(f"SKIPPED {server}: {why}" for server, why in self.results.missing.items()),
            *(f"NOT MEASURED {measure}: {why}" for measure, why in self.results.failed.items()),
        ]

    def to_json(self) -> dict[str, Any]:
        """Every round's figure, so that another statistic can be made of them."""
        return {
            "machine": asdict(self.machine),
            "command": self.command,
            "rounds": self.results.rounds,
            "rows": [self._row_json(row) for row in self.rows],
            "samples": {
                name: [asdict(each) for each in samples] for name, samples in self.results.samples.items()
            },
            "missing": self.results.missing,
            "failed": self.results.failed,
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        figure = self.results.figure(row)
        return {
            "row": row.number,
            "what": row.what,
            "figure": figure and asdict(figure),
            "ofTheLeast": self.results.least(row),
            "mark": row.mark,
            "stretch": row.stretch,
            "verdict": _verdict(row, figure),
        }

    def update(self, page: Path) -> None:
        """Put the tables between the page's two markers. Raises `OperationError` if they are not there."""
        try:
            text = page.read_text(encoding="utf-8")
        except OSError as error:
            raise OperationError(f"{page}: can't be read: {error.strerror}") from None
        head, begin, rest = text.partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not begin or not end:
            raise OperationError(f"{page}: the markers are missing", hint=f"write {BEGIN} and {END} into it")
        page.write_text(f"{head}{BEGIN}\n{self.markdown()}{END}{tail}", encoding="utf-8")

    def markdown(self) -> str:
        notes = "\n".join(f"- {line}" for line in (*self._notes(), *self.problems))
        tables = (
            _markdown(head, lines)
            for head, lines in (
                (_ROW_HEAD, self._row_lines()),
                (_CPU_HEAD, self._cpu_lines()),
                (_MEMORY_HEAD, self._memory_lines()),
            )
            if lines
        )
        return "\n".join((f"{notes}\n", *tables))

    def _notes(self) -> list[str]:
        machine = self.machine
        versions = "; ".join(f"{name} {version}" for name, version in machine.versions.items())
        return [
            f"{machine.date}; {machine.hardware}; {machine.system}; {machine.cores}; {machine.store}; {machine.load}.",
            f"{versions}.",
            f"{self.results.rounds} rounds after one to warm up: median (smallest to largest). `{self.command}`",
        ]

    def _row_lines(self) -> list[tuple[str, ...]]:
        return [
            (
                str(row.number),
                row.what,
                _spread(figure, 2),
                "-" if least is None else f"{least:.2f}",
                f"≤ {row.mark:g}",
                f"≤ {row.stretch:g}",
                _verdict(row, figure),
            )
            for row in self.rows
            for figure, least in [(self.results.figure(row), self.results.least(row))]
        ]

    def _cpu_lines(self) -> list[tuple[str, ...]]:
        return [
            (measure.server, measure.what, _spread(spread, 0), self._split(measure, spread), f"{count:,}")
            for measure, count in self._measures()
            for spread in [self.results.spread(measure)]
            if not isinstance(measure, Memory)
        ]

    def _memory_lines(self) -> list[tuple[str, ...]]:
        return [
            (
                measure.server,
                measure.what,
                "skipped" if spread is None else f"{spread.median:.1f}",
                f"{count:,}",
            )
            for measure, count in self._measures()
            for spread in [self.results.spread(measure)]
            if isinstance(measure, Memory)
        ]

    def _measures(self) -> list[tuple[Measure, int]]:
        """Each once, and how many devices or messages it has."""
        return [
            (measure, _count(measure))
            for measure in dict.fromkeys(measure for row in self.rows for measure in row.measures)
        ]

    def _split(self, measure: Measure, spread: Spread | None) -> str:
        share = self.results.user_share(measure)
        if spread is None or share is None:
            return "-"
        user = spread.median * share
        return f"{user:.0f} + {spread.median - user:.0f}"


_ROW_HEAD: Final = ("row", "ours : theirs", "figure", "of the least", "mark", "stretch", "")
_CPU_HEAD: Final = ("server", "what", "µs of CPU", "user + system", "a round")
_MEMORY_HEAD: Final = ("server", "what", "KB each", "held")


def _count(measure: Measure) -> int:
    match measure:
        case Connects(storm=storm) | Memory(idle=storm):
            return storm.count
        case Messages(exchange=exchange):
            return exchange.messages
        case _:
            assert_never(measure)


def _verdict(row: Row, figure: Spread | None) -> str:
    if figure is None:
        return "skipped"
    if figure.median <= row.stretch:
        return "stretch reached"
    return "mark reached" if figure.median <= row.mark else "missed"


def _spread(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "skipped"
    if spread.low == spread.high:
        return f"{spread.median:,.{digits}f}"
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f} to {spread.high:,.{digits}f})"


def _rich(title: str, head: Sequence[str], lines: Sequence[Sequence[str]], bold: int) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(head):
        table.add_column(name, style="bold" if index == bold else None, no_wrap=index == bold)
    for line in lines:
        table.add_row(*line)
    return table


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))
