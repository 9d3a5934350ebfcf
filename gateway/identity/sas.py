"""SAS tokens: parse, verify, sign. Pure; the clock is an argument.

`SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={name}]`, the fields in any order. What is signed
is the resource *exactly as it was sent*, a newline, and the expiry: SDKs write `%2F`, `%2f` or a plain `/`, so
normalising before verifying would refuse some of them. (learn.microsoft.com: "Control access to IoT Hub
using SAS"; the SDKs' sources.)
"""

import base64
import binascii
import hmac
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey

__all__ = [
    "KeySlot",
    "SasToken",
    "derive_device_key",
    "dps_resource",
    "hub_resource",
    "names_dps",
    "names_hub",
    "sign",
    "verify",
    "verify_derived",
]

_PREFIX: Final = "SharedAccessSignature "
# Real tokens have 150 to 300 characters; the bound keeps what is hashed for a stranger small.
_MAX_TOKEN: Final = 4096
_FIELDS: Final = frozenset({"sr", "sig", "se", "skn"})
# 12 digits of seconds reach beyond the year 33000; the 13 of a clock in milliseconds, a common slip, are refused.
_MAX_EXPIRY_DIGITS: Final = 12
_SIGNATURE_BYTES: Final = 32  # HMAC-SHA256


class KeySlot(StrEnum):
    """Which of two credentials matched: both are in force at once, so that either can be rolled over."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


_SLOTS: Final = tuple(KeySlot)  # primary first


class SasToken(NamedTuple):
    """A parsed token, not yet verified. `expiry` is in unix seconds.

    `resource` is `resource_as_sent` decoded: compare the one, sign the other. `key_name` is None if the token has no
    `skn`, and empty if it has an empty one, as the Java SDK's have.
    """

    resource_as_sent: str
    resource: str
    signature: bytes
    expiry_as_sent: str
    expiry: int
    key_name: str | None

    @classmethod
    def parse(cls, text: str) -> "SasToken | Refused":
        """Never raises: what is no token is `Refused`.

        Only `%XX` is decoded. A `+` stays one: it is base64 when a client forgets to encode its signature.
        """
        if len(text) > _MAX_TOKEN:
            return Refused(Reason.TOKEN_MALFORMED, f"longer than {_MAX_TOKEN} characters")
        if not text.startswith(_PREFIX) or not text.isascii():
            return Refused(Reason.TOKEN_MALFORMED, "not a SharedAccessSignature")
        fields: dict[str, str] = {}
        for pair in text[len(_PREFIX) :].split("&"):
            name, separator, value = pair.partition("=")
            if not separator or name not in _FIELDS or name in fields:
                return Refused(Reason.TOKEN_MALFORMED, "a field is unknown, repeated or without a value")
            fields[name] = value
        resource_as_sent, expiry_as_sent = fields.get("sr"), fields.get("se", "")
        if not resource_as_sent or "sig" not in fields:
            return Refused(Reason.TOKEN_MALFORMED, "sr or sig is missing")
        if not expiry_as_sent.isdigit() or len(expiry_as_sent) > _MAX_EXPIRY_DIGITS:
            return Refused(Reason.TOKEN_MALFORMED, "se is not a number of seconds")
        try:
            signature = binascii.a2b_base64(_decoded(fields["sig"]), strict_mode=True)
            resource = _decoded(resource_as_sent)
            key_name = _decoded(fields["skn"]) if "skn" in fields else None
        except ValueError:  # UnicodeDecodeError and binascii.Error are ValueErrors
            return Refused(Reason.TOKEN_MALFORMED, "sr, sig or skn can't be decoded")
        if len(signature) != _SIGNATURE_BYTES:
            return Refused(Reason.TOKEN_MALFORMED, "sig is not an HMAC-SHA256")
        return cls(
            resource_as_sent=resource_as_sent,
            resource=resource,
            signature=signature,
            expiry_as_sent=expiry_as_sent,
            expiry=int(expiry_as_sent),
            key_name=key_name,
        )

    def __repr__(self) -> str:
        return f"SasToken(resource={self.resource!r}, expiry={self.expiry}, key_name={self.key_name!r})"


def verify(
    token: SasToken, keys: tuple[SymmetricKey, ...], *, now: float, leeway_s: int = 0
) -> KeySlot | Refused:
    """Which of the keys, primary then secondary, signed the token. `now` is unix seconds.

    The signature is judged before the expiry, so that only who knows a key learns that a token has expired. At its
    expiry second, plus `leeway_s` for clocks that differ, a token is over.
    """
    for slot, key in zip(_SLOTS, keys, strict=False):
        if _is_signed_with(token, key.raw):
            return _expired(token, now, leeway_s) or slot
    return Refused(Reason.TOKEN_SIGNATURE_INVALID)


def verify_derived(
    token: SasToken,
    group_keys: tuple[SymmetricKey, ...],
    registration_id: str,
    *,
    now: float,
    leeway_s: int = 0,
) -> KeySlot | Refused:
    """Like `verify`, with the keys that the device has under the group's: the second is derived only if need be."""
    identity = registration_id.encode()
    for slot, key in zip(_SLOTS, group_keys, strict=False):
        if _is_signed_with(token, hmac.digest(key.raw, identity, "sha256")):
            return _expired(token, now, leeway_s) or slot
    return Refused(Reason.TOKEN_SIGNATURE_INVALID)


