"""Why a device was refused, once, and how each wire says so.

One enum for every refusal. The log and the operator get the reason and its detail; the wire gets the
coarse code beside it. Codes 3.1.1: MQTT 3.1.1 section 3.2.2.3; codes 5: MQTT 5.0 section 3.2.2.2; DPS: the
six-digit `errorCode` whose first three digits are the HTTP status.

MQTT 5 also has words. `told` is what they are; the empty-handed get `_UNPROVEN`: whoever has not proved who it is learns
only what it could have known, from what it sent itself and from the gateway's address. So nobody finds out by asking which
devices, enrollments and CAs there are.

The rule that keeps devices alive: CONNACK 5 makes Microsoft's Python SDK give up for good, so it is kept
for credentials and for what an operator decided. Whatever may be different in a minute is CONNACK 3.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Answer", "Reason", "Refused", "answer_for"]


class Reason(StrEnum):
    """Every reason to refuse a CONNECT or a registration."""

    # The request itself
    PROTOCOL_UNSUPPORTED = "protocol_unsupported"
    CLIENT_ID_INVALID = "client_id_invalid"
    USERNAME_MALFORMED = "username_malformed"
    CLIENT_ID_MISMATCH = "client_id_mismatch"
    ID_SCOPE_UNKNOWN = "id_scope_unknown"
    HOST_UNKNOWN = "host_unknown"
    MODULE_UNSUPPORTED = "module_unsupported"
    AUTHENTICATION_METHOD_UNKNOWN = "authentication_method_unknown"
    WILL_QOS_UNSUPPORTED = "will_qos_unsupported"
    WILL_RETAIN_UNSUPPORTED = "will_retain_unsupported"
    # Credentials
    CREDENTIAL_MISSING = "credential_missing"
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    TOKEN_RESOURCE_MISMATCH = "token_resource_mismatch"  # noqa: S105
    TOKEN_KEY_NAME_UNKNOWN = "token_key_name_unknown"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_SIGNATURE_INVALID = "token_signature_invalid"  # noqa: S105
    CERTIFICATE_MALFORMED = "certificate_malformed"
    CERTIFICATE_NAME_MISMATCH = "certificate_name_mismatch"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_IS_CA = "certificate_is_ca"
    CERTIFICATE_PURPOSE_WRONG = "certificate_purpose_wrong"
    CERTIFICATE_WEAK = "certificate_weak"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_THUMBPRINT_UNKNOWN = "certificate_thumbprint_unknown"
    TPM_UNKNOWN = "tpm_unknown"
    ATTESTATION_MISMATCH = "attestation_mismatch"
    # What the operator decided
    ENROLLMENT_MISSING = "enrollment_missing"
    ENROLLMENT_DISABLED = "enrollment_disabled"
    ENROLLMENT_GROUP_DISABLED = "enrollment_group_disabled"
    DEVICE_BLOCKED = "device_blocked"
    APPROVAL_PENDING = "approval_pending"
    # The gateway's own state
    ENROLLMENT_CHANGED = "enrollment_changed"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, as a value. `detail` is for the log only: facts, never secrets, never sent to the device."""

    reason: Reason
    detail: str = ""


_UNPROVEN = "the credential is not accepted"


class Answer(NamedTuple):
    """What each wire says for a reason, and what would let the device in. `told` is MQTT 5's reason string."""

    connack: int
    connack5: int
    dps_error: int
    hint: str
    told: str = _UNPROVEN


_BAD_VERSION, _BAD_ID, _UNAVAILABLE, _BAD_CREDENTIALS, _NOT_AUTHORIZED = 1, 2, 3, 4, 5
_UNAUTHORIZED = 401002

