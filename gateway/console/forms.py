"""What a form sends, bounded."""

from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from gateway.errors import OperationError

__all__ = ["MAX_FORM_BYTES", "Form", "read_form"]

MAX_FORM_BYTES: Final = 2 * 1024 * 1024
"""The largest is a device template with its components."""
_MAX_FIELDS: Final = 2000
"""One for each ticked row of a page, and some."""


class Form:
    """The fields of a form, as text. What was typed comes back to the page if it can't be saved."""

    def __init__(self, data: FormData | None = None, **typed: str) -> None:
        self._data = data if data is not None else FormData(typed)

    def text(self, name: str) -> str:
        """As it was typed; empty if the form has no such field."""
        value = self._data.get(name, "")
        return value if isinstance(value, str) else ""

    def given(self, name: str) -> str | None:
        """Without surrounding space; None if nothing was typed."""
        return self.text(name).strip() or None

    def ticked(self, name: str) -> bool:
        return name in self._data

    def all(self, name: str) -> list[str]:
        """Of fields that come more than once."""
        return [value for value in self._data.getlist(name) if isinstance(value, str)]

    def texts(self) -> list[tuple[str, str]]:
        """Every field, in order."""
        return [(name, value) for name, value in self._data.multi_items() if isinstance(value, str)]

    async def file(self, name: str) -> str | None:
        """A file's text (UTF-8); None if none was chosen. Raises `OperationError`."""
        value = self._data.get(name)
        if not isinstance(value, UploadFile) or not value.filename:
            return None
        try:
            return (await value.read()).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise OperationError(
                f"{value.filename[:80]} is not a text file in UTF-8", argument=name
            ) from None


async def read_form(request: Request) -> Form:
    """Raises `OperationError` for what is no form, or too large a one."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
        raise OperationError(f"a form has at most {MAX_FORM_BYTES} bytes")
    data = await request.form(max_fields=_MAX_FIELDS, max_files=8, max_part_size=MAX_FORM_BYTES)
    return Form(data)
