"""Verbs on enrollment groups.

Whatever takes a right away also closes the sessions that came in by it: all of a group's (disable, delete), those of
one of its keys or CAs (regenerate, replace, remove), those of what a CA has taken back. The result says how many.
"""

import asyncio
import dataclasses
import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from gateway.enrollment.models import (
    EnrollmentGroup,
    SigningCertificate,
    SigningCertificates,
    SymmetricKeys,
    is_group_id,
)
from gateway.errors import ConflictError, NotFoundError, OperationError
from gateway.groups import Groups
from gateway.identity.crl import is_older, why_not
from gateway.identity.x509 import proves_possession, signer_of
from gateway.log import get_logger
from gateway.operations.attestation import (
    Attestation,
    Key,
    keys_from,
    keys_to_json,
    load_certificate,
    load_crl,
    load_signing_certificate,
    signing_to_json,
)
from gateway.operations.documents import refuse_changed, timestamp
from gateway.operations.sessions import Sessions
from gateway.operations.verbs import Etag, GroupName, Pem
from gateway.secrets import SymmetricKey
from gateway.session import CloseReason

__all__ = ["GroupOperations"]

log = get_logger()

DisplayName = Annotated[str, Field(min_length=1, max_length=255)]
Slot = Literal["primary", "secondary"]
Crl = Annotated[str, Field(max_length=1_000_000)]
"""Room for some twenty thousand certificates that were taken back."""

_SLOTS: Final[tuple[Slot, ...]] = ("primary", "secondary")
_CODE_BYTES: Final = 24
"""48 hex digits, of the 64 characters that a CN may have (RFC 5280 appendix A.1, ub-common-name)."""


