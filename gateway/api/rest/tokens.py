"""`/apiTokens` and `/roles`. A role is named as IoT Central names it, by its UUID; ours by their names are taken, too."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request

from gateway.api.rest.calling import ApiVersion, Me
from gateway.api.rest.pages import Paging, cut, next_link
from gateway.api.rest.shapes import ApiTokenBody, Collection, Object
from gateway.errors import NotFoundError, OperationError
from gateway.roles import Role

__all__ = ["roles", "router"]

router = APIRouter(prefix="/apiTokens", tags=["apiTokens"], dependencies=[ApiVersion])
roles = APIRouter(prefix="/roles", tags=["apiTokens"], dependencies=[ApiVersion])

TokenId = Annotated[str, Path(min_length=1, max_length=255)]

_IDS: Final = {
    Role.ADMINISTRATOR: "ca310b8d-2f4a-44e0-a36e-957c202cd8d4",
    Role.BUILDER: "344138e9-8de4-4497-8c54-5237e96d6aaf",
    Role.OPERATOR: "ae2c9854-393b-4f97-8c42-479d70ce626e",
    Role.VIEWER: "viewer",
}
"""IoT Central's (learn.microsoft.com, "How to authorize REST API"); it has no viewer."""
_BY_ID: Final = {identifier: role for role, identifier in _IDS.items()} | {role.value: role for role in Role}
_NAMES: Final = {
    Role.ADMINISTRATOR: "Administrator", Role.BUILDER: "Builder", Role.OPERATOR: "Operator", Role.VIEWER: "Viewer",
}  # fmt: skip


@router.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_tokens(me: Me, request: Request, page: Paging) -> Object:
    tokens, after = cut((await me.call("token.list"))["tokens"], page, lambda token: token["id"])
    return {"value": [_shape(token) for token in tokens], **next_link(request, after)}


@router.get("/{token_id}")
async def get_token(me: Me, token_id: TokenId) -> Object:
    return _shape(await me.call("token.show", name=token_id))


@router.put("/{token_id}")
async def create_token(me: Me, token_id: TokenId, body: ApiTokenBody) -> Object:
    """The answer has the token's text, this once."""
    role = _BY_ID.get(body.roles[0].role)
    if role is None:
        raise OperationError("body roles.0.role: no such role", hint="GET /api/roles lists them")
    lasting = {} if body.expiry is None else {"expires_at": _unix_seconds(body.expiry)}
    return _shape(await me.call("token.create", name=token_id, role=role.value, **lasting))


@router.delete("/{token_id}", status_code=204)
async def delete_token(me: Me, token_id: TokenId) -> None:
    await me.call("token.delete", name=token_id)


@roles.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_roles(_me: Me) -> Object:
    return {"value": [_role(role) for role in Role]}


@roles.get("/{role_id}")
async def get_role(_me: Me, role_id: Annotated[str, Path(min_length=1, max_length=64)]) -> Object:
    role = _BY_ID.get(role_id)
    if role is None:
        raise NotFoundError(f"there is no role {role_id}", hint="GET /api/roles lists them")
    return _role(role)


def _role(role: Role) -> Object:
    return {"id": _IDS[role], "displayName": _NAMES[role]}


def _shape(token: Object) -> Object:
    shown: Object = {
        "id": token["id"],
        "roles": [{"role": _IDS[Role(token["role"])]}],
        "expiry": token["expiresAt"],
    }
    return shown | ({"token": token["token"]} if "token" in token else {})


def _unix_seconds(text: str) -> float:
    try:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise OperationError(
            "body expiry: not a date in ISO 8601", hint="such as 2027-01-31T12:00:00Z"
        ) from None
