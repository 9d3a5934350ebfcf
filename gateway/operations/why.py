"""`device.why`: why a device does not get in, or whether it would.

What was remembered of its attempts (`gateway.attempts`), what the gateway knows of it, and the newest refused credential,
or one that an operator gives, held against what is in force *now*: so the answer also says whether a mistake has been
mended since. It changes nothing. Neither keys nor signatures are in the answer.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Protocol

from cryptography import x509
from pydantic import Field

from gateway.attempts import Accepted, Attempts, Ended, Judgement, Presented, Refusal, read_password
from gateway.enrollment.decide import Verified
from gateway.enrollment.explain import (
    Signer,
    find_signer,
    find_unverified,
    find_vouching,
    named_device,
    namesakes,
)
from gateway.enrollment.models import IndividualEnrollment
from gateway.errors import NotFoundError, OperationError
from gateway.groups import Groups
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.sas import SasToken
from gateway.identity.x509 import thumbprints
from gateway.operations.attestation import mechanism_of
from gateway.operations.devices import sas_group
from gateway.operations.documents import timestamp
from gateway.operations.remedies import Findings, Here, duration, remedies, signer_in_words
from gateway.operations.sessions import NullSessions, Sessions
from gateway.operations.verbs import SECRET, DeviceId, Pem
from gateway.refusals import Reason, Refused, answer_for
from gateway.registry.device import Device, Status
from gateway.settings import Settings

__all__ = ["Judge", "WhyOperations"]

Token = Annotated[str, SECRET, Field(min_length=1, max_length=4096)]
Username = Annotated[str, Field(min_length=1, max_length=512)]

_GIVES_UP: Final = 5
"""The return code after which Microsoft's Python SDK does not try again."""


class Judge(Protocol):
    """What a login would come to: `gateway.admission.Admission`."""

    async def judge(self, presented: Presented, *, now: float) -> Judgement: ...