class GroupOperations:
    """`group.*`"""

    def __init__(self, *, groups: Groups, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._groups = groups
        self._sessions = sessions
        self._clock = clock
        # Between looking and saving there is an await; two operators must not pass each other there.
        self._changing = asyncio.Lock()

    async def list(self) -> dict[str, Any]:
        """List the enrollment groups, without their keys."""
        return {"groups": [_to_json(group) for group in self._groups.list()]}

    async def show(self, *, name: GroupName, keys: bool = False) -> dict[str, Any]:
        """Show one group; its keys only if they are asked for."""
        group = self._get(name)
        shown = _to_json(group)
        if keys and isinstance(group.attestation, SymmetricKeys):
            shown |= keys_to_json(group.attestation)
        return shown

    async def create(
        self,
        *,
        name: GroupName,
        attestation: Attestation,
        display_name: DisplayName | None = None,
        auto_approve: bool = True,
        enabled: bool = True,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        primary_certificate: Pem | None = None,
        secondary_certificate: Pem | None = None,
        verified: bool = True,
    ) -> dict[str, Any]:
        """Create a group with symmetric keys (generated if not given), or with the CAs that sign its devices.

        The CAs are taken as the operator's own, unless `verified` is false: then they vouch for nobody before
        possession of their keys is proved. They may also come later.
        """
        if not is_group_id(name):
            raise OperationError(
                f"{name!r} can't name a group", hint="use letters, digits and '-' only, at most 255 of them"
            )
        now = self._clock()
        mechanism: SymmetricKeys | SigningCertificates
        if attestation == "symmetricKey":
            if primary_certificate is not None or secondary_certificate is not None:
                raise OperationError("a group with symmetric keys has no certificates")
            mechanism = keys_from(primary_key, secondary_key)
        else:
            if primary_key is not None or secondary_key is not None:
                raise OperationError("an X.509 group has no symmetric keys")
            mechanism = SigningCertificates(
                primary=_signing(primary_certificate, "primary_certificate", verified, now),
                secondary=_signing(secondary_certificate, "secondary_certificate", verified, now),
            )
        group = EnrollmentGroup.new(
            name, mechanism, display_name=display_name, auto_approve=auto_approve, enabled=enabled, now=now
        )
        async with self._changing:
            if self._groups.get(name) is not None:
                raise ConflictError(f"the enrollment group {name} exists already")
            self.refuse_shared_authority(mechanism)
            await self._groups.save(group)
        log.info("group.changed", group=name, change="created", mechanism=attestation)
        return _to_json(group)

    async def update(
        self,
        *,
        name: GroupName,
        display_name: DisplayName | None = None,
        enabled: bool | None = None,
        auto_approve: bool | None = None,
        primary_key: Key | None = None,
        secondary_key: Key | None = None,
        if_match: Etag | None = None,
    ) -> dict[str, Any]:
        """Change what is given; the rest stays. Sessions that came in by a key that is replaced are closed."""
        replaced: list[Slot] = []

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            changes: dict[str, Any] = {
                field: value
                for field, value in (
                    ("display_name", display_name), ("enabled", enabled), ("auto_approve", auto_approve),
                )
                if value is not None and value != getattr(group, field)
            }  # fmt: skip
            if primary_key is not None or secondary_key is not None:
                keys = _keys_of(group)
                given = keys_from(primary_key or keys.primary.base64, secondary_key or keys.secondary.base64)
                replaced.extend(slot for slot in _SLOTS if getattr(given, slot) != getattr(keys, slot))
                if replaced:
                    changes["attestation"] = given
            return group.replace(now=self._clock(), **changes) if changes else group

        group = await self._change(name, changed, if_match=if_match)
        closed = self._close_sessions(name, *(_SLOTS if enabled is False else replaced))
        log.info("group.changed", group=name, change="updated", closed_sessions=closed)
        return _to_json(group) | {"closedSessions": closed}

    async def enable(self, *, name: GroupName) -> dict[str, Any]:
        """Let the devices of a group in again."""
        return await self.update(name=name, enabled=True)

    async def disable(self, *, name: GroupName) -> dict[str, Any]:
        """Refuse the devices of a group, and close their sessions."""
        return await self.update(name=name, enabled=False)

    async def delete(self, *, name: GroupName, if_match: Etag | None = None) -> dict[str, Any]:
        """Delete a group and close the sessions of its devices. The devices stay registered, but are refused."""
        async with self._changing:
            refuse_changed(f"the enrollment group {name}", self._get(name).etag, if_match)
            await self._groups.delete(name)
        closed = self._close_sessions(name, *_SLOTS)
        log.info("group.changed", group=name, change="deleted", closed_sessions=closed)
        return {"id": name, "closedSessions": closed}

    async def regenerate_key(
        self, *, name: GroupName, slot: Slot, if_match: Etag | None = None
    ) -> dict[str, Any]:
        """Replace one key by a new one, shown in the answer. Devices of the old key are refused; their sessions close."""
        key = SymmetricKey.generate()

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            keys = dataclasses.replace(_keys_of(group), **{slot: key})
            return group.replace(now=self._clock(), attestation=keys)

        group = await self._change(name, changed, if_match=if_match)
        closed = self._close_sessions(name, slot)
        log.info("group.changed", group=name, change=f"{slot}_key_regenerated", closed_sessions=closed)
        return _to_json(group) | {f"{slot}Key": key.base64, "closedSessions": closed}

    # The CAs of an X.509 group

    async def show_ca(self, *, name: GroupName, slot: Slot) -> dict[str, Any]:
        """Show one CA of a group, with its certificate."""
        group = self._get(name)
        return _ca_to_json(group, slot, _ca_of(group, slot))

    async def set_ca(
        self,
        *,
        name: GroupName,
        slot: Slot,
        certificate: Pem,
        verified: bool = False,
        if_match: Etag | None = None,
    ) -> dict[str, Any]:
        """Give a group a CA. It vouches for devices when it is verified: `verified` says that it is the operator's.

        What it replaces is removed: see `remove_ca`. Only a CA that renews its certificate keeps its revocation list: what
        it has taken back stays taken back.
        """
        signing = _signing(certificate, "certificate", verified, self._clock())
        return await self._set_ca(name, slot, signing, if_match=if_match)

    async def remove_ca(self, *, name: GroupName, slot: Slot, if_match: Etag | None = None) -> dict[str, Any]:
        """Take a CA from a group: what it signed is refused at once, and the sessions that came in by it are closed."""
        _ca_of(self._get(name), slot)
        return await self._set_ca(name, slot, None, if_match=if_match)

    async def make_verification_code(self, *, name: GroupName, slot: Slot) -> dict[str, Any]:
        """A new code for the CA's owner to sign: a certificate from that CA with the code as its CN proves possession."""
        code = secrets.token_hex(_CODE_BYTES).upper()

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            signing = dataclasses.replace(_ca_of(group, slot), verification_code=code)
            return _with_ca(group, slot, signing, now=self._clock())

        await self._change(name, changed)
        log.info("group.changed", group=name, change=f"{slot}_ca_code_made")
        return {"id": name, "slot": slot, "verificationCode": code}

    async def verify_ca(self, *, name: GroupName, slot: Slot, certificate: Pem) -> dict[str, Any]:
        """Prove possession of a CA's key: `certificate` is signed by it, and its CN is the verification code."""
        proof = load_certificate(certificate, "certificate")
        now = self._clock()

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            signing = _ca_of(group, slot)
            if signing.verification_code is None:
                raise ConflictError(
                    f"the {slot} CA of {name} has no verification code",
                    hint=f"make one: gateway group ca code {name} {slot}",
                )
            if not proves_possession(proof, signing.certificate, signing.verification_code):
                raise OperationError(
                    "the certificate does not prove possession of the CA's key",
                    hint=f"sign a certificate with that CA whose CN is {signing.verification_code}",
                )
            if not _is_valid_at(proof, now):
                raise OperationError("the certificate that proves possession is not valid now")
            return _with_ca(
                group, slot, dataclasses.replace(signing, verified=True, verification_code=None), now=now
            )

        group = await self._change(name, changed)
        log.info("group.changed", group=name, change=f"{slot}_ca_verified")
        return _to_json(group)

    async def set_crl(
        self, *, name: GroupName, slot: Slot, crl: Crl, if_match: Etag | None = None
    ) -> dict[str, Any]:
        """Give a CA its revocation list, in place of the one there is: what is on it is refused, its sessions close.

        It need not be verified: it says whom to refuse, and not whom to trust.
        """
        given = load_crl(crl, "crl")
        now = self._clock()

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            signing = _ca_of(group, slot)
            fault = why_not(given, signing.certificate, now=now)
            if fault is not None:
                raise OperationError(f"crl: {fault}", hint=f"give the list of the {slot} CA of {name}")
            if signing.crl is not None and is_older(given, signing.crl):
                raise ConflictError(
                    f"the {slot} CA of {name} has a newer list, of {signing.crl.last_update_utc:%Y-%m-%d %H:%M}Z",
                    hint=f"if the older one is meant: gateway group ca remove-crl {name} {slot}, and set it then",
                )
            if signing.crl == given:
                return group
            return _with_ca(group, slot, dataclasses.replace(signing, crl=given), now=now)

        group = await self._change(name, changed, if_match=if_match)
        closed = self._close_revoked()
        log.info(
            "group.changed", group=name, change=f"{slot}_crl_set", revoked=len(given), closed_sessions=closed
        )
        return _to_json(group) | {"closedSessions": closed}

    async def remove_crl(
        self, *, name: GroupName, slot: Slot, if_match: Etag | None = None
    ) -> dict[str, Any]:
        """Take a CA's revocation list away: what was on it is let in again."""

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            signing = _ca_of(group, slot)
            if signing.crl is None:
                raise NotFoundError(f"the {slot} CA of {name} has no revocation list")
            return _with_ca(group, slot, dataclasses.replace(signing, crl=None), now=self._clock())

        group = await self._change(name, changed, if_match=if_match)
        log.info("group.changed", group=name, change=f"{slot}_crl_removed")
        return _to_json(group)

    async def _set_ca(
        self, name: str, slot: Slot, signing: SigningCertificate | None, *, if_match: str | None
    ) -> dict[str, Any]:
        gone = False

        def changed(group: EnrollmentGroup) -> EnrollmentGroup:
            nonlocal gone
            before: SigningCertificate | None = getattr(_certificates_of(group), slot)
            given = signing
            if before is not None:
                gone = given is None or before.certificate != given.certificate
                if given is not None:
                    if not gone and (before.verified or not given.verified):
                        return group  # the same CA again: what was proved stays proved
                    given = _succeeding(before, given)
            if given is not None:
                self.refuse_shared_authority(SigningCertificates(primary=given), besides=name)
            return _with_ca(group, slot, given, now=self._clock())

        group = await self._change(name, changed, if_match=if_match)
        closed = self._close_sessions(name, slot) if gone else 0
        change = f"{slot}_ca_{'removed' if signing is None else 'set'}"
        log.info("group.changed", group=name, change=change, closed_sessions=closed)
        return _to_json(group) | {"closedSessions": closed}

    # Below: what the verbs share

    async def _change(
        self, name: str, change: Callable[[EnrollmentGroup], EnrollmentGroup], *, if_match: str | None = None
    ) -> EnrollmentGroup:
        """Apply `change` to the state that is in force, and nobody's change in between. Raises what it raises."""
        async with self._changing:
            group = self._get(name)
            refuse_changed(f"the enrollment group {name}", group.etag, if_match)
            changed = change(group)
            if changed is not group:
                await self._groups.save(changed)
            return changed

    def _get(self, name: str) -> EnrollmentGroup:
        group = self._groups.get(name)
        if group is None:
            raise NotFoundError(f"there is no enrollment group {name}", hint="see `gateway group list`")
        return group

    def _close_sessions(self, name: str, *slots: Slot) -> int:
        """Close the group's sessions: those that came in by these slots."""
        return self._sessions.close_where(
            lambda session: session.enrollment_group == name and session.key_slot in slots,
            CloseReason.ENROLLMENT_CHANGED,
        )

    def _close_revoked(self) -> int:
        """Close what came in by a certificate that its CA has taken back, in whichever group and slot that CA is."""
        book = self._groups.book
        return self._sessions.close_where(
            lambda session: book.has_revoked(session.enrollment_group, session.key_slot, session.issued),
            CloseReason.ENROLLMENT_CHANGED,
        )

    def refuse_shared_authority(
        self, mechanism: SymmetricKeys | SigningCertificates, *, besides: str | None = None
    ) -> None:
        """One CA in two groups, be it by two certificates, would leave it to chance which group a device comes in by."""
        given = _authorities(mechanism)
        for group in self._groups.list():
            if group.id != besides and given & _authorities(group.attestation):
                raise ConflictError(f"the enrollment group {group.id} has this CA already")


def _signing(pem: str | None, argument: str, verified: bool, now: float) -> SigningCertificate | None:
    if pem is None:
        return None
    certificate = load_signing_certificate(pem, argument, now=now)
    return SigningCertificate(certificate=certificate, verified=verified)


def _keys_of(group: EnrollmentGroup) -> SymmetricKeys:
    if not isinstance(group.attestation, SymmetricKeys):
        raise ConflictError(f"the enrollment group {group.id} has certificates, not keys")
    return group.attestation


def _certificates_of(group: EnrollmentGroup) -> SigningCertificates:
    if not isinstance(group.attestation, SigningCertificates):
        raise ConflictError(f"the enrollment group {group.id} has keys, not certificates")
    return group.attestation


def _ca_of(group: EnrollmentGroup, slot: Slot) -> SigningCertificate:
    signing: SigningCertificate | None = getattr(_certificates_of(group), slot)
    if signing is None:
        raise NotFoundError(
            f"the enrollment group {group.id} has no {slot} CA",
            hint=f"give it one: gateway group ca set {group.id} {slot} FILE",
        )
    return signing


def _with_ca(
    group: EnrollmentGroup, slot: Slot, signing: SigningCertificate | None, *, now: float
) -> EnrollmentGroup:
    certificates = dataclasses.replace(_certificates_of(group), **{slot: signing})
    return group.replace(now=now, attestation=certificates)


def _succeeding(before: SigningCertificate, given: SigningCertificate) -> SigningCertificate:
    """`given` with what goes over to it if it is the same CA: its list and, as long as it is not verified, its code."""
    if signer_of(before.certificate) != signer_of(given.certificate):
        return given
    code = None if given.verified else before.verification_code
    return dataclasses.replace(given, crl=before.crl, verification_code=code)


def _authorities(mechanism: SymmetricKeys | SigningCertificates) -> set[bytes]:
    """Who signs, by the key: a CA has a new certificate from time to time."""
    if isinstance(mechanism, SymmetricKeys):
        return set()
    return {signer_of(signing.certificate) for signing in mechanism.both if signing is not None}


def _is_valid_at(certificate: x509.Certificate, now: float) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start.timestamp() <= now <= end.timestamp()


def _to_json(group: EnrollmentGroup) -> dict[str, Any]:
    """Without secrets."""
    document: dict[str, Any] = {
        "id": group.id,
        "displayName": group.display_name,
        "attestation": "symmetricKey" if isinstance(group.attestation, SymmetricKeys) else "x509",
        "enabled": group.enabled,
        "autoApprove": group.auto_approve,
        "createdAt": timestamp(group.created_at),
        "updatedAt": timestamp(group.updated_at),
        "etag": group.etag,
    }
    if isinstance(group.attestation, SigningCertificates):
        document["primaryCertificate"] = signing_to_json(group.attestation.primary)
        document["secondaryCertificate"] = signing_to_json(group.attestation.secondary)
    return document


def _ca_to_json(group: EnrollmentGroup, slot: Slot, signing: SigningCertificate) -> dict[str, Any]:
    return {
        "id": group.id,
        "slot": slot,
        **(signing_to_json(signing) or {}),
        "certificate": signing.certificate.public_bytes(Encoding.PEM).decode(),
        "etag": group.etag,
    }
