"""What would let a device in, in the words of an operator, with the very command where there is one. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypedDict

from gateway.attempts import Judgement, Presented
from gateway.enrollment.explain import Owner, Signer, Vouching
from gateway.enrollment.models import SymmetricKeys, ThumbprintPair, TpmAttestation
from gateway.identity.sas import SasToken
from gateway.refusals import Reason, Refused, answer_for

__all__ = ["Findings", "Here", "Remedy", "duration", "remedies", "signer_in_words"]

_MAX_LEEWAY_S: Final = 900
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_FAR_S: Final = 2 * _DAY


class Remedy(TypedDict):
    """`command` is None where the device, not the gateway, has to change."""

    do: str
    command: str | None


class Here(NamedTuple):
    """What a device has to know of this gateway."""

    id_scope: str
    hosts: tuple[str, ...]
    leeway_s: int
    sas_group: str | None
    """The group whose key a new device would be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out about the credential, beyond the refusal."""

    signer: Signer | None = None
    vouching: Vouching | None = None
    unverified: Vouching | None = None
    namesakes: tuple[Vouching, ...] = ()
    sha256: str = ""


def remedies(  # noqa: C901, PLR0912 - one arm per reason
    judged: Judgement, presented: Presented | None, findings: Findings, here: Here, *, now: float
) -> list[Remedy]:
    """What would let the device in, the likeliest first. Empty if it would get in."""
    if not isinstance(judged.outcome, Refused):
        return []
    reason, device_id = judged.outcome.reason, judged.device_id
    match reason:
        case Reason.TOKEN_SIGNATURE_INVALID:
            found = list(_of_signature(judged, findings, here))
        case Reason.TOKEN_EXPIRED if presented is not None and isinstance(presented.token, SasToken):
            found = list(_of_expiry(now - presented.token.expiry, here))
        case Reason.TOKEN_RESOURCE_MISMATCH:
            found = [_change_device(f"sign a token whose sr is {_resources(device_id, here)}")]
        case Reason.ID_SCOPE_UNKNOWN:
            found = [_change_device(f"set the device's ID scope to this gateway's, {here.id_scope}")]
        case Reason.HOST_UNKNOWN:
            names = ", ".join(here.hosts)
            found = [
                _change_device(f"let the device dial a name of this gateway: {names}"),
                _change_device("or add the name that it dials to `hosts` in gateway.yaml, and restart"),
            ]
        case Reason.CERTIFICATE_UNTRUSTED | Reason.CERTIFICATE_THUMBPRINT_UNKNOWN | Reason.ENROLLMENT_MISSING:
            found = list(_of_trust(judged, presented, findings))
        case Reason.ATTESTATION_MISMATCH:
            found = list(_of_attestation(judged))
        case Reason.ENROLLMENT_DISABLED:
            found = [Remedy(do="enable its enrollment", command=f"gateway enrollment enable {device_id}")]
        case Reason.ENROLLMENT_GROUP_DISABLED:
            group = judged.outcome.detail.removeprefix("group ")
            found = [Remedy(do="enable the group", command=f"gateway group enable {group}")]
        case Reason.DEVICE_BLOCKED:
            found = [Remedy(do="unblock it", command=f"gateway device unblock {device_id}")]
        case Reason.APPROVAL_PENDING if judged.device is None:
            found = [
                Remedy(
                    do="let it connect, then approve it; or register it before, and it needs no approval",
                    command=f"gateway device register {device_id}",
                )
            ]
        case Reason.APPROVAL_PENDING:
            found = [Remedy(do="approve it", command=f"gateway device approve {device_id}")]
        case _:
            found = [_change_device(answer_for(reason).hint)]
    return found


def signer_in_words(signer: Signer | None, device_id: str, *, groups: int) -> str:
    """Whose key signed a token: `its own key of group G, primary`."""
    if signer is None:
        tried = "the group of this gateway" if groups == 1 else f"the {groups} groups of this gateway"
        return f"a key that is not of {tried}" if groups else "an unknown key: no group here has keys"
    match signer.owner:
        case Owner.INDIVIDUAL:
            whose = f"its individual enrollment's {signer.slot} key"
        case Owner.DERIVED if signer.device_id == device_id:
            whose = f"its own {signer.slot} key of group {signer.group}"
        case Owner.DERIVED:
            whose = f"the {signer.slot} key of another device, {signer.device_id}, of group {signer.group}"
        case Owner.GROUP:
            whose = f"the {signer.slot} key of group {signer.group} itself, not the device's own"
    if signer.as_text:
        whose += ", used as text without decoding its base64"
    if signer.other_resource:
        whose += ", over another spelling of the sr than it sends"
    return whose


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `7 h`, `30 d`."""
    seconds = abs(seconds)
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (_FAR_S, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _DAY:.0f} d"


