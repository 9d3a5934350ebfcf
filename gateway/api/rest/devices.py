"""`/devices`: devices, their individual enrollments, their credentials, and our own verbs on one."""

import re
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.api.rest.calling import ApiVersion, Caller, IfMatch, Me, etag_meant, quoted
from gateway.api.rest.pages import Paging, next_link
from gateway.api.rest.shapes import AttestationBody, Collection, DeviceBody, DevicePatch, Object
from gateway.errors import NotFoundError, OperationError
from gateway.roles import Role

__all__ = ["own", "router"]

router = APIRouter(prefix="/devices", tags=["devices"], dependencies=[ApiVersion])
own = APIRouter(prefix="/devices", tags=["devices, beyond IoT Central"])

DeviceId = Annotated[str, Path(min_length=1, max_length=128)]
Filter = Annotated[
    str | None,
    Query(
        max_length=2048,
        description="`id eq '…'`, `template eq '…'`, `enabled eq …`, `provisioned eq …`, joined by `and`.",
    ),
]

_TERM: Final = re.compile(r"(id|template|enabled|provisioned) eq (?:'([^']*)'|(true|false))")
_STATUSES: Final = {
    ("true", "true"): "provisioned",
    ("true", "false"): "registered",
    ("false", "false"): "waiting",
}
"""(enabled, provisioned) → the status that it is. Blocked devices have either value of `provisioned`."""


@router.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_devices(
    *,
    me: Me,
    request: Request,
    page: Paging,
    filter_: Annotated[Filter, Query(alias="$filter")] = None,
    filter_plain: Annotated[Filter, Query(alias="filter")] = None,
    orderby: Annotated[str | None, Query(alias="$orderby", max_length=200)] = None,
) -> Object:
    if orderby is not None and orderby.strip() not in {"id", "id asc"}:
        raise OperationError("$orderby: devices are listed by their id", hint="leave it out")
    text = filter_ if filter_ is not None else filter_plain
    wanted = _wanted(text) if text is not None else {}
    device_id = wanted.pop("id", None)
    if device_id is not None:
        return {"value": [shape(device) async for device in _one(me, device_id, wanted)]}
    listed = await me.call("device.list", limit=page.size, after=page.after, **wanted)
    return {"value": [shape(device) for device in listed["devices"]], **next_link(request, listed["next"])}


@router.get("/{device_id}")
async def get_device(me: Me, device_id: DeviceId, response: Response) -> Object:
    return _answer(await me.call("device.show", device_id=device_id), response)


@router.put("/{device_id}")
async def create_or_update_device(
    me: Me, device_id: DeviceId, body: DeviceBody, if_match: IfMatch, response: Response
) -> Object:
    device = await me.call(
        "device.set", device_id=device_id, create=True, name=body.displayName, template_id=body.template,
        enabled=body.enabled, if_match=etag_meant(if_match, body.etag),
    )  # fmt: skip
    return _answer(device, response)


@router.patch("/{device_id}")
async def update_device(
    me: Me, device_id: DeviceId, body: DevicePatch, if_match: IfMatch, response: Response
) -> Object:
    device = await me.call(
        "device.set", device_id=device_id, name=body.displayName, template_id=body.template, enabled=body.enabled,
        unassociate="template" in body.model_fields_set and body.template is None,
        if_match=etag_meant(if_match, body.etag),
    )  # fmt: skip
    return _answer(device, response)


@router.delete("/{device_id}", status_code=204)
async def delete_device(me: Me, device_id: DeviceId, if_match: IfMatch) -> None:
    await me.call("device.delete", device_id=device_id, if_match=if_match)


# The individual enrollment


@router.get("/{device_id}/attestation")
async def get_attestation(me: Me, device_id: DeviceId) -> Object:
    shown = await me.call("enrollment.show", device_id=device_id, keys=me.has(Role.OPERATOR))
    return attestation_shape(shown)


@router.put("/{device_id}/attestation")
async def create_attestation(me: Me, device_id: DeviceId, body: AttestationBody, if_match: IfMatch) -> Object:
    """Enroll the device, or exchange its credential. Keys that are not given stay, or are generated."""
    return await _enroll(me, device_id, body, if_match, create=True)


@router.patch("/{device_id}/attestation")
async def update_attestation(me: Me, device_id: DeviceId, body: AttestationBody, if_match: IfMatch) -> Object:
    """What is not given stays as it is."""
    return await _enroll(me, device_id, body, if_match, create=False)


@router.delete("/{device_id}/attestation", status_code=204)
async def delete_attestation(me: Me, device_id: DeviceId, if_match: IfMatch) -> None:
    await me.call("enrollment.delete", device_id=device_id, if_match=if_match)


@router.get("/{device_id}/credentials")
async def get_credentials(me: Me, device_id: DeviceId) -> Object:
    """What the device connects with: its own keys, or those derived from its group's."""
    await me.call("device.show", device_id=device_id)
    found = await me.call("device.connection", device_id=device_id, keys=True)
    credentials: Object = {"idScope": found["idScope"]}
    if "primaryKey" in found:
        credentials["symmetricKey"] = _keys(found)
    elif found["enrollment"] == "individual":
        credentials |= attestation_shape(await me.call("enrollment.show", device_id=device_id))
        credentials.pop("type")
        credentials.pop("etag")
    else:
        credentials["x509"] = {}
    return credentials


