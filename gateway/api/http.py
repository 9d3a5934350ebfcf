"""The operators' HTTP server: uvicorn in the gateway's own event loop.

`make_app` puts together what it serves: the REST API under `/api`, Prometheus's metrics, and the web console under `/`.
Devices are not served here (their listeners verify certificates as identities do; uvicorn's TLS can't).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.api.jobs import Jobs
from gateway.api.rest import make_rest_app
from gateway.api.rest.calling import Context
from gateway.errors import SettingsError, StartError
from gateway.log import get_logger
from gateway.settings import BindAddress, HttpSettings

__all__ = ["HttpServer", "make_app"]

log = get_logger()

REQUEST_ARRIVAL_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.01
_BACKLOG: Final = 128


def make_app(context: Context, render_metrics: Callable[[], bytes], console: ASGIApp) -> FastAPI:
    """All that the server serves. `render_metrics` answers `/metrics`, in Prometheus's text format."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.mount("/api", make_rest_app(context))
    app.mount("/", console)
    return app


class HttpServer:
    """`start` it once the store is open, `stop` it before the store closes."""

    def __init__(
        self,
        settings: HttpSettings,
        bind: BindAddress,
        app: FastAPI,
        *,
        certificate_file: Path,
        key_file: Path,
        jobs: Jobs | None = None,
    ) -> None:
        self._settings = settings
        self._bind = bind
        self._jobs = jobs
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Protocol,
                loop="none",
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",  # what fails is logged by the application, in our form
                access_log=False,
                server_header=False,
                limit_concurrency=settings.max_connections,
                timeout_keep_alive=settings.keep_alive_timeout_s,
                timeout_graceful_shutdown=settings.shutdown_timeout_s,
                ssl_certfile=str(certificate_file) if settings.tls else None,
                ssl_keyfile=str(key_file) if settings.tls else None,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.port: int | None = None

    async def start(self) -> None:
        """Return when it serves. Raises `StartError` or `SettingsError`."""
        listening = _listen(self._bind)
        self.port = listening.getsockname()[1]
        try:
            self._server.config.load()
        except OSError as error:  # ssl.SSLError is one
            listening.close()
            raise SettingsError(
                f"operators' HTTP: the certificate or its key can't be used: {error.strerror or error}"
            ) from None
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]), name="http")
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(_POLL_S)
        if self._serving.done():
            self._serving.result()
        log.info(
            "listener.opened", listener="http", bind=f"{self._bind.host}:{self.port}", tls=self._settings.tls
        )

    async def stop(self) -> None:
        """Stop listening; requests that are under way have `shutdown_timeout_s` to end. Jobs are cancelled."""
        if self._serving is not None:
            self._server.should_exit = True
            await asyncio.wait([self._serving])
        if self._jobs is not None:
            await self._jobs.stop()


class _Protocol(H11Protocol):
    """Bounds what a stranger may hold: h11 bounds the header, this the time until a request is there, whole.

    uvicorn itself waits for ever for what a connection has not sent; its faster parser takes headers without end.
    """

    _arrival: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def _await_request(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
        self._arrival = self.loop.call_later(REQUEST_ARRIVAL_TIMEOUT_S, self._close_if_still_arriving)

    def _close_if_still_arriving(self) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._await_request()  # it is there, and being answered
        else:
            self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn would take SIGINT and SIGTERM for itself: here they are the gateway's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(bind: BindAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    try:
        return socket.create_server((bind.host, bind.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StartError(
            f"operators can't be served on {bind}: {(error.strerror or str(error)).lower()}",
            hint="another program may listen there: stop it, or change `http.bind`",
        ) from None
