"""What a person sees while a run goes on: on standard error, and only if that is a terminal."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from loadtest.processes import Phase
from loadtest.tally import Totals

__all__ = ["Display"]

_RATE_OVER_S: Final = 2.0


class Display:
    """Progress bars; `certificates` and `run` are the callbacks."""

    def __init__(self, offers: int | None = None, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._shown = console.is_terminal
        self._plain = console
        self._offers = offers
        self._held = False
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
            disable=not self._shown,
            transient=True,
        )
        self._task: TaskID | None = None
        self._history: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def certificates(self, done: int, missing: int) -> None:
        if missing:
            self._show("certificates", done, missing, "")

    def run(self, phase: Phase, totals: Totals) -> None:
        over = totals.admitted + totals.refused + totals.timed_out + totals.failed
        if phase.name == "holding" and not self._held:
            self._held = True
            if not self._shown:  # for a script that waits for this
                self._plain.print(f"holding {totals.sessions} sessions", highlight=False)
        self._show(phase.name, over, self._offers, self._said(phase, totals))

    def _said(self, phase: Phase, totals: Totals) -> str:
        parts = [f"{totals.sessions:,} connected", f"{self._rate(phase.elapsed_s, totals.admitted):,.0f}/s"]
        for count, name in (
            (totals.refused, "refused"),
            (totals.timed_out, "timed out"),
            (totals.failed, "failed"),
            (totals.lost, "lost"),
        ):
            if count:
                parts.append(f"[yellow]{count:,} {name}[/]")
        return " · ".join(parts)

    def _rate(self, now: float, admitted: int) -> float:
        """Over the last two seconds."""
        self._history.append((now, admitted))
        while len(self._history) > 1 and now - self._history[0][0] > _RATE_OVER_S:
            self._history.pop(0)
        since, before = self._history[0]
        return (admitted - before) / (now - since) if now > since else 0.0

    def _show(self, description: str, done: int, total: int | None, said: str) -> None:
        if self._task is None:
            self._task = self._progress.add_task(description, total=total, said=said)
        self._progress.update(self._task, description=description, completed=done, total=total, said=said)
