import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError, TemplateError
from gateway.modelrepo import ModelRepository, make_repository
from gateway.settings import ModelRepositorySettings

MODELS = Path(__file__).parents[1] / "data" / "models"
THERMOSTAT = "dtmi:com:example:Thermostat;1"
AIR_MONITOR = "dtmi:com:example:AirMonitor;1"
PUMP = "dtmi:com:example:Pump;1"
FILE = "dtmi/com/example/thermostat-1.json"
UNKNOWN = "dtmi:com:example:Unknown;1"


def repository(**settings: Any) -> ModelRepository:
    made = make_repository(ModelRepositorySettings(**settings))
    assert made is not None
    return made


async def names(repo: ModelRepository, model_id: str) -> list[str] | None:
    documents = await repo.fetch(model_id)
    return None if documents is None else [document["@id"].rpartition(":")[2] for document in documents]


async def refusal(repo: ModelRepository, model_id: str = THERMOSTAT) -> str:
    with pytest.raises(GatewayError) as refused:
        await repo.fetch(model_id)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_no_place_is_asked_unless_the_settings_name_one() -> None:
    assert make_repository(ModelRepositorySettings()) is None


async def test_a_directory_has_models_with_what_they_depend_on() -> None:
    repo = repository(directory=MODELS)
    assert await names(repo, THERMOSTAT) == ["Thermostat;1"]
    assert await names(repo, AIR_MONITOR) == ["AirMonitor;1", "DeviceInformation;1", "Thermostat;1"]
    assert await names(repo, PUMP) == ["Pump;1", "DeviceInformation;1"]
    assert await names(repo, UNKNOWN) is None


async def test_a_directory_that_is_not_there_has_no_models(tmp_path: Path) -> None:
    assert await names(repository(directory=tmp_path / "missing"), THERMOSTAT) is None
    (tmp_path / "dtmi").touch()
    assert await names(repository(directory=tmp_path), THERMOSTAT) is None


def write(root: Path, content: bytes, path: str = FILE) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


async def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir(parents=True)  # a directory in its place: that fails for root, too
    line = await refusal(repository(directory=tmp_path))
    assert line == f"model repository: {tmp_path / FILE}: Is a directory"


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    good = (MODELS / FILE).read_bytes()
    repo = repository(directory=tmp_path, max_document_bytes=2000)
    write(tmp_path, good.ljust(2000))
    assert await names(repo, THERMOSTAT) == ["Thermostat;1"]
    write(tmp_path, good.ljust(2001))
    assert await refusal(repo) == f"{FILE}: larger than 2000 bytes"


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"<html>")
    assert await refusal(repository(directory=tmp_path)) == f"{FILE}: not JSON"
    write(tmp_path, (MODELS / FILE).read_bytes().replace(b"Thermostat;1", b"Other;1"))
    assert await refusal(repository(directory=tmp_path)) == f"{FILE} does not hold {THERMOSTAT}"


@pytest.mark.parametrize(
    "model_id", ["dtmi:..:..:etc:passwd;1", "../secret", "/etc/passwd", "dtmi:a/b;1", ""]
)
async def test_what_is_no_dtmi_reads_no_file(tmp_path: Path, model_id: str) -> None:
    write(tmp_path, b"{}", "secret")
    with pytest.raises(ValueError, match="is not a DTMI"):
        await repository(directory=tmp_path / "models").fetch(model_id)


async def test_a_model_with_a_minor_version_is_found(tmp_path: Path) -> None:
    content = (MODELS / FILE).read_bytes().replace(b"Thermostat;1", b"Thermostat;1.2")
    write(tmp_path, content, "dtmi/com/example/thermostat-1.2.json")
    assert await names(repository(directory=tmp_path), "dtmi:com:example:Thermostat;1.2") == [
        "Thermostat;1.2"
    ]


