"""The TLS channel between a made-up transport and a made-up receiver, with a real TLS client in memory."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from gateway import pki
from gateway.edge.tls import TlsChannel, make_context
from gateway.errors import StartError
from gateway.identity.evidence import CertificateEvidence


class Transport:
    """Remembers what the channel wrote and asked for."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.reading = True
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        data, self.written = bytes(self.written), bytearray()
        return data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("192.0.2.1", 50000)


class Receiver:
    def __init__(self) -> None:
        self.received = b""
        self.version = ""
        self.certificate: CertificateEvidence | None = None
        self.failed = ""
        self.ended = self.lost = False
        self.pause_after: int | None = None
        self.answers: list[bytes | None] = []
        """What to write when data comes; None: close."""
        self.unsent: list[int] = []
        """How much waited to be sent, after each answer and whenever TLS had answered."""
        self.bound: int | None = None
        self.channel: TlsChannel | None = None

    def tls_established(self, version: str, certificate: CertificateEvidence | None) -> None:
        self.version, self.certificate = version, certificate

    def tls_failed(self, detail: str) -> None:
        self.failed = detail

    def data_received(self, data: bytes) -> None:
        self.received += data
        for answer in self.answers:
            assert self.channel is not None
            if answer is None:
                self.channel.close()
            else:
                self.channel.write(answer)
                self.unsent.append(self.channel.get_write_buffer_size())
        if self.pause_after is not None and len(self.received) >= self.pause_after:
            assert self.channel is not None
            self.channel.pause_reading()

    def tls_answered(self) -> None:
        assert self.channel is not None
        self.unsent.append(self.channel.get_write_buffer_size())
        if self.bound is not None and self.unsent[-1] > self.bound:
            self.channel.abort()

    def eof_received(self) -> bool | None:
        self.ended = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class Wire:
    """A TLS client and our channel, wired together by hand."""

    def __init__(self, context: SSL.Context, client_context: SSL.Context | None = None) -> None:
        self.transport, self.receiver = Transport(), Receiver()
        self.channel = TlsChannel(context, lambda _channel, _transport: self.receiver)
        self.receiver.channel = self.channel
        self.channel.connection_made(self.transport)  # type: ignore[arg-type]
        self.client = SSL.Connection(client_context or a_client(), None)
        self.client.set_connect_state()

    def shake_hands(self) -> None:
        for _ in range(4):
            with suppress(SSL.WantReadError):
                self.client.do_handshake()
            self.client_to_gateway()
            self.gateway_to_client()

    def client_to_gateway(self, *, by: int = 1 << 20) -> None:
        data = drain(self.client)
        for start in range(0, len(data), by):
            self.channel.data_received(data[start : start + by])

    def gateway_to_client(self) -> None:
        data = self.transport.take()
        if data:
            self.client.bio_write(data)


def drain(engine: SSL.Connection) -> bytes:
    data = b""
    while True:
        try:
            data += engine.bio_read(65536)
        except SSL.WantReadError:
            return data


