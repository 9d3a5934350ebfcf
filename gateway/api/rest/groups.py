"""`/enrollmentGroups`: enrollment groups, their keys and CAs, and proof of possession."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response

from gateway.api.rest.calling import ApiVersion, Caller, IfMatch, Me, etag_meant, quoted
from gateway.api.rest.pages import Paging, cut, next_link
from gateway.api.rest.shapes import (
    CertificateBody,
    Collection,
    CrlBody,
    GroupBody,
    GroupPatch,
    Object,
    ProofBody,
)
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.roles import Role

__all__ = ["router"]

router = APIRouter(prefix="/enrollmentGroups", tags=["enrollmentGroups"], dependencies=[ApiVersion])

GroupId = Annotated[str, Path(min_length=1, max_length=255)]
Entry = Literal["primary", "secondary"]


@router.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_groups(me: Me, request: Request, page: Paging) -> Object:
    groups = (await me.call("group.list"))["groups"]
    names, after = cut([group["id"] for group in groups], page, lambda name: name)
    return {"value": [await _shown(me, name) for name in names], **next_link(request, after)}


@router.get("/{group_id}")
async def get_group(me: Me, group_id: GroupId, response: Response) -> Object:
    return await _answer(me, group_id, response)


@router.put("/{group_id}")
async def create_or_update_group(
    me: Me, group_id: GroupId, body: GroupBody, if_match: IfMatch, response: Response
) -> Object:
    meant = etag_meant(if_match, body.etag)
    if meant is None and not await _exists(me, group_id):
        try:
            await _create(me, group_id, body)
            return await _answer(me, group_id, response)
        except ConflictError:
            if not await _exists(me, group_id):
                raise  # about something else; otherwise somebody was quicker, and this is an update
    await _update(me, group_id, body, meant)
    return await _answer(me, group_id, response)


@router.patch("/{group_id}")
async def update_group(
    me: Me, group_id: GroupId, body: GroupPatch, if_match: IfMatch, response: Response
) -> Object:
    await _update(me, group_id, body, etag_meant(if_match, body.etag))
    return await _answer(me, group_id, response)


@router.delete("/{group_id}", status_code=204)
async def delete_group(me: Me, group_id: GroupId, if_match: IfMatch) -> None:
    await me.call("group.delete", name=group_id, if_match=if_match)


# The CAs of an X.509 group


@router.get("/{group_id}/certificates/{entry}")
async def get_certificate(me: Me, group_id: GroupId, entry: Entry) -> Object:
    return _ca_shape(await me.call("group.show_ca", name=group_id, slot=entry))


@router.put("/{group_id}/certificates/{entry}")
async def set_certificate(
    me: Me, group_id: GroupId, entry: Entry, body: CertificateBody, if_match: IfMatch
) -> Object:
    """Give the group a CA. It vouches for devices once it is verified."""
    await me.call(
        "group.set_ca", name=group_id, slot=entry, certificate=body.certificate, verified=body.verified,
        if_match=etag_meant(if_match, body.etag),
    )  # fmt: skip
    return _ca_shape(await me.call("group.show_ca", name=group_id, slot=entry))


@router.delete("/{group_id}/certificates/{entry}", status_code=204)
async def delete_certificate(me: Me, group_id: GroupId, entry: Entry, if_match: IfMatch) -> None:
    """What the CA signed is refused at once, and the sessions that came in by it are closed."""
    await me.call("group.remove_ca", name=group_id, slot=entry, if_match=if_match)


@router.put("/{group_id}/certificates/{entry}/crl")
async def set_crl(me: Me, group_id: GroupId, entry: Entry, body: CrlBody, if_match: IfMatch) -> Object:
    """Give the CA its revocation list: what is on it is refused at once, and the sessions of it are closed."""
    changed = await me.call("group.set_crl", name=group_id, slot=entry, crl=body.crl, if_match=if_match)
    shown: Object = changed[f"{entry}Certificate"]["revocationList"]
    return shown


@router.delete("/{group_id}/certificates/{entry}/crl", status_code=204)
async def delete_crl(me: Me, group_id: GroupId, entry: Entry, if_match: IfMatch) -> None:
    """What was on the CA's revocation list is let in again."""
    await me.call("group.remove_crl", name=group_id, slot=entry, if_match=if_match)


