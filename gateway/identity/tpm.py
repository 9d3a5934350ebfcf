"""TPM attestation: the service's side of the TPM 2.0 protocols that Azure's provisioning service uses. Pure.

A device shows its endorsement key (EK), which an operator enrolled, and its storage root key (SRK). The gateway answers
with a symmetric key that only that TPM can unwrap: the *activation blob*. It is the concatenation of

    TPM2B_ID_OBJECT          the inner wrapping key, for the EK, bound to the SRK's name     TPM2_MakeCredential
    TPM2B_ENCRYPTED_SECRET   the seed of the above, encrypted to the EK
    TPM2B_PRIVATE            the key, wrapped twice: by the inner key, then for the SRK      TPM2_Duplicate
    TPM2B_ENCRYPTED_SECRET   the seed of the outer wrapping, encrypted to the SRK
    TPM2B_PUBLIC             the key's public area: HMAC-SHA256
    TPM2B_DATA               which resource is to be signed; no device SDK looks at it

The device runs ActivateCredential, Import and Load on it; from then on its TPM signs SAS tokens with a key that never
leaves it. The same form carries the key of the challenge and the one for the hub.

Sources: TCG "TPM 2.0 Library", part 1 (sections 11.4 KDFa, 23 duplication, 24 credential protection, annex B.4 RSA),
part 2 (structures); the device's side in Microsoft's device SDKs for C (`prov_auth_client`), Node
(`azure-iot-security-tpm`) and .NET (`SecurityProviderTpmHsm`).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

try:  # it moved in cryptography 47
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

from gateway.secrets import SymmetricKey

__all__ = [
    "HMAC_KEY_BYTES",
    "MAX_PUBLIC_BYTES",
    "StorageKey",
    "TpmChallenges",
    "TpmError",
    "make_activation_blob",
]

MAX_PUBLIC_BYTES: Final = 1024
"""A TPM2B_PUBLIC of RSA-2048 has 316 bytes with a policy, 284 without."""
HMAC_KEY_BYTES: Final = 32
"""What the TPM signs with: HMAC-SHA256."""

# TPM 2.0 Library, part 2: TPM_ALG_ID (table 9) and TPMA_OBJECT (section 8.3)
_ALG_RSA: Final = 0x0001
_ALG_HMAC: Final = 0x0005
_ALG_AES: Final = 0x0006
_ALG_KEYEDHASH: Final = 0x0008
_ALG_SHA256: Final = 0x000B
_ALG_NULL: Final = 0x0010
_ALG_CFB: Final = 0x0043
_FIXED_TPM: Final = 1 << 1
_FIXED_PARENT: Final = 1 << 4
_SENSITIVE_DATA_ORIGIN: Final = 1 << 5
_USER_WITH_AUTH: Final = 1 << 6
_NO_DICTIONARY_ATTACK: Final = 1 << 10
_RESTRICTED: Final = 1 << 16
_DECRYPT: Final = 1 << 17
_SIGN: Final = 1 << 18
_STORAGE_KEY: Final = _FIXED_TPM | _FIXED_PARENT | _SENSITIVE_DATA_ORIGIN | _RESTRICTED | _DECRYPT
"""Made in its TPM, never to leave it, and fit for nothing but unwrapping: what both EK and SRK have to be."""
_CC_DUPLICATE: Final = 0x0000014B
_CC_POLICY_COMMAND_CODE: Final = 0x0000016C

_RSA_BITS: Final = 2048
_AES_BITS: Final = 128
_DEFAULT_EXPONENT: Final = 65537  # the wire says 0
_DIGEST_BYTES: Final = 32  # SHA-256
_ZERO_IV: Final = bytes(16)

_POLICY_DUPLICATE: Final = hashlib.sha256(
    bytes(_DIGEST_BYTES) + _CC_POLICY_COMMAND_CODE.to_bytes(4, "big") + _CC_DUPLICATE.to_bytes(4, "big")
).digest()


class TpmError(ValueError):
    """The bytes are not the TPM structure that is wanted. `str()` says why, for an operator."""


@dataclass(frozen=True, slots=True)
class StorageKey:
    """An EK or SRK: the public area of an RSA-2048 storage key with SHA-256 and AES-128-CFB.

    `public` is the TPM2B_PUBLIC as the TPM wrote it: two keys are the same if these bytes are.
    """

    public: bytes
    modulus: int = field(repr=False, compare=False)
    exponent: int = field(repr=False, compare=False)

    @classmethod
    def parse(cls, public: bytes) -> "StorageKey":
        """Raise `TpmError` for anything but the whole TPM2B_PUBLIC of such a key."""
        if len(public) > MAX_PUBLIC_BYTES:
            raise TpmError(f"longer than {MAX_PUBLIC_BYTES} bytes")
        outer = _Reader(public)
        area = _Reader(outer.sized("the public area"))
        outer.end()
        area.expect(_ALG_RSA, "not an RSA key")
        area.expect(_ALG_SHA256, "its name algorithm is not SHA-256")
        attributes = area.uint32()
        if attributes & _STORAGE_KEY != _STORAGE_KEY or attributes & _SIGN:
            raise TpmError("not a restricted storage key that was made in its TPM and never leaves it")
        if len(area.sized("the policy")) not in (0, _DIGEST_BYTES):
            raise TpmError("its policy is not a SHA-256 digest")
        area.expect(_ALG_AES, "it does not wrap with AES")
        area.expect(_AES_BITS, "it does not wrap with AES-128")
        area.expect(_ALG_CFB, "it does not wrap in CFB mode")
        area.expect(_ALG_NULL, "a storage key has no scheme")
        area.expect(_RSA_BITS, f"not an RSA key of {_RSA_BITS} bits")
        exponent = area.uint32() or _DEFAULT_EXPONENT
        modulus = int.from_bytes(area.sized("the modulus"), "big")
        area.end()
        if modulus.bit_length() != _RSA_BITS or not modulus % 2 or exponent != _DEFAULT_EXPONENT:
            raise TpmError(f"not an RSA-{_RSA_BITS} public key with the exponent {_DEFAULT_EXPONENT}")
        return cls(bytes(public), modulus, exponent)

    @classmethod
    def from_base64(cls, text: str) -> "StorageKey":
        """Likewise, from standard base64."""
        try:
            return cls.parse(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            if isinstance(error, TpmError):
                raise
            raise TpmError("not base64") from None

    @property
    def base64(self) -> str:
        return base64.b64encode(self.public).decode()

    @property
    def name(self) -> bytes:
        """The TPM's own name of the key: the hash algorithm, and the digest of the public area."""
        return _name(self.public[2:])

    @property
    def registration_id(self) -> str:
        """The id that SDKs give a device with this EK by default: base32 of its SHA-256, lower case, unpadded."""
        return base64.b32encode(hashlib.sha256(self.public).digest()).decode().lower().rstrip("=")

    def encrypt_seed(self, seed: bytes, label: bytes) -> bytes:
        """RSA-OAEP with SHA-256 and a label that ends in a zero byte (part 1, annex B.4)."""
        key = rsa.RSAPublicNumbers(self.exponent, self.modulus).public_key()
        mgf = padding.MGF1(hashes.SHA256())
        return key.encrypt(seed, padding.OAEP(mgf, hashes.SHA256(), label + b"\0"))


