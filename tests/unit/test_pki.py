"""What the development CA issues, judged by those who will meet it."""

import ipaddress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateway import pki
from gateway.identity.evidence import CertificateEvidence
from gateway.identity.x509 import (
    TrustAnchor,
    TrustAnchors,
    VerifiedChain,
    check_leaf,
    common_name,
    proves_possession,
    verify_chain,
)

NOW = 1_700_000_000
DAY = 86_400
CA = pki.create_ca("Development CA", now=NOW, days=100)


def lifetime(certificate: x509.Certificate) -> tuple[float, float]:
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def chain_of(leaf: pki.IssuedCertificate, ca: pki.IssuedCertificate) -> VerifiedChain:
    chain = verify_chain(
        CertificateEvidence(leaf=leaf.certificate, intermediates=leaf.chain),
        TrustAnchors([TrustAnchor(id="development", certificate=ca.certificate)]),
        now=NOW,
    )
    assert isinstance(chain, VerifiedChain), chain
    return chain


@pytest.mark.parametrize("key", ["p256", "rsa2048"])
def test_issued_device_is_let_in_by_its_ca(key: pki.KeyKind) -> None:
    leaf = pki.issue_device(CA, "mill-1", now=NOW, key=key)
    assert check_leaf(leaf.certificate, "mill-1", now=NOW) is None
    assert chain_of(leaf, CA).depth == 0


def test_device_below_intermediates_brings_them_along_without_the_root() -> None:
    factory = pki.create_intermediate(CA, "Factory", now=NOW)
    line = pki.create_intermediate(factory, "Line", now=NOW)
    leaf = pki.issue_device(line, "mill-1", now=NOW)
    assert leaf.chain == (line.certificate, factory.certificate)
    assert x509.load_pem_x509_certificates(leaf.chain_pem) == [
        leaf.certificate,
        line.certificate,
        factory.certificate,
    ]
    assert chain_of(leaf, CA).depth == 2
    assert chain_of(leaf, line).depth == 0


def test_self_signed_device_names_itself_as_issuer() -> None:
    leaf = pki.self_signed_device("mill-1", now=NOW)
    assert check_leaf(leaf.certificate, "mill-1", now=NOW) is None
    assert leaf.certificate.issuer == leaf.certificate.subject
    leaf.certificate.verify_directly_issued_by(leaf.certificate)
    assert leaf.chain == ()


def test_device_id_longer_than_a_common_name_is_an_error() -> None:
    pki.issue_device(CA, "a" * 64, now=NOW)
    with pytest.raises(ValueError):
        pki.issue_device(CA, "a" * 65, now=NOW)


@pytest.mark.parametrize("key", ["p256", "rsa2048"])
def test_server_is_trusted_by_its_names_and_addresses_only(key: pki.KeyKind) -> None:
    server = pki.issue_server(CA, ["gateway.example.com", "localhost", "127.0.0.1", "::1"], now=NOW, key=key)
    policy = PolicyBuilder().store(Store([CA.certificate])).time(datetime.fromtimestamp(NOW, UTC))
    for name in (
        x509.DNSName("gateway.example.com"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ):
        assert policy.build_server_verifier(name).verify(server.certificate, [])
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("elsewhere.example.com")).verify(server.certificate, [])


def test_server_with_a_name_too_long_for_a_common_name_is_issued() -> None:
    host = f"{'a' * 60}.{'b' * 60}.example.com"
    names = pki.issue_server(CA, [host], now=NOW).certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == [host]


def test_server_without_a_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="host name"):
        pki.issue_server(CA, [], now=NOW)


@pytest.mark.parametrize(
    ("issued", "is_ca", "purposes"),
    [
        (CA, True, None),
        (pki.create_intermediate(CA, "Factory", now=NOW), True, None),
        (pki.issue_device(CA, "mill-1", now=NOW), False, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (pki.self_signed_device("mill-1", now=NOW), False, {ExtendedKeyUsageOID.CLIENT_AUTH}),
        (pki.issue_server(CA, ["localhost"], now=NOW), False, {ExtendedKeyUsageOID.SERVER_AUTH}),
    ],
    ids=["ca", "intermediate", "device", "self-signed", "server"],
)
def test_each_certificate_says_what_it_is_for(
    issued: pki.IssuedCertificate, is_ca: bool, purposes: set[x509.ObjectIdentifier] | None
) -> None:
    extensions = issued.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (is_ca, True)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.value.key_cert_sign, usage.value.digital_signature, usage.critical) == (is_ca, True, True)
    if purposes is None:
        with pytest.raises(x509.ExtensionNotFound):
            extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    else:
        assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == purposes