def _of_signature(judged: Judgement, findings: Findings, here: Here) -> Iterator[Remedy]:
    signer, device_id = findings.signer, judged.device_id
    individual = judged.individual
    own = individual is not None and isinstance(individual.attestation, SymmetricKeys)
    if individual is not None and isinstance(individual.attestation, TpmAttestation):
        yield _change_device(
            "let its TPM register again over HTTPS, which gives it the key that it signs with"
        )
        yield Remedy(
            do="or delete its TPM enrollment, so that groups are asked",
            command=f"gateway enrollment delete {device_id}",
        )
        return
    if signer is None:
        yield _own_key(device_id, own=own, group=_group_of(judged) or here.sas_group)
        return
    right_key = signer.owner is Owner.INDIVIDUAL or (
        signer.owner is Owner.DERIVED and signer.device_id == device_id
    )
    if own and signer.owner is not Owner.INDIVIDUAL and right_key:
        yield Remedy(
            do=f"its individual enrollment wins over group {signer.group}: delete it",
            command=f"gateway enrollment delete {device_id}",
        )
        yield _own_key(device_id, own=True, group=None, otherwise=True)
        return
    if not right_key:
        yield _own_key(device_id, own=own, group=signer.group)
    if signer.as_text:
        yield _change_device("decode the key from base64 before it signs; it is bytes, not text")
    if signer.other_resource:
        yield _change_device("sign the sr exactly as it is sent, percent-encoding included")


def _own_key(device_id: str, *, own: bool, group: str | None, otherwise: bool = False) -> Remedy:
    """Put the right key on the device."""
    put = "or put" if otherwise else "put"
    if own:
        return Remedy(
            do=f"{put} the key of its individual enrollment on the device",
            command=f"gateway enrollment show {device_id} --keys",
        )
    if group is None:
        return Remedy(
            do="make a group with keys; then put the device's own key on it",
            command="gateway group create NAME --type sas",
        )
    return Remedy(
        do=f"{put} its own key of group {group} on the device",
        command=f"gateway device compute-key {device_id} --group {group}",
    )


def _of_expiry(ago_s: float, here: Here) -> Iterator[Remedy]:
    yield _change_device(
        f"sign a new token; if it signs one for each connect, its clock is late by {duration(ago_s)} or more"
    )
    if here.leeway_s < ago_s < _MAX_LEEWAY_S:
        yield _change_device(
            f"or set provisioning.token_leeway_s to {int(ago_s) + _MINUTE} in gateway.yaml, and restart"
        )


def _of_trust(judged: Judgement, presented: Presented | None, findings: Findings) -> Iterator[Remedy]:
    device_id, individual = judged.device_id, judged.individual
    if presented is not None and presented.certificate is None:
        yield Remedy(
            do="make an enrollment group with keys, and put the device's own key on it",
            command="gateway group create NAME --type sas",
        )
        return
    if individual is not None:
        yield Remedy(
            do="enroll this certificate in place of the one that is enrolled",
            command=f"gateway enrollment delete {device_id} && "
            f"gateway enrollment create {device_id} --thumbprint {findings.sha256 or 'SHA256'}",
        )
        if findings.vouching is not None:
            yield Remedy(
                do=f"or delete its individual enrollment: group {findings.vouching.group} vouches for it",
                command=f"gateway enrollment delete {device_id}",
            )
        return
    if findings.unverified is not None:
        group, slot = findings.unverified.group, findings.unverified.slot
        yield Remedy(
            do=f"prove possession of the {slot} CA of group {group}: it is not verified yet",
            command=f"gateway group ca verify {group} {slot} PROOF.crt",
        )
        return
    for namesake in findings.namesakes:
        yield _change_device(
            f"group {namesake.group} has a CA of the issuer's name with another key: was the CA made anew?"
        )
    leaf = presented.certificate.leaf if presented is not None and presented.certificate is not None else None
    self_signed = leaf is not None and leaf.subject == leaf.issuer
    if not self_signed:
        yield Remedy(
            do="let a group trust the CA that issued it",
            command="gateway group create NAME --primary-ca CA.pem",
        )
    yield Remedy(
        do="enroll this one certificate: it is signed by itself"
        if self_signed
        else "or enroll this one certificate",
        command=f"gateway enrollment create {device_id} --thumbprint {findings.sha256 or 'SHA256'}",
    )


def _of_attestation(judged: Judgement) -> Iterator[Remedy]:
    individual, device_id = judged.individual, judged.device_id
    wants = "the credential that its individual enrollment names"
    if individual is not None and isinstance(individual.attestation, SymmetricKeys):
        wants = "a SAS token, as its individual enrollment wants it"
    elif individual is not None and isinstance(individual.attestation, ThumbprintPair):
        wants = "the certificate that its individual enrollment names"
    yield _change_device(f"let the device show {wants}")
    yield Remedy(
        do="or delete the enrollment, so that groups are asked",
        command=f"gateway enrollment delete {device_id}",
    )


def _group_of(judged: Judgement) -> str | None:
    return judged.device.enrollment_group if judged.device is not None else None


def _resources(device_id: str, here: Here) -> str:
    return f"{here.id_scope}/registrations/{device_id} (DPS) or {here.hosts[0]}/devices/{device_id} (hub)"


def _change_device(do: str) -> Remedy:
    return Remedy(do=do, command=None)