_ANSWERS: dict[Reason, Answer] = {
    Reason.PROTOCOL_UNSUPPORTED: Answer(
        _BAD_VERSION,
        0x84,
        400004,
        "connect with MQTT 3.1.1 or MQTT 5 (protocol level 4 or 5)",
        "connect with MQTT 3.1.1 or MQTT 5",
    ),
    Reason.CLIENT_ID_INVALID: Answer(
        _BAD_ID,
        0x85,
        400004,
        "use letters, digits and '-' only, at most 128 of them",
        "the client id is no device id: letters, digits and '-' only, at most 128",
    ),
    Reason.USERNAME_MALFORMED: Answer(
        _BAD_CREDENTIALS,
        0x86,
        _UNAUTHORIZED,
        "send {idScope}/registrations/{id}/api-version=… or {host}/{id}/?api-version=…",
        "the user name is neither provisioning's nor the hub's",
    ),
    Reason.CLIENT_ID_MISMATCH: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "use the same id as client id and in the user name",
        "client id and user name name different devices",
    ),
    Reason.ID_SCOPE_UNKNOWN: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "set the device's ID scope to this gateway's",
        "the ID scope is not this gateway's",
    ),
    Reason.HOST_UNKNOWN: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "dial one of the gateway's own names, or add this one to `hosts` in gateway.yaml",
        "the host in the user name is not this gateway",
    ),
    Reason.MODULE_UNSUPPORTED: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "connect as a device; modules are not served yet",
        "modules are not served",
    ),
    Reason.AUTHENTICATION_METHOD_UNKNOWN: Answer(
        _NOT_AUTHORIZED,
        0x8C,
        _UNAUTHORIZED,
        "use the MQTT 5 authentication method SAS, or none",
        "the method is SAS",
    ),
    Reason.WILL_QOS_UNSUPPORTED: Answer(
        _NOT_AUTHORIZED, 0x9B, _UNAUTHORIZED, "give the will QoS 0 or 1", "a will has QoS 1 at most"
    ),
    Reason.WILL_RETAIN_UNSUPPORTED: Answer(
        _NOT_AUTHORIZED, 0x9A, _UNAUTHORIZED, "don't retain the will", "nothing is retained here"
    ),
    Reason.CREDENTIAL_MISSING: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "send a SAS token as password, or a client certificate",
        "neither a SAS token nor a client certificate",
    ),
    Reason.TOKEN_MALFORMED: Answer(
        _NOT_AUTHORIZED,
        0x86,
        _UNAUTHORIZED,
        "send a SharedAccessSignature with sr, sig and se",
        "the token is no SharedAccessSignature",
    ),
    Reason.TOKEN_RESOURCE_MISMATCH: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "sign a token whose sr names this device here",
        "the token's sr does not name this device here",
    ),
    Reason.TOKEN_KEY_NAME_UNKNOWN: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "leave skn out, or use skn=registration with DPS",
        "the token's skn is not known here",
    ),
    Reason.TOKEN_EXPIRED: Answer(
        _NOT_AUTHORIZED, 0x87, _UNAUTHORIZED, "sign a new token; check the device's clock", "token expired"
    ),
    Reason.TOKEN_SIGNATURE_INVALID: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "derive the device key from an enrollment group's key: gateway device compute-key ID",
    ),
    Reason.CERTIFICATE_MALFORMED: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "send a well-formed X.509 certificate",
        "the certificate is malformed",
    ),
    Reason.CERTIFICATE_NAME_MISMATCH: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "issue a certificate whose subject CN is the device id",
        "the certificate's CN is not the device id",
    ),
    Reason.CERTIFICATE_NOT_YET_VALID: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "wait for its start date; check the clocks",
        "the certificate is not valid yet",
    ),
    Reason.CERTIFICATE_EXPIRED: Answer(
        _NOT_AUTHORIZED, 0x87, _UNAUTHORIZED, "issue a new certificate for the device", "certificate expired"
    ),
    Reason.CERTIFICATE_REVOKED: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "issue a new certificate for the device; or give its CA a newer list: gateway group ca set-crl",
        "certificate revoked",
    ),
    Reason.CERTIFICATE_IS_CA: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "send an end-entity certificate, not a CA's",
        "the certificate is a CA's",
    ),
    Reason.CERTIFICATE_PURPOSE_WRONG: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "issue a certificate that allows clientAuth",
        "the certificate does not allow clientAuth",
    ),
    Reason.CERTIFICATE_WEAK: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "sign with SHA-256 or better; RSA keys need 2048 bits",
        "the certificate's key or signature is too weak",
    ),
    Reason.CERTIFICATE_UNTRUSTED: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "add the issuing CA to an enrollment group, or enroll this certificate individually",
    ),
    Reason.CERTIFICATE_THUMBPRINT_UNKNOWN: Answer(
        _NOT_AUTHORIZED, 0x87, _UNAUTHORIZED, "enroll this certificate as primary or secondary"
    ),
    Reason.TPM_UNKNOWN: Answer(
        _NOT_AUTHORIZED,
        0x87,
        _UNAUTHORIZED,
        "enroll the device's TPM: gateway enrollment update ID --endorsement-key FILE",
    ),
    Reason.ATTESTATION_MISMATCH: Answer(
        _NOT_AUTHORIZED, 0x87, _UNAUTHORIZED, "use the kind of credential that the enrollment names"
    ),
    Reason.ENROLLMENT_MISSING: Answer(
        _NOT_AUTHORIZED, 0x87, _UNAUTHORIZED, "create an enrollment group or an individual enrollment"
    ),
    Reason.ENROLLMENT_DISABLED: Answer(
        _NOT_AUTHORIZED, 0x87, 403003, "enable it: gateway enrollment enable ID", "enrollment disabled"
    ),
    Reason.ENROLLMENT_GROUP_DISABLED: Answer(
        _NOT_AUTHORIZED, 0x87, 403003, "enable it: gateway group enable NAME", "group disabled"
    ),
    Reason.DEVICE_BLOCKED: Answer(
        _NOT_AUTHORIZED, 0x8A, 403003, "unblock it: gateway device unblock ID", "device blocked"
    ),
    Reason.APPROVAL_PENDING: Answer(
        _UNAVAILABLE,
        0x88,
        202000,
        "approve it: gateway device approve ID",
        "waiting for an operator's approval; try again later",
    ),
    Reason.ENROLLMENT_CHANGED: Answer(
        _UNAVAILABLE,
        0x88,
        500001,
        "nothing to do: the device will try again, and be judged by the enrollment as it is now",
        "the enrollment has just changed; try again later",
    ),
    Reason.STORE_UNAVAILABLE: Answer(
        _UNAVAILABLE,
        0x88,
        500001,
        "look at the gateway's store: disk space, permissions",
        "unavailable; try again later",
    ),
    Reason.OVERLOADED: Answer(
        _UNAVAILABLE,
        0x89,
        429001,
        "nothing to do: the device will try again",
        "too many devices at once; try again later",
    ),
    Reason.SHUTTING_DOWN: Answer(
        _UNAVAILABLE,
        0x88,
        500001,
        "nothing to do: the device will try again",
        "the gateway ends; try again later",
    ),
}


def answer_for(reason: Reason) -> Answer:
    """The wire codes and the operator's hint for a reason. Total: every reason has its row."""
    return _ANSWERS[reason]