@router.post("/{group_id}/certificates/{entry}/generateVerificationCode")
async def generate_verification_code(me: Me, group_id: GroupId, entry: Entry) -> Object:
    """A code for the CA's owner to sign: the CN of a certificate that the CA issues."""
    made = await me.call("group.make_verification_code", name=group_id, slot=entry)
    return {"verificationCode": made["verificationCode"]}


@router.post("/{group_id}/certificates/{entry}/verify", status_code=204)
async def verify_certificate(me: Me, group_id: GroupId, entry: Entry, body: ProofBody) -> None:
    """Prove possession of the CA's key with what it signed."""
    await me.call("group.verify_ca", name=group_id, slot=entry, certificate=body.certificate)


async def _exists(me: Caller, group_id: str) -> bool:
    try:
        await me.call("group.show", name=group_id)
    except NotFoundError:
        return False
    return True


async def _create(me: Caller, group_id: str, body: GroupBody) -> None:
    attestation = body.attestation
    arguments: dict[str, Any] = {}
    if attestation.symmetricKey is not None:
        arguments["primary_key"] = attestation.symmetricKey.primaryKey
        arguments["secondary_key"] = attestation.symmetricKey.secondaryKey
    signing = attestation.x509.signingCertificates if attestation.x509 is not None else None
    given = [each for each in (signing.primary, signing.secondary) if each is not None] if signing else []
    if signing is not None:
        arguments["primary_certificate"] = signing.primary.certificate if signing.primary else None
        arguments["secondary_certificate"] = signing.secondary.certificate if signing.secondary else None
    await me.call(
        "group.create", name=group_id, attestation=attestation.type, display_name=body.displayName,
        enabled=body.enabled is not False, auto_approve=body.autoApprove is not False,
        verified=bool(given) and all(each.verified for each in given), **arguments,
    )  # fmt: skip


async def _update(me: Caller, group_id: str, body: GroupBody | GroupPatch, if_match: str | None) -> None:
    """Keys are changed here; CAs have routes of their own."""
    attestation = body.attestation
    keys = attestation.symmetricKey if attestation is not None else None
    if attestation is not None and attestation.type is not None:
        known = await me.call("group.show", name=group_id)
        if known["attestation"] != attestation.type:
            raise OperationError(
                f"the enrollment group {group_id} is of the type {known['attestation']}",
                hint="make another group for another type",
            )
    await me.call(
        "group.update", name=group_id, display_name=body.displayName, enabled=body.enabled,
        auto_approve=body.autoApprove, primary_key=keys.primaryKey if keys else None,
        secondary_key=keys.secondaryKey if keys else None, if_match=if_match,
    )  # fmt: skip


async def _shown(me: Caller, group_id: str) -> Object:
    """A group as IoT Central shows it; its keys only to who may see them."""
    group = await me.call("group.show", name=group_id, keys=me.has(Role.ADMINISTRATOR))
    attestation: Object = {"type": group["attestation"]}
    if group["attestation"] == "symmetricKey":
        attestation["symmetricKey"] = {
            name: group[name] for name in ("primaryKey", "secondaryKey") if name in group
        }
    else:
        certificates = {
            slot: {"verified": ca["verified"], "info": {"sha1Thumbprint": ca["sha1Thumbprint"]}}
            for slot in ("primary", "secondary")
            if (ca := group[f"{slot}Certificate"]) is not None
        }
        attestation["x509"] = {"signingCertificates": certificates}
    return {
        "id": group["id"],
        "etag": quoted(group["etag"]),
        "displayName": group["displayName"],
        "enabled": group["enabled"],
        "autoApprove": group["autoApprove"],
        "type": "iot",
        "idScope": me.context.id_scope,
        "attestation": attestation,
    }


async def _answer(me: Caller, group_id: str, response: Response) -> Object:
    shown = await _shown(me, group_id)
    response.headers["ETag"] = shown["etag"]
    return shown


def _ca_shape(found: Object) -> Object:
    return {
        "verified": found["verified"],
        "certificate": found["certificate"],
        "info": {"sha1Thumbprint": found["sha1Thumbprint"]},
        "etag": quoted(found["etag"]),
    }
