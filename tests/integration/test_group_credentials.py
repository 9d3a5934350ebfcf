"""Keys and CAs of groups, changed under devices that are connected."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from gateway import pki
from gateway.pki import IssuedCertificate
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess


def write(directory: Path, name: str, issued: IssuedCertificate) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(issued.chain_pem)
    key.write_bytes(issued.key_pem)
    return certificate, key


class Factory:
    """A CA, a root or one `below` another, and devices that it signs."""

    def __init__(
        self, gateway: GatewayProcess, directory: Path, name: str, *, below: "Factory | None" = None
    ) -> None:
        self.name = name
        self.ca = pki.create_ca(name) if below is None else pki.create_intermediate(below.ca, name)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.ca.certificate_pem)
        self._gateway = gateway
        self._directory = directory

    def device(self, device_id: str) -> tuple[Path, Path]:
        return write(self._directory, device_id, pki.issue_device(self.ca, device_id))

    def proof(self, code: str) -> Path:
        return write(self._directory, "proof", pki.issue_device(self.ca, code))[0]

    def serial_of(self, device_id: str) -> int:
        file = self._directory / f"{device_id}.crt"
        return x509.load_pem_x509_certificate(file.read_bytes()).serial_number

    def revocation_list(self, *serials: int) -> Path:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.ca.certificate.subject)
        builder = builder.last_update(now - timedelta(minutes=1)).next_update(now + timedelta(days=1))
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        file = self._directory / "ca.crl"
        file.write_bytes(builder.sign(self.ca.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return file

    def connect(self, device_id: str) -> tuple[Device, int]:
        """With a new certificate; `connect_again` shows the same once more."""
        self.device(device_id)
        return self.connect_again(device_id)

    def connect_again(self, device_id: str) -> tuple[Device, int]:
        certificate, key = self._directory / f"{device_id}.crt", self._directory / f"{device_id}.key"
        device = Device.tls(self._gateway.setup, certificate=certificate, key=key)
        return device, device.connect(device_id, f"localhost/{device_id}/?api-version=2021-04-12")


@pytest.fixture
def group(gateway: GatewayProcess) -> Iterator[str]:
    gateway.cli("group", "create", "Factory", "--type", "x509")
    yield "Factory"
    gateway.cli("group", "delete", "Factory")


def test_a_ca_lets_devices_in_once_it_is_proved_and_none_once_it_is_removed(
    gateway: GatewayProcess, group: str, tmp_path: Path
) -> None:
    factory = Factory(gateway, tmp_path, "Factory CA")
    other = Factory(gateway, tmp_path, "Other CA")
    gateway.cli("group", "ca", "set", group, "primary", factory.file)
    gateway.cli("group", "ca", "set", group, "secondary", other.file, "--verified")
    early, code = factory.connect("pressed-1")
    with early:
        assert code == 5
    proof = factory.proof(gateway.cli("group", "ca", "code", group, "primary").stdout.strip())
    gateway.cli("group", "ca", "verify", group, "primary", proof)
    device, code = factory.connect("pressed-1")
    neighbour, neighbour_code = other.connect("milled-1")
    with device, neighbour:
        assert (code, neighbour_code) == (0, 0)
        removed = gateway.json("group", "ca", "remove", group, "primary")
        assert removed["closedSessions"] == 1
        assert device.is_closed()
        gateway.wait_for("session.closed", device_id="pressed-1", reason="enrollment_changed")
        again, code = factory.connect_again("pressed-1")
        with again:
            assert code == 5  # this very leaf was verified a moment ago, and is forgotten
        gateway.wait_for("connect.refused", device_id="pressed-1", reason="certificate_untrusted")
        assert gateway.json("device", "show", "milled-1")["connected"] is True


def test_a_revocation_list_closes_the_sessions_of_what_it_names_and_refuses_it_until_it_is_removed(
    gateway: GatewayProcess, group: str, tmp_path: Path
) -> None:
    factory = Factory(gateway, tmp_path, "Revoking CA")
    gateway.cli("group", "ca", "set", group, "primary", factory.file, "--verified")
    stolen, code = factory.connect("stolen-1")
    good, good_code = factory.connect("good-1")
    with stolen, good:
        assert (code, good_code) == (0, 0)
        certificate = (tmp_path / "stolen-1.crt").rename(tmp_path / "revoked.crt")
        key = (tmp_path / "stolen-1.key").rename(tmp_path / "revoked.key")
        serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        crl = factory.revocation_list(serial)

        told = gateway.json("group", "ca", "set-crl", group, "primary", crl)

        assert told["closedSessions"] == 1
        assert told["primaryCertificate"]["revocationList"]["revoked"] == 1
        assert stolen.is_closed()
        assert gateway.json("device", "show", "good-1")["connected"] is True
        with Device.tls(gateway.setup, certificate=certificate, key=key) as again:
            assert again.connect("stolen-1", "localhost/stolen-1/?api-version=2021-04-12") == 5
        gateway.wait_for("connect.refused", device_id="stolen-1", reason="certificate_revoked")
        replaced, code = factory.connect("stolen-1")  # a new certificate for the same device
        with replaced:
            assert code == 0
    gateway.cli("group", "ca", "remove-crl", group, "primary")
    with Device.tls(gateway.setup, certificate=certificate, key=key) as back:
        assert back.connect("stolen-1", "localhost/stolen-1/?api-version=2021-04-12") == 0


def test_an_intermediate_s_list_closes_what_came_in_by_the_root_above_it_and_need_not_be_trusted_for_that(
    gateway: GatewayProcess, group: str, tmp_path: Path
) -> None:
    root = Factory(gateway, tmp_path, "Root CA")
    line = Factory(gateway, tmp_path, "Line CA", below=root)
    gateway.cli("group", "ca", "set", group, "primary", root.file, "--verified")
    stolen, code = line.connect("stolen-2")
    good, good_code = line.connect("good-2")
    with stolen, good:
        assert (code, good_code) == (0, 0)
        gateway.cli("group", "ca", "set", group, "secondary", line.file)
        crl = line.revocation_list(line.serial_of("stolen-2"))
        assert gateway.json("group", "ca", "set-crl", group, "secondary", crl)["closedSessions"] == 1
        assert stolen.is_closed()
        assert gateway.json("device", "show", "good-2")["connected"] is True
        again, code = line.connect_again("stolen-2")
        with again:
            assert code == 5
        gateway.wait_for("connect.refused", device_id="stolen-2", reason="certificate_revoked")
        taken_back = root.revocation_list(line.ca.certificate.serial_number)
        assert gateway.json("group", "ca", "set-crl", group, "primary", taken_back)["closedSessions"] == 1
        assert good.is_closed()


def test_a_regenerated_key_closes_who_came_in_by_it_and_refuses_them(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    gateway.cli("group", "create", "Rolling")
    keys = gateway.json("group", "show", "Rolling", "--keys")
    old, lasting = Fleet(gateway.setup, keys["primaryKey"]), Fleet(gateway.setup, keys["secondaryKey"])
    with old.hub("rolled-1") as device, lasting.hub("rolled-2"):
        assert gateway.json("group", "regenerate-key", "Rolling", "primary")["closedSessions"] == 1
        assert device.is_closed()
        assert gateway.json("device", "show", "rolled-2")["connected"] is True
    with Device.plain(gateway.setup) as refused:
        assert refused.connect("rolled-1", *old.hub_login("rolled-1")) == 5
    renewed = Fleet(gateway.setup, gateway.json("group", "show", "Rolling", "--keys")["primaryKey"])
    with renewed.hub("rolled-1"):
        pass
    gateway.cli("group", "delete", "Rolling")
