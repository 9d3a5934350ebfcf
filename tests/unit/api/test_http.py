"""The operators' HTTP server, with an application of the test's own: what it takes, and what it does not wait for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from gateway import pki
from gateway.api import http
from gateway.api.http import HttpServer
from gateway.errors import SettingsError, StartError
from gateway.settings import BindAddress, HttpSettings

LOOPBACK = BindAddress(host="127.0.0.1", port=0)


def server_on(bind: BindAddress, directory: Path, *, tls: bool = False) -> HttpServer:
    app = FastAPI()

    @app.get("/")
    async def hello() -> str:
        return "hello"

    settings = HttpSettings(bind=bind, tls=tls)
    return HttpServer(
        settings, bind, app, certificate_file=directory / "server.crt", key_file=directory / "server.key"
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HttpServer]:
    server = server_on(LOOPBACK, tmp_path)
    await server.start()
    yield server
    await server.stop()


async def ask(server: HttpServer, *parts: bytes) -> bytes:
    """All that the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for part in parts:
        writer.write(part)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_request_is_answered(server: HttpServer) -> None:
    answer = await ask(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b'"hello"')
    assert b"server:" not in answer.lower()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
async def test_a_request_that_does_not_come_is_not_waited_for(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http, "REQUEST_ARRIVAL_TIMEOUT_S", 0.01)
    assert await ask(server, sent) == b""


async def test_headers_without_end_are_refused(server: HttpServer) -> None:
    answer = await ask(server, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-More: y\r\n" * 20_000)
    assert answer == b"" or b" 400 " in answer.splitlines()[0]


async def test_a_port_that_is_taken_is_named(server: HttpServer, tmp_path: Path) -> None:
    second = server_on(BindAddress(host="127.0.0.1", port=server.port or 0), tmp_path)
    with pytest.raises(StartError, match=r"operators can't be served on 127\.0\.0\.1:") as caught:
        await second.start()
    assert "http.bind" in caught.value.hint


async def test_a_certificate_that_can_t_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the certificate or its key can't be used"):
        await server_on(LOOPBACK, tmp_path, tls=True).start()


async def test_it_speaks_tls_and_stops_while_a_client_stays_connected(tmp_path: Path) -> None:
    ca = pki.create_ca("Test")
    issued = pki.issue_server(ca, ["localhost"])
    (tmp_path / "server.crt").write_bytes(issued.chain_pem)
    (tmp_path / "server.key").write_bytes(issued.key_pem)
    server = server_on(LOOPBACK, tmp_path, tls=True)
    await server.start()
    import ssl

    trusting = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost"
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await server.stop()
    await reader.read()
    writer.close()
    await writer.wait_closed()
