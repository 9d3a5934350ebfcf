"""Certificates that let nobody in, over real TLS: the handshake takes any, and the gateway judges."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.device import Device
from tests.support.gateway_process import GatewayProcess
from tests.unit.identity.certificates import DAY, Made, authority, make

STARTED = int(time.time())
CA = authority("Judged CA", start=STARTED - 10 * DAY, end=STARTED + 10 * DAY)
ONLY_EXAMPLE_ORG = (x509.NameConstraints([x509.DNSName("example.org")], None), False)
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


def issue(name: str, issuer: Made = CA, **facts: Any) -> Made:
    return make(name, issuer, **{"start": STARTED - DAY, "end": STARTED + DAY, **facts})


def by_line(name: str, **facts: Any) -> list[Made]:
    """What a device sends whose certificate is of an intermediate that has these `facts`."""
    line = issue("Line", CA, **{"ca": True, **facts})
    return [issue(name, line), line]


@pytest.fixture(scope="module")
def judging(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a group that trusts `CA`."""
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    gateway.cli("group", "create", "Judged", "--type", "x509")
    gateway.cli("group", "ca", "set", "Judged", "primary", file, "--verified")
    yield gateway
    gateway.cli("group", "delete", "Judged")


def connect(
    gateway: GatewayProcess, directory: Path, device_id: str, leaf: Made, *more: Made
) -> tuple[Device, int]:
    certificate, key = directory / "leaf.crt", directory / "leaf.key"
    certificate.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (leaf, *more)))
    key.write_bytes(leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    device = Device.tls(gateway.setup, certificate=certificate, key=key)
    return device, device.connect(device_id, f"localhost/{device_id}/?api-version=2021-04-12")


JUDGED: dict[str, tuple[str, Callable[[str], list[Made]]]] = {
    "expired": ("certificate_expired", lambda name: [issue(name, end=STARTED - 60)]),
    "too-early": ("certificate_not_yet_valid", lambda name: [issue(name, start=STARTED + 3600)]),
    "a-server": ("certificate_purpose_wrong", lambda name: [issue(name, purposes=[SERVER_AUTH])]),
    "a-ca": ("certificate_is_ca", lambda name: [issue(name, ca=True)]),
    "another": ("certificate_name_mismatch", lambda name: [issue(f"not-{name}")]),
    "another-ca": ("certificate_untrusted", lambda name: [issue(name, authority("Judged CA"))]),
    "expired-line": ("certificate_expired", lambda name: by_line(name, end=STARTED - 60)),
    "constrained": ("certificate_untrusted", lambda name: by_line(name, extensions=[ONLY_EXAMPLE_ORG])),
    "no-ca": ("certificate_untrusted", lambda name: by_line(name, ca=None)),
}


@pytest.mark.parametrize("device_id", JUDGED)
def test_a_certificate_with_a_fault_is_refused_over_tls_and_registers_nothing(
    judging: GatewayProcess, tmp_path: Path, device_id: str
) -> None:
    reason, shown = JUDGED[device_id]
    device, code = connect(judging, tmp_path, device_id, *shown(device_id))
    with device:
        assert code == 5
        assert device.is_closed()
    judging.wait_for("connect.refused", device_id=device_id, reason=reason)
    assert judging.cli("device", "show", device_id, check=False).returncode != 0


def test_a_session_ends_when_a_certificate_of_its_chain_expires(
    judging: GatewayProcess, tmp_path: Path
) -> None:
    shown = by_line("ends-1", end=int(time.time()) + 4)
    device, code = connect(judging, tmp_path, "ends-1", *shown)
    with device:
        assert code == 0
        assert device.is_closed()
    judging.wait_for("session.closed", device_id="ends-1", reason="certificate_expired")
