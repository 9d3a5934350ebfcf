"""SAS tokens: parse, verify, sign. Pure; the clock is an argument.

`SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={name}]`, the fields in any order. What is signed
is the resource *exactly as it was sent*, a newline, and the expiry: SDKs write `%2F`, `%2f` or a plain `/`, so
normalising before verifying would refuse some of them. (learn.microsoft.com: "Control access to IoT Hub
using SAS"; the SDKs' sources.)
"""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

from gateway.refusals import Reason, Refused
from gateway.secrets import SymmetricKey

__all__ = ["KeySlot", "SasToken", "derive_device_key", "dps_resource", "hub_resource", "names_dps", "names_hub", "sign", "verify"]

_PREFIX: Final = "SharedAccessSignature "
_MAX_TOKEN: Final = 4096
_SIGNATURE_BYTES: Final = 32
_FIELDS: Final = frozenset({"sr", "sig", "se", "skn"})
_MAX_EXPIRY_DIGITS: Final = 12


class KeySlot(StrEnum):
    PRIMARY = "primary"
    SECONDARY = "secondary"


@dataclass(frozen=True, slots=True, kw_only=True)
class SasToken:
    """A parsed token. `expiry` is in unix seconds; `key_name` is None if the token has no `skn`."""

    resource_as_sent: str
    resource: str
    signature: bytes = field(repr=False)
    expiry_as_sent: str
    expiry: int
    key_name: str | None

    @classmethod
    def parse(cls, text: str) -> "SasToken | Refused":
        """Never raises: what is no token is `Refused`."""
        if not text.startswith(_PREFIX) or len(text) > _MAX_TOKEN:
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
        if not (expiry_as_sent.isascii() and expiry_as_sent.isdigit() and len(expiry_as_sent) <= _MAX_EXPIRY_DIGITS):
            return Refused(Reason.TOKEN_MALFORMED, "se is not a number of seconds")
        try:
            signature = base64.b64decode(unquote(fields["sig"], errors="strict"), validate=True)
            resource = unquote(resource_as_sent, errors="strict")
            key_name = unquote(fields["skn"], errors="strict") if "skn" in fields else None
        except (UnicodeError, binascii.Error, ValueError):
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

    @property
    def signed_text(self) -> bytes:
        return f"{self.resource_as_sent}\n{self.expiry_as_sent}".encode()


def verify(
    token: SasToken, keys: tuple[SymmetricKey, ...], *, now: float, leeway_s: int = 0
) -> KeySlot | Refused:
    """Which of the keys (primary, then secondary) signed the token. The signature is judged before the expiry, so
    that only who knows a key learns that a token has expired."""
    text = token.signed_text
    for slot, key in zip(KeySlot, keys, strict=False):
        if hmac.compare_digest(hmac.digest(key.raw, text, "sha256"), token.signature):
            if now >= token.expiry + leeway_s:
                return Refused(Reason.TOKEN_EXPIRED, f"expired {now - token.expiry:.0f} s ago")
            return slot
    return Refused(Reason.TOKEN_SIGNATURE_INVALID)


def derive_device_key(group_key: SymmetricKey, registration_id: str) -> SymmetricKey:
    """base64(HMAC-SHA256(group key, registration id)): what `az iot central device compute-device-key` prints."""
    return SymmetricKey(hmac.digest(group_key.raw, registration_id.encode(), "sha256"))


def sign(resource_as_sent: str, key: SymmetricKey, expiry: int, key_name: str | None = None) -> str:
    """A token, as a device makes it."""
    signature = hmac.digest(key.raw, f"{resource_as_sent}\n{expiry}".encode(), "sha256")
    token = f"{_PREFIX}sr={resource_as_sent}&sig={quote(base64.b64encode(signature), safe='')}&se={expiry}"
    return token if key_name is None else f"{token}&skn={key_name}"


def dps_resource(id_scope: str, registration_id: str) -> str:
    return quote(f"{id_scope}/registrations/{registration_id}", safe="")


def hub_resource(host: str, device_id: str) -> str:
    return quote(f"{host}/devices/{device_id}", safe="")


def names_dps(token: SasToken, id_scope: str, registration_id: str) -> bool:
    """Whether the token is for this registration."""
    return token.resource == f"{id_scope}/registrations/{registration_id}"


def names_hub(token: SasToken, hosts: frozenset[str], device_id: str) -> bool:
    """Whether the token is for this device on one of `hosts` (lower case). More segments may follow."""
    host, _, path = token.resource.partition("/")
    wanted = f"devices/{device_id}"
    return host.lower() in hosts and (path == wanted or path.startswith(f"{wanted}/api-version="))