def test_key_identifiers_lead_from_each_certificate_to_its_issuer() -> None:
    factory = pki.create_intermediate(CA, "Factory", now=NOW)
    leaf = pki.issue_device(factory, "mill-1", now=NOW)
    for below, above in ((leaf, factory), (factory, CA), (CA, CA)):
        authority = below.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        subject = above.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert authority.value.key_identifier == subject.value.digest


def test_ca_from_elsewhere_is_named_by_its_own_key_identifier() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Elsewhere")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(NOW - DAY, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + DAY, UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    for own_identifier in (b"its own way", None):
        if own_identifier is not None:
            built = builder.add_extension(x509.SubjectKeyIdentifier(own_identifier), critical=False)
        else:
            built = builder
        certificate = built.sign(key, hashes.SHA256())
        elsewhere = pki.IssuedCertificate(certificate=certificate, key=key)
        assert chain_of(pki.issue_device(elsewhere, "mill-1", now=NOW), elsewhere).depth == 0


def test_certificate_starts_a_little_early_and_lasts_its_days() -> None:
    assert lifetime(CA.certificate) == (NOW - 300, NOW + 100 * DAY)
    assert lifetime(pki.issue_device(CA, "mill-1", now=NOW, days=7).certificate) == (NOW - 300, NOW + 7 * DAY)


def test_nothing_outlives_its_issuer() -> None:
    factory = pki.create_intermediate(CA, "Factory", now=NOW, days=1000)
    assert lifetime(factory.certificate)[1] == lifetime(CA.certificate)[1]
    assert lifetime(pki.issue_device(factory, "mill-1", now=NOW).certificate)[1] == NOW + 100 * DAY


def test_expired_ca_issues_nothing() -> None:
    with pytest.raises(ValueError):
        pki.issue_device(CA, "mill-1", now=NOW + 101 * DAY)


def test_each_certificate_has_its_own_serial_number_and_key() -> None:
    one, other = (pki.issue_device(CA, "mill-1", now=NOW) for _ in range(2))
    assert one.certificate.serial_number != other.certificate.serial_number
    assert one.certificate.public_key() != other.certificate.public_key()


def test_key_comes_as_pem_and_is_the_certificates() -> None:
    for kind, expected in (("p256", ec.EllipticCurvePrivateKey), ("rsa2048", rsa.RSAPrivateKey)):
        issued = pki.create_ca("CA", now=NOW, key=kind)
        key = load_pem_private_key(issued.key_pem, password=None)
        assert isinstance(key, expected)
        assert key.public_key() == issued.certificate.public_key()
        assert x509.load_pem_x509_certificate(issued.certificate_pem) == issued.certificate


def test_key_does_not_show() -> None:
    assert "key" not in repr(CA)


def test_verification_code_is_signed_like_a_device() -> None:
    assert proves_possession(pki.issue_device(CA, "CODE", now=NOW).certificate, CA.certificate, "CODE")


# --- A CA from files


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_ca_is_read_back_from_its_files(kind: pki.KeyKind) -> None:
    ca = pki.create_ca("CA", now=NOW, key=kind)
    again = pki.load_ca(ca.certificate_pem, ca.key_pem)
    assert common_name(again.certificate) == "CA"
    assert chain_of(pki.issue_device(again, "mill-1", now=NOW), ca).depth == 0


def encrypted(ca: pki.IssuedCertificate) -> bytes:
    return ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


LEAF = pki.issue_device(CA, "mill-1", now=NOW)


@pytest.mark.parametrize(
    ("certificate_pem", "key_pem"),
    [
        (b"", b""),
        (b"not PEM", CA.key_pem),
        (CA.certificate_pem, b"not PEM"),
        (CA.certificate_pem, CA.certificate_pem),
        (CA.certificate_pem, LEAF.key_pem),
        (CA.certificate_pem, encrypted(CA)),
        (LEAF.certificate_pem, LEAF.key_pem),
    ],
    ids=[
        "empty",
        "no certificate",
        "no key",
        "a certificate as key",
        "another's key",
        "encrypted key",
        "a leaf",
    ],
)
def test_what_is_no_ca_with_its_key_is_an_error(certificate_pem: bytes, key_pem: bytes) -> None:
    with pytest.raises(ValueError):
        pki.load_ca(certificate_pem, key_pem)
