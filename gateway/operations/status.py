"""`status`: the gateway on one screen, and which certificates expire soon."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from gateway import __version__
from gateway.catalog import TemplateCatalog
from gateway.enrollment.models import SigningCertificates
from gateway.groups import Groups
from gateway.identity.x509 import common_name
from gateway.operations.documents import timestamp
from gateway.operations.sessions import NullSessions, Sessions
from gateway.registry.device import Status
from gateway.registry.registry import Registry
from gateway.settings import Settings
from gateway.vitals import Vitals

__all__ = ["StatusOperations"]

_DAY_S: Final = 86_400
_SOON_DAYS: Final = 30


class StatusOperations:
    """`status`"""

    def __init__(
        self,
        *,
        registry: Registry,
        groups: Groups,
        catalog: TemplateCatalog,
        sessions: Sessions,
        settings: Settings,
        vitals: Vitals | None,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._groups = groups
        self._catalog = catalog
        self._sessions = sessions
        self._settings = settings
        self._vitals = vitals
        self._clock = clock

    async def show(self) -> dict[str, Any]:
        """What the gateway holds and how it is doing: sessions, rates, refusals, registrar, store, sinks, certificates."""
        counted = await self._registry.counts()
        now, vitals = self._clock(), self._vitals
        return {
            "running": not isinstance(self._sessions, NullSessions),
            "version": __version__,
            "idScope": self._settings.id_scope,
            "hosts": list(self._settings.hosts),
            "startedAt": timestamp(vitals.started_at) if vitals is not None else None,
            "uptimeS": round(now - vitals.started_at) if vitals is not None else None,
            "sessions": self._sessions.count,
            "devices": {status.value: counted.get(status.value, 0) for status in Status},
            "groups": len(self._groups.list()),
            "templates": len(self._catalog.list()),
            "store": self._store(),
            "certificates": self._certificates(now),
            "leaves": self._leaves(now),
            **(vitals.to_json() if vitals is not None else {}),
        }

    def _store(self) -> dict[str, Any]:
        """Never the URL: it may hold a password."""
        kind = self._settings.store_url.partition(":")[0].partition("+")[0]
        if kind != "sqlite":
            return {"kind": kind, "file": None, "bytes": None}
        file = Path(self._settings.store_url.partition("///")[2])
        size = sum(_size(each) for each in (file, Path(f"{file}-wal")))
        return {"kind": kind, "file": file.name, "bytes": size}

    def _certificates(self, now: float) -> list[dict[str, Any]]:
        """The server's own certificates and the groups' CAs, the first to expire first."""
        found = [
            _expiry("server", certificate, now)
            for certificate in _load(self._settings.devices.certificate_file)
        ]
        for group in self._groups.list():
            if isinstance(group.attestation, SigningCertificates):
                found += [
                    _expiry(f"group {group.id}", ca.certificate, now)
                    for ca in group.attestation.both
                    if ca is not None
                ]
        return sorted(found, key=lambda each: each["days"])

    def _leaves(self, now: float) -> dict[str, Any]:
        """Of the devices' certificates that were verified since the groups last changed: how many expire soon."""
        ends = self._groups.book.leaves.valid_until()
        soon = sum(1 for end in ends if end - now < _SOON_DAYS * _DAY_S)
        return {"verified": len(ends), "soon": soon, "soonDays": _SOON_DAYS}


def _expiry(of: str, certificate: x509.Certificate, now: float) -> dict[str, Any]:
    ends = certificate.not_valid_after_utc.timestamp()
    return {
        "of": of,
        "subject": common_name(certificate) or certificate.subject.rfc4514_string()[:80],
        "notAfter": timestamp(ends),
        "days": int((ends - now) // _DAY_S),
    }


def _load(file: Path) -> list[x509.Certificate]:
    """What is in the file by now: a renewed certificate that the listeners do not use yet shows at the next start."""
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