class Site:
    """A web site on loopback with some files, and what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.asked: list[str] = []
        self.raw: bytes | None = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                if site.raw is not None:
                    self.wfile.write(site.raw)
                    return
                content = site.files.get(self.path.removeprefix("/models/"))
                self.send_response(404 if content is None and site.status == 200 else site.status)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/models"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()


async def test_a_site_has_models_in_the_same_layout(site: Site) -> None:
    site.files = {str(file.relative_to(MODELS)): file.read_bytes() for file in MODELS.rglob("*.json")}
    for url in (site.url, site.url + "/"):
        repo = repository(url=url)
        assert await names(repo, AIR_MONITOR) == ["AirMonitor;1", "DeviceInformation;1", "Thermostat;1"]
        assert await names(repo, UNKNOWN) is None
    assert site.asked[:2] == [
        "/models/dtmi/com/example/airmonitor-1.expanded.json",
        "/models/dtmi/com/example/airmonitor-1.json",
    ]


@pytest.mark.parametrize("status", [500, 503, 403])
async def test_a_site_that_answers_with_an_error_is_told_by_its_status(site: Site, status: int) -> None:
    site.status = status
    address = f"{site.url}/dtmi/com/example/thermostat-1.expanded.json"
    assert await refusal(repository(url=site.url)) == f"model repository: {address}: HTTP {status}"


async def test_a_site_that_sends_too_much_is_cut_off(site: Site) -> None:
    site.files[FILE] = b" " * 100_000
    assert (
        await refusal(repository(url=site.url, max_document_bytes=2000)) == f"{FILE}: larger than 2000 bytes"
    )


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH\r\nx\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000]
)
async def test_a_site_that_does_not_speak_http_is_refused_in_one_line(site: Site, raw: bytes) -> None:
    site.raw = raw
    line = await refusal(repository(url=site.url))
    assert line == f"model repository: {site.url} can't be asked: it does not speak HTTP"


async def test_a_chunked_answer_that_breaks_off_is_refused_in_one_line(site: Site) -> None:
    site.raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc"
    assert (await refusal(repository(url=site.url))).startswith(
        f"model repository: {site.url} can't be asked: "
    )


async def test_a_site_that_hangs_up_is_refused_in_one_line(site: Site) -> None:
    site.raw = b""
    assert (await refusal(repository(url=site.url))).startswith(
        f"model repository: {site.url} can't be asked: "
    )


async def test_a_site_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts by its backlog, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = await refusal(repository(url=url, timeout_s=0.05))
    assert line == f"model repository: {url} can't be asked: it does not answer in time"


async def test_a_site_that_trickles_is_given_up_too() -> None:
    done = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not done.wait(0.01):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            line = await refusal(repository(url=url, timeout_s=0.2))
        finally:
            done.set()
            thread.join()
    assert line == f"model repository: {url} can't be asked: it does not answer in time"


async def test_a_site_that_nobody_runs_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    line = await refusal(repository(url=url))
    assert line == f"model repository: {url} can't be asked: Connection refused"


@pytest.mark.parametrize("url", ["http://", "http://[bad", "http://a b"])
async def test_an_address_that_is_none_is_refused_in_one_line(url: str) -> None:
    assert (await refusal(repository(url=url))).startswith("model repository: ")


async def test_the_directory_is_asked_before_the_site(site: Site, tmp_path: Path) -> None:
    site.files[FILE] = (MODELS / FILE).read_bytes()
    repo = repository(directory=tmp_path, url=site.url)
    assert await names(repo, THERMOSTAT) == ["Thermostat;1"]
    assert len(site.asked) == 2
    write(tmp_path, (MODELS / FILE).read_bytes())
    assert await names(repo, THERMOSTAT) == ["Thermostat;1"]
    assert len(site.asked) == 2


async def test_a_broken_model_in_the_directory_is_told_rather_than_passed_over(
    site: Site, tmp_path: Path
) -> None:
    site.files[FILE] = (MODELS / FILE).read_bytes()
    write(tmp_path, b"{")
    with pytest.raises(TemplateError, match="not JSON"):
        await repository(directory=tmp_path, url=site.url).fetch(THERMOSTAT)
    assert site.asked == []
