"""What `gateway status` says without a running gateway, and of certificates that expire."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from gateway.enrollment.decide import decide
from gateway.identity.evidence import CertificateEvidence
from tests.support.bench import NOW, open_bench
from tests.unit.identity.certificates import DAY, make


async def test_the_store_is_named_without_its_url(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        store = (await bench.call("status"))["store"]
    assert (store["kind"], store["file"]) == ("sqlite", "gateway.db")
    assert store["bytes"] > 0


async def test_the_first_certificate_to_expire_comes_first(tmp_path: Path) -> None:
    server = make("gateway.example.com", start=NOW - DAY, end=NOW + 10 * DAY + 60)
    (tmp_path / "server.crt").write_bytes(server.certificate.public_bytes(Encoding.PEM))
    soon = make("Factory", ca=True, start=NOW - DAY, end=NOW + 3 * DAY + 60)
    devices = {"certificate_file": str(tmp_path / "server.crt"), "key_file": "server.key"}
    async with open_bench(tmp_path, devices=devices) as bench:
        pem = soon.certificate.public_bytes(Encoding.PEM).decode()
        await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem)
        found = (await bench.call("status"))["certificates"]
    assert [(each["of"], each["subject"], each["days"]) for each in found] == [
        ("group F", "Factory", 3),
        ("server", "gateway.example.com", 10),
    ]


async def test_devices_certificates_that_were_seen_are_in_the_forecast(tmp_path: Path) -> None:
    ca = make("Factory", ca=True, start=NOW - DAY, end=NOW + 900 * DAY)
    async with open_bench(tmp_path) as bench:
        pem = ca.certificate.public_bytes(Encoding.PEM).decode()
        await bench.call("group.create", name="F", attestation="x509", primary_certificate=pem)
        for number, days in enumerate((5, 40, 400)):
            leaf = make(f"mill-{number}", ca, start=NOW - DAY, end=NOW + days * DAY).certificate
            decide(
                f"mill-{number}", CertificateEvidence(leaf=leaf), individual=None, groups=bench.groups.book,
                known_group=None, now=NOW, leeway_s=0,
            )  # fmt: skip
        assert (await bench.call("status"))["leaves"] == {"verified": 3, "soon": 1, "soonDays": 30}


async def test_a_certificate_that_can_not_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "server.crt").write_text("no certificate")
    devices = {"certificate_file": str(tmp_path / "server.crt"), "key_file": "server.key"}
    async with open_bench(tmp_path, devices=devices) as bench:
        assert (await bench.call("status"))["certificates"] == []
