"""A model with all it depends on, out of a model repository. Without I/O.

`resolve` is a generator: it yields the path of a file that it needs, and is sent the file's bytes, or None if there is no
such file. It ends with the DTDL documents, root first, or None if the repository does not have the model.
(Layout: github.com/Azure/iot-plugandplay-models.)
"""

from collections.abc import Generator
from typing import Any, Final

import orjson

from gateway.errors import TemplateError
from gateway.templates.dtdl import Interface, parse_interfaces
from gateway.templates.dtmi import expanded_path, repository_path
from gateway.templates.template import lacking

__all__ = ["resolve"]

_MAX_DOCUMENTS: Final = 256
_MAX_BYTES: Final = 8 * 1024 * 1024

Documents = list[dict[str, Any]]


def resolve(model_id: str) -> Generator[str, bytes | None, Documents | None]:
    """See above. Raises `TemplateError` for a file that is no DTDL, and for a dependency that is missing."""
    expanded = yield expanded_path(model_id)
    if expanded is not None:
        return _parse(expanded, expanded_path(model_id))
    documents: Documents = []
    interfaces: dict[str, Interface] = {}
    size = 0
    while missing := lacking(interfaces, model_id):
        for dtmi in sorted(missing):
            if dtmi in interfaces:
                continue  # it stood in the file of another one
            path = repository_path(dtmi)
            content = yield path
            if content is None:
                if dtmi == model_id:
                    return None
                raise TemplateError(f"{model_id} needs {dtmi}, which the model repository lacks")
            size += len(content)
            found = _parse(content, path)
            if size > _MAX_BYTES or len(documents) + len(found) > _MAX_DOCUMENTS:
                raise TemplateError(
                    f"{model_id} depends on more than {_MAX_DOCUMENTS} models or {_MAX_BYTES} bytes"
                )
            documents += found
            interfaces |= parse_interfaces(found)
            if dtmi not in interfaces:
                raise TemplateError(f"{path} does not hold {dtmi}")
    return documents


def _parse(content: bytes, path: str) -> Documents:
    try:
        value = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise TemplateError(f"{path}: not JSON") from None
    documents = value if isinstance(value, list) else [value]
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise TemplateError(f"{path}: a DTDL document is a JSON object, or an array of them")
    return documents
