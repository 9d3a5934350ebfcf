"""How a command reaches the operations: through the running gateway, or offline, never racing it.

The state directory's lock decides. A running gateway holds it, and takes the request on its control socket;
if nobody holds it, the command takes it and works on the store itself.

Imports are inside the functions: every command imports this module, `gateway --help` does too.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import StartError

if TYPE_CHECKING:
    from gateway.api.control import ControlClient
    from gateway.operations import Operations
    from gateway.settings import Settings

__all__ = [
    "call",
    "call_all",
    "call_pages",
    "call_running",
    "connect_running",
    "no_gateway",
    "offline_operations",
    "run_job",
]

_BUSY_TIMEOUT_S: Final = 10.0
"""How long to wait for a gateway that is just starting or stopping, or for another offline command."""
_RETRY_S: Final = 0.05
_PAGE: Final = 1000


def call(config: Path, verb: str, /, **arguments: Any) -> Any:
    """The result of an operator's verb. Raises the `GatewayError` that the verb raises, wherever it ran."""
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    return _with_gateway_or_lock(
        settings,
        lambda client: client.call(verb, arguments),
        lambda: asyncio.run(_call_offline(settings, verb, arguments)),
    )


def call_all(
    config: Path,
    verb: str,
    items: str,
    /,
    *,
    at_most: int | None = None,
    cursor: str = "after",
    **arguments: Any,
) -> list[Any]:
    """Every item of a verb that answers in pages, `{items: […], "next": …}`; or the first `at_most`.

    `cursor` is the argument that takes `next`.
    """
    found: list[Any] = []
    limit = _PAGE if at_most is None else min(_PAGE, at_most)
    call_pages(config, verb, items, found.extend, page=limit, at_most=at_most, cursor=cursor, **arguments)
    return found


def call_pages(
    config: Path,
    verb: str,
    items: str,
    on_page: Callable[[list[Any]], None],
    /,
    *,
    page: int,
    at_most: int | None = None,
    cursor: str = "after",
    **arguments: Any,
) -> None:
    """Like `call_all`, for what is too much to hold: each page is handed to `on_page`. The store is opened once."""
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    pages = _Pages(items, on_page, page=page, at_most=at_most, cursor=cursor, arguments=arguments)

    def through(client: "ControlClient") -> None:
        while (asked := pages.wanted()) is not None:
            pages.take(client.call(verb, asked))

    _with_gateway_or_lock(settings, through, lambda: asyncio.run(_call_pages_offline(settings, verb, pages)))


class _Pages:
    """What to ask next, until there are no more pages, or enough items."""

    def __init__(
        self,
        items: str,
        on_page: Callable[[list[Any]], None],
        *,
        page: int,
        at_most: int | None,
        cursor: str,
        arguments: dict[str, Any],
    ) -> None:
        self._items = items
        self._on_page = on_page
        self._page = page
        self._left = at_most
        self._cursor = cursor
        self._arguments = arguments
        self._following: Any = None
        self._done = False

    def wanted(self) -> dict[str, Any] | None:
        if self._done or self._left == 0:
            return None
        limit = self._page if self._left is None else min(self._page, self._left)
        return self._arguments | {self._cursor: self._following, "limit": limit}

    def take(self, answer: dict[str, Any]) -> None:
        found = answer[self._items]
        self._on_page(found)
        self._following = answer["next"]
        self._done = self._following is None
        if self._left is not None:
            self._left -= len(found)


def run_job(
    config: Path,
    verb: str,
    chunks: Iterable[list[Any]] = (),
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    **arguments: Any,
) -> Any:
    """The result of an operator's verb on many things, which it is fed by the chunk. Raises like `call`.

    Ctrl-C ends it: what it has done by then stays.
    """
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    return _with_gateway_or_lock(
        settings,
        lambda client: client.run(verb, arguments, chunks, on_progress),
        lambda: asyncio.run(_run_job_offline(settings, verb, arguments, chunks, on_progress)),
    )


def call_running(config: Path, verb: str, *, timeout_s: float, **arguments: Any) -> Any:
    """The result from the running gateway; `StartError` if there is none."""
    from gateway.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    client = connect_running(settings, timeout_s=timeout_s)
    if client is None:
        raise no_gateway(settings, config)
    with client:
        return client.call(verb, arguments)


def connect_running(settings: "Settings", *, timeout_s: float | None = None) -> "ControlClient | None":
    """The running gateway's control socket, or None if no gateway runs."""
    from gateway.api.control import ControlClient  # noqa: PLC0415

    if timeout_s is None:
        return ControlClient.connect(settings.control_socket)
    return ControlClient.connect(settings.control_socket, timeout_s=timeout_s)


def no_gateway(settings: "Settings", config: Path) -> StartError:
    return StartError(f"no gateway runs on {settings.state_dir}", hint=f"start it: gateway serve -c {config}")


@asynccontextmanager
async def offline_operations(settings: "Settings") -> "AsyncIterator[Operations]":
    """The operations on the store itself. The caller holds the state directory's lock."""
    from gateway import log  # noqa: PLC0415
    from gateway.app import open_core  # noqa: PLC0415

    # What an offline command does is in its result; the log belongs to the running gateway.
    log.configure(settings.log, io.StringIO())
    async with open_core(settings) as core:
        yield core.operations


async def _call_offline(settings: "Settings", verb: str, arguments: dict[str, Any]) -> Any:
    from gateway.local_users import this_actor  # noqa: PLC0415

    async with offline_operations(settings) as operations:
        return await operations.call(verb, arguments, by=this_actor())


async def _call_pages_offline(settings: "Settings", verb: str, pages: _Pages) -> None:
    from gateway.local_users import this_actor  # noqa: PLC0415

    async with offline_operations(settings) as operations:
        while (asked := pages.wanted()) is not None:
            pages.take(await operations.call(verb, asked, by=this_actor()))


async def _run_job_offline(
    settings: "Settings",
    verb: str,
    arguments: dict[str, Any],
    chunks: Iterable[list[Any]],
    on_progress: Callable[[dict[str, Any]], None],
) -> Any:
    from gateway.local_users import this_actor  # noqa: PLC0415
    from gateway.operations.jobs import LocalJob  # noqa: PLC0415

    async with offline_operations(settings) as operations:
        return await operations.call(verb, arguments, LocalJob(chunks, on_progress), by=this_actor())


def _with_gateway_or_lock(
    settings: "Settings", through: "Callable[[ControlClient], Any]", offline: Callable[[], Any]
) -> Any:
    from gateway.api.control import ControlClient  # noqa: PLC0415
    from gateway.state_lock import StateLock  # noqa: PLC0415

    lock = StateLock(settings.lock_file)
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        client = ControlClient.connect(settings.control_socket)
        if client is not None:
            with client:
                return through(client)
        if lock.try_acquire():
            try:
                return offline()
            finally:
                lock.release()
        if time.monotonic() > deadline:
            holder = lock.holder()
            by = f" by process {holder}" if holder else ""
            raise StartError(
                f"{settings.state_dir} is in use{by}, which does not answer on its control socket",
                hint="wait until it has started or stopped, or stop it",
            )
        time.sleep(_RETRY_S)