# Ours


@own.post("/{device_id}/{action}")
async def change_status(
    me: Me, device_id: DeviceId, action: Literal["approve", "reject", "block", "unblock"], response: Response
) -> Object:
    """Move a device along its states: what `gateway device approve` and the others do."""
    return _answer(await me.call(f"device.{action}", device_id=device_id), response)


def shape(device: Object) -> Object:
    """A device as IoT Central shows it."""
    shown: Object = {
        "id": device["id"],
        "etag": quoted(device["etag"]),
        "displayName": device["name"],
        "simulated": False,
        "provisioned": device["provisioned"],
        "enabled": device["enabled"],
    }
    return shown | ({"template": device["template"]} if device["template"] is not None else {})


def attestation_shape(enrollment: Object) -> Object:
    """An individual enrollment as IoT Central shows it."""
    shown: Object = {"type": enrollment["attestation"], "etag": quoted(enrollment["etag"])}
    match enrollment["attestation"]:
        case "symmetricKey":
            shown["symmetricKey"] = _keys(enrollment)
        case "x509":
            certificates = {
                slot: {"info": _info(enrollment[f"{slot}Thumbprint"])}
                for slot in ("primary", "secondary")
                if enrollment[f"{slot}Thumbprint"] is not None
            }
            shown["x509"] = {"clientCertificates": certificates}
        case "tpm":
            shown["tpm"] = {"endorsementKey": enrollment.get("endorsementKey")}
    return shown


def _answer(device: Object, response: Response) -> Object:
    response.headers["ETag"] = quoted(device["etag"])
    return shape(device)


def _keys(document: Object) -> Object:
    """Both keys; none of them for who may not see them."""
    return {name: document[name] for name in ("primaryKey", "secondaryKey") if name in document}


def _info(thumbprint: str) -> Object:
    return {"sha1Thumbprint" if len(thumbprint) == _SHA1_DIGITS else "sha256Thumbprint": thumbprint}


_SHA1_DIGITS: Final = 40


async def _enroll(
    me: Caller, device_id: str, body: AttestationBody, if_match: str | None, *, create: bool
) -> Object:
    await me.call("device.show", device_id=device_id)
    credential = _credential(body)
    meant = etag_meant(if_match, body.etag)
    verb = "enrollment.update"
    if create and meant is None and not await _is_enrolled(me, device_id):
        verb = "enrollment.create"
    else:
        credential["if_match"] = meant
    await me.call(verb, device_id=device_id, attestation=body.type, **credential)
    return attestation_shape(
        await me.call("enrollment.show", device_id=device_id, keys=me.has(Role.OPERATOR))
    )


async def _is_enrolled(me: Caller, device_id: str) -> bool:
    try:
        await me.call("enrollment.show", device_id=device_id)
    except NotFoundError:
        return False
    return True


def _credential(body: AttestationBody) -> dict[str, Any]:
    """An attestation as arguments of `enrollment.create` and `enrollment.update`."""
    match body.type:
        case "symmetricKey":
            keys = body.symmetricKey
            given = {"primary_key": keys.primaryKey, "secondary_key": keys.secondaryKey} if keys else {}
        case "x509":
            pair = body.x509.clientCertificates if body.x509 else None
            certificates = {"primary": pair.primary, "secondary": pair.secondary} if pair else {}
            given = {f"{slot}_certificate": each.certificate for slot, each in certificates.items() if each}
        case "tpm":
            given = {"endorsement_key": body.tpm.endorsementKey} if body.tpm else {}
    return {name: value for name, value in given.items() if value is not None}


async def _one(me: Caller, device_id: str, wanted: Object) -> Any:
    """The device of that id, if it is there and is what else is wanted."""
    try:
        device = await me.call("device.show", device_id=device_id)
    except NotFoundError:
        return
    if wanted.get("template_id") in {None, device["template"]} and wanted.get("status") in {
        None,
        device["status"],
    }:
        yield device


def _wanted(text: str) -> dict[str, Any]:
    """A `$filter` as arguments of `device.list`, and `id`. Raises `OperationError` for what is not served."""
    found: dict[str, str] = {}
    for part in re.split(r"\s+and\s+", text.strip()):
        term = _TERM.fullmatch(part.strip())
        is_flag = term is not None and term[1] in {"enabled", "provisioned"}
        if (
            term is None
            or term[1] in found
            or is_flag != (term[3] is not None)
            or (not is_flag and not term[2])
        ):
            raise OperationError(
                f"$filter: {part.strip()[:80]!r} is not served",
                hint="use eq on id, template, enabled and provisioned, joined by and",
            )
        found[term[1]] = term[3] if is_flag else term[2]
    wanted: dict[str, Any] = {"id": found["id"]} if "id" in found else {}
    if "template" in found:
        wanted["template_id"] = found["template"]
    if "enabled" in found or "provisioned" in found:
        status = _STATUSES.get((found.get("enabled", ""), found.get("provisioned", "")))
        if status is None:
            raise OperationError(
                "$filter: enabled and provisioned are served together, and not for blocked devices",
                hint="list those with POST /api/verbs/device.list and a status",
            )
        wanted["status"] = status
    return wanted