class WhyOperations:
    """`device.why`"""

    def __init__(
        self,
        *,
        judge: Judge,
        attempts: Attempts | None,
        groups: Groups,
        sessions: Sessions,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._judge = judge
        self._attempts = attempts
        self._groups = groups
        self._sessions = sessions
        self._settings = settings
        self._clock = clock

    async def explain(
        self,
        *,
        device_id: DeviceId,
        token: Token | None = None,
        certificate: Pem | None = None,
        chain: Pem | None = None,
        username: Username | None = None,
    ) -> dict[str, Any]:
        """Why a device was refused, and what would let it in: its last attempts, and its credential held against now.

        With `token`, or `certificate` (and the `chain` it would send), judges that credential as if a device presented it
        now. `username` is its MQTT user name; by default the one that fits the credential. Nothing changes.
        """
        now = self._clock()
        attempts = self._attempts.of(device_id) if self._attempts is not None else []
        given = self._given(device_id, token, certificate, chain, username)
        presented, judged_what = given, "given"
        if given is None:
            presented, judged_what = _newest_presented(attempts), "attempt"
        known = await self._judge.judge(presented or Presented(device_id, None, None, None), now=now)
        verdict = None
        if presented is not None:
            verdict = {"of": judged_what} | self._verdict(known, presented, now)
        return {
            "id": device_id,
            "at": timestamp(now),
            "running": not isinstance(self._sessions, NullSessions),
            "device": self._device_to_json(known.device),
            "individualEnrollment": _individual_to_json(known.individual),
            "attempts": [self._attempt_to_json(attempt) for attempt in attempts],
            "verdict": verdict or self._standing(known, attempts, now),
        }

    # What is judged

    def _given(
        self,
        device_id: str,
        token: str | None,
        certificate: str | None,
        chain: str | None,
        username: str | None,
    ) -> Presented | None:
        if token is None and certificate is None:
            if chain is not None or username is not None:
                raise OperationError("give a token or a certificate to judge")
            return None
        if token is not None and certificate is not None:
            raise OperationError(
                "give a token or a certificate, not both", hint="of the two a device's token counts"
            )
        parsed = read_password(token.strip().encode()) if token is not None else None
        evidence = None
        if certificate is not None:
            leaf, *more = _load(certificate, "certificate")
            intermediates = [*more, *(_load(chain, "chain") if chain is not None else [])]
            evidence = CertificateEvidence(leaf=leaf, intermediates=tuple(intermediates))
        return Presented(device_id, username or self._usual_username(device_id, parsed), parsed, evidence)

    def _usual_username(self, device_id: str, token: SasToken | Refused | None) -> str:
        """What SDKs send: to DPS if the token is for it, else to the hub."""
        if isinstance(token, SasToken) and "/registrations/" in token.resource:
            return f"{self._settings.id_scope}/registrations/{device_id}/api-version=2019-03-31"
        return f"{self._settings.hosts[0]}/{device_id}/?api-version=2021-04-12"

    # What comes of it

    def _verdict(self, judged: Judgement, presented: Presented, now: float) -> dict[str, Any]:
        evidence, findings = self._evidence(judged, presented, now)
        return self._outcome_to_json(judged, presented, findings, now) | {"evidence": evidence}

    def _outcome_to_json(
        self, judged: Judgement, presented: Presented | None, findings: Findings, now: float
    ) -> dict[str, Any]:
        outcome = judged.outcome
        shared = {"dialect": judged.dialect.value if judged.dialect is not None else None}
        if isinstance(outcome, Verified):
            return shared | _verified_to_json(outcome) | {
                "outcome": "accepted", "registers": judged.device is None, "remedies": [],
            }  # fmt: skip
        return shared | {
            "outcome": "refused",
            **_refused_to_json(outcome.reason, outcome.detail),
            "remedies": remedies(judged, presented, findings, self._here(), now=now),
        }

    def _standing(
        self, known: Judgement, attempts: list[Accepted | Refusal | Ended], now: float
    ) -> dict[str, Any] | None:
        """What can be said without a credential: by the device's status, its enrollment, its last refusal."""
        refused, newest = None, attempts[0] if attempts else None
        if known.device is not None and known.device.status is Status.BLOCKED:
            refused = Refused(Reason.DEVICE_BLOCKED)
        elif known.individual is not None and not known.individual.enabled:
            refused = Refused(Reason.ENROLLMENT_DISABLED)
        elif known.device is not None and known.device.status is Status.WAITING:
            refused = Refused(Reason.APPROVAL_PENDING)
        elif isinstance(newest, Refusal) and not newest.registering:
            refused = Refused(newest.reason, newest.detail)
        if refused is None:
            return None
        judged = known._replace(outcome=refused)
        return {"of": "status"} | self._outcome_to_json(judged, None, Findings(), now) | {"evidence": None}

    def _here(self) -> Here:
        settings = self._settings
        try:
            group: str | None = sas_group(self._groups, None)[0].id
        except NotFoundError:
            group = None
        return Here(settings.id_scope, settings.hosts, settings.provisioning.token_leeway_s, group)

    # The evidence

    def _evidence(
        self, judged: Judgement, presented: Presented, now: float
    ) -> tuple[dict[str, Any], Findings]:
        shown: dict[str, Any] = {"username": presented.username, "token": None, "certificate": None}
        findings = Findings()
        if isinstance(presented.token, SasToken):
            signer = find_signer(
                presented.token, judged.device_id, individual=judged.individual, groups=self._groups.book
            )
            findings = Findings(signer=signer)
            shown["token"] = self._token_to_json(presented.token, signer, judged.device_id, now)
        elif presented.certificate is not None and presented.token is None:
            findings, shown["certificate"] = self._certificate(presented.certificate, now)
        return shown, findings

    def _token_to_json(
        self, token: SasToken, signer: Signer | None, device_id: str, now: float
    ) -> dict[str, Any]:
        left = token.expiry - now
        sas_groups = len(self._groups.book.sas_groups(None))
        return {
            "resource": token.resource[:256],
            "names": named_device(token),
            "keyName": token.key_name,
            "expiresAt": _timestamp_or_none(token.expiry),
            "expiry": f"in {duration(left)}" if left > 0 else f"{duration(left)} ago",
            "expired": left + self._settings.provisioning.token_leeway_s <= 0,
            "signedBy": None
            if signer is None
            else {
                "owner": signer.owner.value,
                "group": signer.group,
                "keySlot": signer.slot.value,
                "deviceId": signer.device_id,
                "asText": signer.as_text,
                "otherResource": signer.other_resource,
            },
            "signedWith": signer_in_words(signer, device_id, groups=sas_groups),
        }

    def _certificate(self, certificate: CertificateEvidence, now: float) -> tuple[Findings, dict[str, Any]]:
        try:
            vouching = find_vouching(certificate, self._groups.book, now=now)
            top = certificate.intermediates[-1] if certificate.intermediates else certificate.leaf
            unverified = find_unverified(top, self._groups.book) if vouching is None else None
            alike = tuple(namesakes(top, self._groups.book)) if vouching is None else ()
            own = thumbprints(certificate.leaf)
            shown = _certificate_to_json(certificate.leaf) | {
                "sha1Thumbprint": own.sha1,
                "sha256Thumbprint": own.sha256,
                "chain": [_certificate_to_json(each) for each in certificate.intermediates],
                "vouchedBy": None
                if vouching is None
                else {"group": vouching.group, "keySlot": vouching.slot.value},
            }
        except ValueError as error:  # `cryptography` reads a certificate piece by piece
            return Findings(), {"unreadable": str(error)[:120]}
        return Findings(vouching=vouching, unverified=unverified, namesakes=alike, sha256=own.sha256), shown

    # Documents

    def _device_to_json(self, device: Device | None) -> dict[str, Any] | None:
        if device is None:
            return None
        return {
            "status": device.status.value,
            "enrollmentGroup": device.enrollment_group,
            "template": device.template_id,
            "connected": self._sessions.is_connected(device.id),
            "createdAt": timestamp(device.created_at),
        }

    def _attempt_to_json(self, attempt: Accepted | Refusal | Ended) -> dict[str, Any]:
        shown: dict[str, Any] = {"at": timestamp(attempt.at), "peer": attempt.peer}
        match attempt:
            case Accepted():
                verified = _verified_to_json(attempt.verified)
                return (
                    shown
                    | {"outcome": "accepted", "tls": attempt.tls, "dialect": attempt.dialect.value}
                    | verified
                )
            case Refusal():
                return shown | {
                    "outcome": "refused",
                    "tls": attempt.tls,
                    "registering": attempt.registering,
                    "firstAt": timestamp(attempt.first_at),
                    "times": attempt.times,
                    **_refused_to_json(attempt.reason, attempt.detail),
                }
            case Ended():
                return shown | {"outcome": "ended", "reason": attempt.reason.value, "detail": attempt.detail}


def _newest_presented(attempts: list[Accepted | Refusal | Ended]) -> Presented | None:
    """What the newest attempt showed, if it was refused."""
    for attempt in attempts:
        match attempt:
            case Refusal():
                return attempt.presented
            case Accepted():
                return None
    return None


def _verified_to_json(verified: Verified) -> dict[str, Any]:
    return {
        "mechanism": verified.mechanism,
        "enrollmentGroup": verified.enrollment_group,
        "keySlot": verified.key_slot.value,
    }


def _refused_to_json(reason: Reason, detail: str) -> dict[str, Any]:
    answer = answer_for(reason)
    return {
        "reason": reason.value,
        "detail": detail,
        "hint": answer.hint,
        "connack": answer.connack,
        "dpsError": answer.dps_error,
        "givesUp": answer.connack == _GIVES_UP,
    }


def _individual_to_json(individual: IndividualEnrollment | None) -> dict[str, Any] | None:
    if individual is None:
        return None
    return {"attestation": mechanism_of(individual.attestation), "enabled": individual.enabled}


def _certificate_to_json(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string()[:256],
        "issuer": certificate.issuer.rfc4514_string()[:256],
        "notBefore": timestamp(certificate.not_valid_before_utc.timestamp()),
        "notAfter": timestamp(certificate.not_valid_after_utc.timestamp()),
    }


def _timestamp_or_none(unix_seconds: float) -> str | None:
    """None for a year that no calendar has: a clock in milliseconds."""
    try:
        return timestamp(unix_seconds)
    except (ValueError, OverflowError, OSError):
        return None


def _load(pem: str, argument: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        raise OperationError(
            f"{argument}: not a certificate in PEM form", hint="it begins with -----BEGIN CERTIFICATE-----"
        ) from None
