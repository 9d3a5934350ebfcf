"""Lists by the page: `{"value": […], "nextLink": …}`, as IoT Central pages them."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Query, Request

from gateway.errors import OperationError

__all__ = ["Page", "Paging", "cut", "next_link"]

DEFAULT_SIZE: Final = 25
MAX_SIZE: Final = 100
"""IoT Central's, for devices."""
_SKIP: Final = "$skipToken"
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is asked for: at most `size` items that come after `after`."""

    size: int
    after: str | None


async def _paging(
    top: Annotated[int | None, Query(alias="$top", ge=1, le=MAX_SIZE)] = None,
    maxpagesize: Annotated[int | None, Query(ge=1, le=MAX_SIZE)] = None,
    skip_token: Annotated[
        str | None, Query(alias=_SKIP, max_length=4096, description="From `nextLink`; opaque.")
    ] = None,
) -> Page:
    return Page(top or maxpagesize or DEFAULT_SIZE, _decode(skip_token) if skip_token else None)


Paging = Annotated[Page, Depends(_paging)]


def cut(items: Sequence[_Item], page: Page, key: Any) -> tuple[list[_Item], str | None]:
    """A page of items that are in order of their `key`, and the key that the next page comes after, if there is one."""
    rest = [item for item in items if page.after is None or key(item) > page.after]
    return rest[: page.size], key(rest[page.size - 1]) if len(rest) > page.size else None


def next_link(request: Request, after: str | None) -> dict[str, str]:
    """`{"nextLink": …}`: the same request for the page after `after`; nothing if there is none."""
    if after is None:
        return {}
    token = base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")
    return {"nextLink": str(request.url.include_query_params(**{_SKIP: token}))}


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise OperationError(f"{_SKIP}: not from a nextLink of this gateway") from None