def _is_signed_with(token: SasToken, key: bytes) -> bool:
    text = f"{token.resource_as_sent}\n{token.expiry_as_sent}".encode()
    return hmac.compare_digest(hmac.digest(key, text, "sha256"), token.signature)


def _expired(token: SasToken, now: float, leeway_s: int) -> Refused | None:
    if now < token.expiry + leeway_s:
        return None
    return Refused(Reason.TOKEN_EXPIRED, f"expired {now - token.expiry:.0f} s ago")


def _decoded(text: str) -> str:
    """Percent-decode, strictly. Raises `ValueError`.

    The four characters that tokens have to encode are decoded in place: `unquote` takes three times as long.
    """
    if "%" not in text:
        return text
    decoded = text.replace("%2F", "/").replace("%2B", "+").replace("%3D", "=").replace("%2f", "/")
    return unquote(text, errors="strict") if "%" in decoded else decoded


def derive_device_key(group_key: SymmetricKey, registration_id: str) -> SymmetricKey:
    """A device's own key under a group key: HMAC-SHA256(group key, registration id as UTF-8).

    In base64 it is what `az iot central device compute-device-key` prints. (DPS "Symmetric key attestation".)
    """
    return SymmetricKey(hmac.digest(group_key.raw, registration_id.encode(), "sha256"))


def sign(resource_as_sent: str, key: SymmetricKey, expiry: int, key_name: str | None = None) -> str:
    """A token, as a device makes it: `resource_as_sent` is signed and sent as it is given."""
    signature = hmac.digest(key.raw, f"{resource_as_sent}\n{expiry}".encode(), "sha256")
    token = f"{_PREFIX}sr={resource_as_sent}&sig={quote(base64.b64encode(signature), safe='')}&se={expiry}"
    return token if key_name is None else f"{token}&skn={key_name}"


def dps_resource(id_scope: str, registration_id: str) -> str:
    """The `sr` of a DPS token, encoded as most SDKs do (`%2F`)."""
    return quote(f"{id_scope}/registrations/{registration_id}", safe="")


def hub_resource(host: str, device_id: str) -> str:
    """The `sr` of a hub token, encoded as most SDKs do (`%2F`)."""
    return quote(f"{host}/devices/{device_id}", safe="")


def names_dps(token: SasToken, id_scope: str, registration_id: str) -> bool:
    """Whether the token is for this registration: `{idScope}/registrations/{registrationId}`."""
    return token.resource == f"{id_scope}/registrations/{registration_id}"


def names_hub(token: SasToken, hosts: frozenset[str], device_id: str) -> bool:
    """Whether the token is for this device on one of `hosts`, which are in lower case.

    `{host}/devices/{deviceId}`; some clients append `/api-version=…`. Nothing wider (the host alone) and nothing
    narrower (a module, another path below the device) is a device's token here.
    """
    host, _, path = token.resource.partition("/")
    if host.lower() not in hosts:
        return False
    device = f"devices/{device_id}"
    return path == device or path.startswith(f"{device}/api-version=")
