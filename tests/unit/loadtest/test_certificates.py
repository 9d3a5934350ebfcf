"""Certificates in bulk: what is there is not made again."""

from pathlib import Path

import pytest
from cryptography import x509

from gateway import pki
from gateway.errors import OperationError
from loadtest.certificates import load_certificate, make_certificates


def test_a_second_storm_reuses_them_and_makes_only_what_is_missing(tmp_path: Path) -> None:
    assert make_certificates(tmp_path, ["a", "b"]) == 2
    first = load_certificate(tmp_path, "a")[0]
    assert make_certificates(tmp_path, ["a", "b", "c"]) == 1
    assert load_certificate(tmp_path, "a")[0] == first
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    for device_id in "abc":
        certificate, key = load_certificate(tmp_path, device_id)
        certificate.verify_directly_issued_by(ca)
        assert certificate.public_key() == key.public_key()
    assert (tmp_path / "a.pem").stat().st_mode & 0o077 == 0


def test_many_are_made_by_several_processes_that_tell_how_far_they_are(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    ids = [f"d{number}" for number in range(101)]
    assert make_certificates(tmp_path, ids, told=lambda *progress: told.append(progress)) == 101
    assert told == [(0, 101), (100, 101), (101, 101)]


def test_they_are_signed_by_the_ca_that_is_named(tmp_path: Path) -> None:
    ca = pki.create_ca("Ours")
    (tmp_path / "our.crt").write_bytes(ca.certificate_pem)
    (tmp_path / "our.key").write_bytes(ca.key_pem)
    make_certificates(tmp_path / "cache", ["a"], ca_key_file=tmp_path / "our.key")
    load_certificate(tmp_path / "cache", "a")[0].verify_directly_issued_by(ca.certificate)


def test_what_cannot_be_made_or_read_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"no\.crt: No such file"):
        make_certificates(tmp_path, ["a"], ca_key_file=tmp_path / "no.key")
    make_certificates(tmp_path, ["a"])
    ca = pki.create_ca("Other")
    (tmp_path / "other.crt").write_bytes(ca.certificate_pem)
    (tmp_path / "other.key").write_bytes(ca.key_pem)
    with pytest.raises(OperationError, match="its certificates are of another CA"):
        make_certificates(tmp_path, ["a"], ca_key_file=tmp_path / "other.key")
    (tmp_path / "a.pem").write_text("")
    with pytest.raises(OperationError, match=r"a\.pem: not a certificate and its key"):
        load_certificate(tmp_path, "a")
    with pytest.raises(OperationError, match="too long"):
        make_certificates(tmp_path, ["x" * 65])