def make_activation_blob(
    key: SymmetricKey, *, endorsement: StorageKey, storage_root: StorageKey, resource: str
) -> bytes:
    """Wrap `key` so that only the TPM that holds both storage keys can use it, and nobody can take it out.

    `resource` is what the key is for: `{idScope}/registrations/{id}`, or `{hub}/devices/{id}`.
    """
    seed_value = secrets.token_bytes(_DIGEST_BYTES)
    public = _hmac_public(hashlib.sha256(seed_value + key.raw).digest())
    sensitive = _sized(_uint16(_ALG_KEYEDHASH) + _sized(b"") + _sized(seed_value) + _sized(key.raw))
    name = _name(public)

    inner_key = secrets.token_bytes(_AES_BITS // 8)
    checked = _sized(hashlib.sha256(sensitive + name).digest()) + sensitive
    wrapped = _aes_cfb(inner_key, checked)
    seed = secrets.token_bytes(_DIGEST_BYTES)
    duplicate = _protect(seed, name, wrapped)

    credential_seed = secrets.token_bytes(_DIGEST_BYTES)
    credential = _protect(credential_seed, storage_root.name, _sized(inner_key))
    return b"".join(
        map(
            _sized,
            (
                credential,
                endorsement.encrypt_seed(credential_seed, b"IDENTITY"),
                duplicate,
                storage_root.encrypt_seed(seed, b"DUPLICATE"),
                public,
                _aes_cfb(inner_key, resource.encode()),
            ),
        )
    )


class TpmChallenges:
    """The keys with which a TPM proves itself. No state: a key is derived from what it is for, and from the time.

    So nobody can fill a table with challenges, or push another device's out of it. A key is good for the rest of the
    period it was made in and for the next one, `period_s` to twice that. `secret` is random, and new at every start.
    """

    def __init__(self, secret: bytes, *, period_s: int) -> None:
        self._secret = secret
        self._period_s = period_s

    def current(self, registration_id: str, endorsement: StorageKey, *, now: float) -> SymmetricKey:
        """The key to challenge with at `now` (unix seconds)."""
        return self._key(registration_id, endorsement, int(now // self._period_s))

    def accepted(
        self, registration_id: str, endorsement: StorageKey, *, now: float
    ) -> tuple[SymmetricKey, SymmetricKey]:
        """The keys that a token may be signed with at `now`, the newer first."""
        period = int(now // self._period_s)
        newer, older = (self._key(registration_id, endorsement, each) for each in (period, period - 1))
        return newer, older

    def _key(self, registration_id: str, endorsement: StorageKey, period: int) -> SymmetricKey:
        # Of fixed length before the one part of any length, so that no two inputs are written alike.
        text = period.to_bytes(8, "big", signed=True) + endorsement.name + registration_id.encode()
        return SymmetricKey(hmac.digest(self._secret, text, "sha256"))


def _hmac_public(unique: bytes) -> bytes:
    """The TPMT_PUBLIC of an HMAC-SHA256 key that may be used without authorization, and duplicated by policy only."""
    return (
        _uint16(_ALG_KEYEDHASH)
        + _uint16(_ALG_SHA256)
        + (_SIGN | _USER_WITH_AUTH | _NO_DICTIONARY_ATTACK).to_bytes(4, "big")
        + _sized(_POLICY_DUPLICATE)
        + _uint16(_ALG_HMAC)
        + _uint16(_ALG_SHA256)
        + _sized(unique)
    )


def _protect(seed: bytes, name: bytes, plain: bytes) -> bytes:
    """Encrypt and authenticate under a seed, bound to a name: alike for credentials and for duplicates."""
    encrypted = _aes_cfb(_kdfa(seed, b"STORAGE", name, _AES_BITS), plain)
    integrity = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", _DIGEST_BYTES * 8), encrypted + name, "sha256")
    return _sized(integrity) + encrypted


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa (part 1, section 11.4.10.2) with SHA-256, for at most one digest; the second context is empty."""
    text = (1).to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
    return hmac.digest(key, text, "sha256")[: bits // 8]


def _aes_cfb(key: bytes, plain: bytes) -> bytes:
    """AES in CFB mode with an initial value of zeros, as TPMs do it: every key is used once."""
    encryptor = Cipher(algorithms.AES(key), CFB(_ZERO_IV)).encryptor()
    return encryptor.update(plain) + encryptor.finalize()


def _name(public_area: bytes) -> bytes:
    return _uint16(_ALG_SHA256) + hashlib.sha256(public_area).digest()


def _uint16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _sized(data: bytes) -> bytes:
    return _uint16(len(data)) + data


class _Reader:
    """Reads big-endian fields off the front; raises `TpmError` where they end too soon."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise TpmError("it is cut short")
        self._at += count
        return taken

    def uint16(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def uint32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def expect(self, value: int, otherwise: str) -> None:
        if self.uint16() != value:
            raise TpmError(otherwise)

    def sized(self, what: str) -> bytes:
        """A TPM2B: its size, then its bytes."""
        size = self.uint16()
        if size > len(self._data) - self._at:
            raise TpmError(f"{what} is cut short")
        return self._take(size)

    def end(self) -> None:
        if self._at != len(self._data):
            raise TpmError("more bytes follow than belong to it")
