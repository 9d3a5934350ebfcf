"""The model repository's I/O: a directory, or a web site, in the public layout.

Both are off unless set. Files are read in a worker thread, so a slow disk or site never holds up the devices.
"""

import asyncio
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError, TemplateError
from gateway.settings import ModelRepositorySettings
from gateway.templates.repository import resolve

__all__ = ["ModelRepository", "make_repository"]

Read = Callable[[str], bytes | None]
_NOT_FOUND = 404


class ModelRepository:
    """Where models are looked for: each place in turn."""

    def __init__(self, places: tuple[Read, ...]) -> None:
        self._places = places

    async def fetch(self, model_id: str) -> list[dict[str, Any]] | None:
        """The model and all it depends on; None if no place has it.

        Raises `TemplateError` for what is there but is no DTDL, `GatewayError` if a place can't be asked, `ValueError`
        if `model_id` is not a DTMI.
        """
        return await asyncio.to_thread(self._fetch, model_id)

    def _fetch(self, model_id: str) -> list[dict[str, Any]] | None:
        for read in self._places:
            steps = resolve(model_id)
            path = next(steps)
            try:
                while True:
                    path = steps.send(read(path))
            except StopIteration as end:
                if end.value is not None:
                    documents: list[dict[str, Any]] = end.value
                    return documents
        return None


def make_repository(settings: ModelRepositorySettings) -> ModelRepository | None:
    """The repository that the settings name, the directory before the site; None if they name none."""
    places: list[Read] = []
    if settings.directory is not None:
        places.append(_directory(settings.directory, settings.max_document_bytes))
    if settings.url is not None:
        places.append(_site(settings.url.rstrip("/"), settings.timeout_s, settings.max_document_bytes))
    return ModelRepository(tuple(places)) if places else None


def _directory(root: Path, max_bytes: int) -> Read:
    def read(path: str) -> bytes | None:
        # A DTMI has no slash, and no dot but between the digits of its version: the path can't leave the directory.
        try:
            with (root / path).open("rb") as file:
                return _bounded(file.read(max_bytes + 1), path, max_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise GatewayError(f"model repository: {root / path}: {error.strerror}") from None

    return read


def _site(url: str, timeout_s: float, max_bytes: int) -> Read:
    def read(path: str) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        try:
            with urllib.request.urlopen(f"{url}/{path}", timeout=timeout_s) as answer:  # noqa: S310 - settings allow http(s) only
                return _bounded(_read_until(answer, deadline, max_bytes + 1), path, max_bytes)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_FOUND:
                    return None
                raise GatewayError(f"model repository: {url}/{path}: HTTP {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise GatewayError(
                f"model repository: {url} can't be asked: {_reason(error)}",
                hint="look at `model_repository.url`",
            ) from None

    return read


def _read_until(answer: http.client.HTTPResponse, deadline: float, max_bytes: int) -> bytes:
    """At most `max_bytes`. The socket's own timeout is for each read, which a site that trickles never exceeds."""
    content = bytearray()
    while len(content) < max_bytes and (part := answer.read1(max_bytes - len(content))):
        content += part
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(content)


def _reason(error: Exception) -> str:
    """One line, even if the site's answer is in it."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "it does not answer in time"
    if isinstance(reason, http.client.HTTPException) and not isinstance(reason, OSError):
        return "it does not speak HTTP"
    return getattr(reason, "strerror", None) or " ".join(str(reason).split()) or type(reason).__name__


def _bounded(content: bytes, path: str, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise TemplateError(f"{path}: larger than {max_bytes} bytes")
    return content
