"""What a device shows to prove who it is. Values only; judging them is for `sas` and `x509`."""

from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["CertificateEvidence"]


@dataclass(frozen=True, kw_only=True)
class CertificateEvidence:
    """A client certificate whose key TLS has proved possession of, and the certificates sent with it."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...] = ()

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the leaf."""
        return self.leaf.fingerprint(hashes.SHA256())
