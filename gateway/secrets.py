"""Values that must never print.

`SymmetricKey` holds a SAS key. Its `repr` and `str` are the same few characters whatever the key, so
that a log line, a traceback or an assertion message can't give it away.
"""

import base64
import binascii
import secrets as _secrets

__all__ = ["REDACTED", "SymmetricKey"]

REDACTED = "[redacted]"


class SymmetricKey:
    """The raw bytes of a SAS key.

    `raw` is what HMAC takes; `base64` is what people and devices exchange. DPS accepts keys of 16 to 64
    bytes (learn.microsoft.com, iot-dps "Symmetric key attestation").
    """

    __slots__ = ("raw",)

    MIN_BYTES = 16
    MAX_BYTES = 64

    def __init__(self, raw: bytes) -> None:
        """Raise `ValueError` if `raw` is not 16 to 64 bytes long."""
        if not self.MIN_BYTES <= len(raw) <= self.MAX_BYTES:
            raise ValueError(
                f"a symmetric key has {self.MIN_BYTES} to {self.MAX_BYTES} bytes, not {len(raw)}"
            )
        self.raw = raw

    @classmethod
    def generate(cls) -> "SymmetricKey":
        """A new random key of 64 bytes, the length that Azure generates."""
        return cls(_secrets.token_bytes(64))

    @classmethod
    def from_base64(cls, text: str) -> "SymmetricKey":
        """Raise `ValueError` if `text` is not standard base64 of 16 to 64 bytes."""
        try:
            raw = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("a symmetric key is standard base64") from error
        return cls(raw)

    @property
    def base64(self) -> str:
        return base64.b64encode(self.raw).decode()

    def __repr__(self) -> str:
        return f"SymmetricKey({REDACTED})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymmetricKey) and _secrets.compare_digest(self.raw, other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)
