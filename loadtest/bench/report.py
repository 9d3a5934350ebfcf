"""The result as a table for a terminal, as JSON, and as the generated part of docs/performance.md."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from gateway.errors import OperationError
from loadtest.bench.machine import Machine
from loadtest.bench.plan import Measure, Row
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
        console.print(_rich("Ratios of server CPU time", _RATIO_HEAD, self._ratios(), {2}))
        console.print(_rich("Server CPU time each", _COST_HEAD, self._costs(), {}))
        for line in self._notes():
            console.print(line, style="dim", highlight=False, soft_wrap=True)
        for problem in self.problems:
            console.print(problem, style="yellow", highlight=False, soft_wrap=True)

    def print_smoke(self, console: Console) -> None:
        """What was tried and worked; the times of so few mean nothing."""
        for name in self.results.costs:
            console.print(f"every device was admitted: {name}", highlight=False, soft_wrap=True)
        for problem in self.problems:
            console.print(problem, style="yellow", highlight=False, soft_wrap=True)

    @property
    def problems(self) -> list[str]:
        """What was not measured, and how to have it measured."""
        return [f"SKIPPED {server}: {why}" for server, why in self.results.missing.items()]

    def to_json(self) -> dict[str, Any]:
        """Every round's figure, so that another statistic can be made of them."""
        return {
            "machine": asdict(self.machine),
            "command": self.command,
            "rounds": self.results.rounds,
            "rows": [self._row_json(row) for row in self.rows],
            "costs": {
                name: [{"us": round(each.us, 2), "userShare": round(each.user_share, 3)} for each in costs]
                for name, costs in self.results.costs.items()
            },
            "perSecond": self.results.rates,
            "missing": self.results.missing,
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        ratio = self.results.ratio(row)
        return {
            "row": row.number,
            "what": row.what,
            "ratio": ratio and asdict(ratio),
            "mark": row.mark,
            "stretch": row.stretch,
            "verdict": _verdict(row, ratio),
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
        ratios = _markdown(_RATIO_HEAD, self._ratios())
        costs = _markdown(_COST_HEAD, self._costs())
        return f"{notes}\n\n{ratios}\n{costs}"

    def _notes(self) -> list[str]:
        machine = self.machine
        versions = "; ".join(f"{name} {version}" for name, version in machine.versions.items())
        return [
            f"{machine.date}; {machine.hardware}; {machine.system}; {machine.cores}; {machine.store}.",
            f"{versions}.",
            f"{self.results.rounds} rounds after one to warm up: median (smallest to largest). `{self.command}`",
        ]

    def _ratios(self) -> list[tuple[str, ...]]:
        return [
            (
                str(row.number),
                row.what,
                _spread(ratio, 2),
                f"≤ {row.mark:g}",
                f"≤ {row.stretch:g}",
                _verdict(row, ratio),
            )
            for row in self.rows
            for ratio in [self.results.ratio(row)]
        ]

    def _costs(self) -> list[tuple[str, ...]]:
        return [
            (measure.server, measure.what, _spread(cost, 0), *self._split(measure, cost))
            for measure in dict.fromkeys(measure for row in self.rows for measure in row.measures)
            for cost in [self.results.cost(measure)]
        ]

    def _split(self, measure: Measure, cost: Spread | None) -> tuple[str, str]:
        if cost is None:
            return "-", "-"
        user = cost.median * self.results.user_share(measure)
        return f"{user:.0f} + {cost.median - user:.0f}", f"{measure.storm.count:,}"


_RATIO_HEAD: Final = ("row", "ours : theirs", "ratio", "mark", "stretch", "")
_COST_HEAD: Final = ("server", "what", "µs of CPU", "user + system", "per round")


def _verdict(row: Row, ratio: Spread | None) -> str:
    if ratio is None:
        return "skipped"
    if ratio.median <= row.stretch:
        return "stretch reached"
    return "mark reached" if ratio.median <= row.mark else "missed"


def _spread(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "skipped"
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f} to {spread.high:,.{digits}f})"


def _rich(
    title: str, head: Sequence[str], lines: Sequence[Sequence[str]], bold: set[int] | dict[int, None]
) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(head):
        table.add_column(name, style="bold" if index in bold else None)
    for line in lines:
        table.add_row(*line)
    return table


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))
