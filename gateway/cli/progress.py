"""How far a long command is, for who watches: a bar on stderr at a terminal, nothing in a script."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "progress"]


class Progress(Protocol):
    """Called with how much is done, and what to say of it; with the total, once it is known."""

    def __call__(self, done: int, said: str, *, total: int | None = None) -> None: ...


@contextmanager
def progress(doing: str, *, total: int | None) -> Iterator[Progress]:
    """Show the bar while the context lasts. `total` None: nobody knows how much there is."""
    if not sys.stderr.isatty():
        yield _silent
        return
    # rich takes as long to import as a command to run
    from rich import progress as rich_progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    columns = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[said]}"),
        rich_progress.TimeRemainingColumn(compact=True) if total else rich_progress.TimeElapsedColumn(),
    ]
    with rich_progress.Progress(
        *columns, console=Console(stderr=True, highlight=False), transient=True
    ) as bar:
        task = bar.add_task(doing, total=total, said="")

        def show(done: int, said: str, *, total: int | None = total) -> None:
            bar.update(task, completed=done, said=said, total=total)

        yield show


def _silent(done: int, said: str, *, total: int | None = None) -> None:  # noqa: ARG001 - a `Progress`
    return
