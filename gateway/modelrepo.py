"""The model repository's I/O: a directory, or a web site, in the public layout.

Both are off unless set. Files are read in a worker thread, so a slow disk or site never holds up the devices.
"""

import asyncio
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

        Raises `TemplateError` for what is there but is no DTDL, `GatewayError` if a place can't be asked.
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
        # A DTMI's grammar has neither dots nor slashes, so the path can't leave the directory.
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
        try:
            with urllib.request.urlopen(f"{url}/{path}", timeout=timeout_s) as answer:  # noqa: S310 - settings allow http(s) only
                return _bounded(answer.read(max_bytes + 1), path, max_bytes)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_FOUND:
                    return None
                raise GatewayError(f"model repository: {url}/{path}: HTTP {error.code}") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise GatewayError(
                f"model repository: {url} can't be asked: {reason}", hint="look at `model_repository.url`"
            ) from None

    return read


def _bounded(content: bytes, path: str, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise TemplateError(f"{path}: larger than {max_bytes} bytes")
    return content