def a_client(identity: pki.IssuedCertificate | None = None, *, newest: int | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    if newest is not None:
        context.set_max_proto_version(newest)
    if identity is not None:
        context.use_privatekey(identity.key)
        context.use_certificate(identity.certificate)
        for intermediate in identity.chain:
            context.add_extra_chain_cert(intermediate)
    return context


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> SSL.Context:
    return a_server(tmp_path_factory.mktemp("tls"))


def a_server(directory: Path) -> SSL.Context:
    server = pki.issue_server(pki.create_ca("CA"), ["localhost"])
    (directory / "crt").write_bytes(server.chain_pem)
    (directory / "key").write_bytes(server.key_pem)
    return make_context(directory / "crt", directory / "key", minimum_version="1.2")


@pytest.mark.parametrize(
    ("newest", "version"), [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")]
)
def test_both_versions_of_tls_are_served_and_data_goes_both_ways(
    context: SSL.Context, newest: int, version: str
) -> None:
    wire = Wire(context, a_client(newest=newest))
    wire.shake_hands()
    assert (wire.receiver.version, wire.receiver.certificate) == (version, None)
    wire.client.send(b"hello")
    wire.client_to_gateway(by=1)
    assert wire.receiver.received == b"hello"
    wire.channel.write(b"x" * 100_000)
    wire.gateway_to_client()
    received = b""
    while len(received) < 100_000:
        received += wire.client.recv(65536)
    assert received == b"x" * 100_000


def test_an_older_version_is_refused(context: SSL.Context) -> None:
    wire = Wire(context, a_client(newest=SSL.TLS1_1_VERSION))
    with pytest.raises(SSL.Error):
        wire.shake_hands()
    wire = Wire(context)
    wire.channel.data_received(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
    assert wire.receiver.failed


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_any_certificate_is_taken_for_judgement_with_what_was_sent_along(
    context: SSL.Context, newest: int
) -> None:
    stranger = pki.create_ca("a CA that nobody here knows")
    leaf = pki.issue_device(pki.create_intermediate(stranger, "Factory"), "t-1")
    wire = Wire(context, a_client(leaf, newest=newest))
    wire.shake_hands()
    evidence = wire.receiver.certificate
    assert evidence is not None
    assert evidence.leaf == leaf.certificate
    assert evidence.intermediates == leaf.chain
    selfmade = pki.self_signed_device("t-2")
    wire = Wire(context, a_client(selfmade, newest=newest))
    wire.shake_hands()
    assert wire.receiver.certificate is not None
    assert wire.receiver.certificate.leaf == selfmade.certificate


@pytest.mark.parametrize("version", [1, 8])
@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_client_certificate_that_can_not_be_read_ends_the_handshake_with_one_reason(
    context: SSL.Context, newest: int, version: int, tmp_path: Path
) -> None:
    identity = pki.self_signed_device("t-1")
    der = identity.certificate.public_bytes(Encoding.DER)
    v3 = bytes.fromhex("a003020102")
    assert v3 in der[:16]
    strange = der.replace(v3, v3[:-1] + bytes((version,)), 1)
    (tmp_path / "crt").write_text(ssl.DER_cert_to_PEM_cert(strange))
    client = a_client(identity, newest=newest)
    client.use_certificate_file(str(tmp_path / "crt"))
    wire = Wire(context, client)
    wire.shake_hands()
    assert wire.receiver.failed.startswith("client certificate: ")
    assert wire.receiver.certificate is None


@pytest.mark.parametrize("newest", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_a_long_chain_is_handed_over_whole_and_no_signature_of_it_is_verified_in_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    verified: list[int] = []

    class Watched(SSL.Context):
        def set_verify(self, mode: int, callback: Any = None) -> None:
            def watching(connection: Any, certificate: Any, error: int, depth: int, ok: int) -> Any:
                verified.append(depth)
                return callback(connection, certificate, error, depth, ok)

            super().set_verify(mode, watching)

    with monkeypatch.context() as patched:
        patched.setattr(SSL, "Context", Watched)
        context = a_server(tmp_path)
    authority = pki.create_ca("Root")
    for number in range(6):
        authority = pki.create_intermediate(authority, f"Level {number}")
    leaf = pki.issue_device(authority, "t-1")
    wire = Wire(context, a_client(leaf, newest=newest))
    wire.shake_hands()
    evidence = wire.receiver.certificate
    assert evidence is not None
    assert (evidence.leaf, evidence.intermediates) == (leaf.certificate, leaf.chain)
    assert len(leaf.chain) >= 6
    assert max(verified) <= 1, "OpenSSL looked at certificates above the leaf's issuer"


def test_nothing_is_decrypted_while_reading_is_paused_and_nothing_is_lost(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.receiver.pause_after = 1
    for _ in range(5):
        wire.client.send(b"y" * 16_000)
    wire.client_to_gateway()
    received_before = len(wire.receiver.received)
    assert received_before < 80_000
    assert not wire.transport.reading
    wire.receiver.pause_after = None
    wire.channel.resume_reading()
    assert wire.transport.reading
    assert wire.receiver.received == b"y" * 80_000


def test_an_end_that_comes_during_a_pause_is_told_after_the_data(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.channel.pause_reading()
    wire.client.send(b"last words")
    wire.client_to_gateway()
    wire.channel.eof_received()
    assert not wire.receiver.ended
    wire.channel.resume_reading()
    assert (wire.receiver.received, wire.receiver.ended) == (b"last words", True)


def test_close_notify_is_told_as_the_end_and_answered_in_kind(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.client.send(b"bye")
    wire.client.shutdown()
    wire.client_to_gateway()
    assert (wire.receiver.received, wire.receiver.ended) == (b"bye", True)
    wire.channel.close()
    assert wire.transport.closed
    wire.gateway_to_client()
    with pytest.raises(SSL.ZeroReturnError):
        wire.client.recv(1)


def test_closing_says_close_notify_after_what_was_written(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.channel.write(b"CONNACK")
    wire.channel.close()
    wire.gateway_to_client()
    assert wire.client.recv(100) == b"CONNACK"
    with pytest.raises(SSL.ZeroReturnError):
        wire.client.recv(100)


def test_what_is_answered_to_one_record_leaves_in_one_record(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.receiver.answers = [b"PUBACK", b"answer"]
    wire.client.send(b"PUBLISH")
    wire.client_to_gateway()
    sent = wire.transport.take()
    assert len(sent) == 5 + int.from_bytes(sent[3:5]), "one TLS record"
    wire.client.bio_write(sent)
    assert wire.client.recv(100) == b"PUBACKanswer"


def test_thousands_of_answers_to_one_record_are_counted_once_each(context: SSL.Context) -> None:
    looks = 0

    class Answer(bytes):
        def __len__(self) -> int:
            nonlocal looks
            looks += 1
            return super().__len__()

    wire = Wire(context)
    wire.shake_hands()
    wire.receiver.answers = [Answer(b"\xd0\x00") for _ in range(8192)]
    wire.client.send(b"\xc0\x00" * 8192)
    wire.client_to_gateway()
    assert wire.receiver.unsent == list(range(2, 2 * 8192 + 1, 2))
    assert looks == 8192
    wire.gateway_to_client()
    assert wire.client.recv(16384) == b"\xd0\x00" * 8192


def test_the_receiver_bounds_what_tls_answers_by_itself_to_a_peer_that_asks_for_new_keys_and_does_not_read(
    context: SSL.Context,
) -> None:
    client = KeyUpdater()
    wire = Wire(context, client.context)
    wire.shake_hands()
    wire.transport.take()
    wire.receiver.bound = 4096
    for _ in range(1000):
        wire.channel.data_received(client.ask_for_new_keys())
        if wire.transport.aborted:
            break
    assert wire.transport.aborted
    assert 4096 < wire.receiver.unsent[-1] == len(wire.transport.written) < 4200


class KeyUpdater:
    """A client that asks for new keys (RFC 8446, 4.6.3). pyOpenSSL has no call for it, so it writes the records itself."""

    def __init__(self) -> None:
        self.context = a_client(newest=SSL.TLS1_3_VERSION)
        self.context.set_keylog_callback(self._learn)
        self._secret = b""

    def _learn(self, _: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.split()
        if label == b"CLIENT_TRAFFIC_SECRET_0":
            self._secret = bytes.fromhex(secret.decode())

    def ask_for_new_keys(self) -> bytes:
        """One record: KeyUpdate, update_requested. It is the first and the last under its keys."""
        plain = b"\x18\x00\x00\x01\x01" + b"\x16"
        header = b"\x17\x03\x03" + (len(plain) + 16).to_bytes(2, "big")
        key, nonce = self._expand(b"key", 16), self._expand(b"iv", 12)
        self._secret = self._expand(b"traffic upd", 32)
        return header + AESGCM(key).encrypt(nonce, plain, header)

    def _expand(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes((len(label),)) + label + b"\x00"
        return HKDFExpand(hashes.SHA256(), length, info).derive(self._secret)


def test_an_answer_that_closes_is_sent_before_the_end(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.receiver.answers = [b"CONNACK 5", None]
    wire.client.send(b"CONNECT")
    wire.client_to_gateway()
    assert wire.transport.closed
    wire.gateway_to_client()
    assert wire.client.recv(100) == b"CONNACK 5"
    with pytest.raises(SSL.ZeroReturnError):
        wire.client.recv(100)


def test_a_modern_client_gets_the_cheapest_suite_and_no_suite_is_without_forward_secrecy(
    context: SSL.Context,
) -> None:
    wire = Wire(context)
    wire.shake_hands()
    assert wire.client.get_cipher_name() == "TLS_AES_128_GCM_SHA256"
    suites = SSL.Connection(context, None).get_cipher_list()
    assert all(name.startswith(("TLS_AES", "TLS_CHACHA20", "ECDHE-")) for name in suites)
    assert all("GCM" in name or "POLY1305" in name for name in suites)


def test_a_cut_connection_is_lost_without_a_word(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.channel.eof_received()
    wire.channel.connection_lost(ConnectionResetError())
    assert wire.receiver.lost
    wire.channel.write(b"too late")
    wire.channel.close()


def test_bytes_that_break_the_record_layer_are_one_reason(context: SSL.Context) -> None:
    wire = Wire(context)
    wire.shake_hands()
    wire.channel.data_received(b"\x17\x03\x03\x00\x10" + b"\0" * 16)
    assert wire.receiver.failed
    assert "\n" not in wire.receiver.failed


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    server = pki.issue_server(pki.create_ca("CA"), ["localhost"])
    good_key, good_crt, junk = tmp_path / "key", tmp_path / "crt", tmp_path / "junk"
    good_key.write_bytes(server.key_pem)
    good_crt.write_bytes(server.chain_pem)
    junk.write_text("junk")
    with pytest.raises(StartError, match=r"junk: not a PEM file"):
        make_context(junk, good_key, minimum_version="1.2")
    with pytest.raises(StartError, match=r"junk: not a PEM file"):
        make_context(good_crt, junk, minimum_version="1.2")
    with pytest.raises(StartError, match=r"gone: can't be read"):
        make_context(good_crt, tmp_path / "gone", minimum_version="1.3")
    other = tmp_path / "other"
    other.write_bytes(pki.self_signed_device("x").key_pem)
    with pytest.raises(StartError, match=r"other: not the key of .*crt"):
        make_context(good_crt, other, minimum_version="1.2")
