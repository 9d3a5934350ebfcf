"""TLS by hand: pyOpenSSL on memory BIOs between a transport and a connection.

Why not asyncio's own TLS: the standard library's `ssl` kills, in the handshake, every client certificate that no
loaded CA vouches for. Here TLS only *requests* a certificate and proves possession of its key; whether it
is welcome is judged after CONNECT, by `gateway.identity`, so that a refusal has a reason and a CA can be
removed by changing our own data (docs/decisions/0003-tls-by-pyopenssl.md, with the measurements).

The channel does what asyncio's would: it stops decrypting while the connection has paused reading, it passes
on the transport's flow control, it answers close_notify with close_notify, and it tells a clean end from
a cut.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast

from cryptography import x509
from OpenSSL import SSL

from gateway.errors import StartError
from gateway.identity.evidence import CertificateEvidence

__all__ = ["Channel", "Receiver", "TlsChannel", "make_context"]

_CHUNK: Final = 16 * 1024
"""The most that one TLS record carries (RFC 8446, 5.1)."""
_TLS_1_3_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""SHA-256 first: a handshake hashes a lot, and with SHA-384 it took 40 µs more of the server (docs/performance.md)."""
_TLS_1_2_SUITES: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Forward secrecy and authenticated encryption only, as IoT Hub has it where its hubs enforce strong ciphers."""
_MAX_CLIENT_CERTIFICATES: Final = 10


class Channel(Protocol):
    """Where a connection writes: a TLS channel, or an asyncio transport as it is."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int: ...


class Receiver(Protocol):
    """The connection above a TLS channel."""

    def tls_established(self, version: str, certificate: CertificateEvidence | None) -> None: ...
    def tls_failed(self, detail: str) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: Exception | None) -> None: ...

    def tls_answered(self) -> None:
        """TLS itself wrote something, to answer what came: a new key (RFC 8446, 4.6.3), which a peer may ask for as
        often as it likes. The bound of what may wait to be sent is the receiver's."""


def make_context(certificate_file: Path, key_file: Path, *, minimum_version: str) -> SSL.Context:
    """The server's TLS context. Raises `StartError` with the file's name if a file can't be used."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION if minimum_version == "1.3" else SSL.TLS1_2_VERSION)
    context.set_tls13_ciphersuites(_TLS_1_3_SUITES)
    context.set_cipher_list(_TLS_1_2_SUITES)
    # The key first: OpenSSL then takes any certificate, and `check_privatekey` says whether they belong together.
    for file, use in (
        (key_file, context.use_privatekey_file),
        (certificate_file, context.use_certificate_chain_file),
    ):
        try:
            file.open("rb").close()
        except OSError as error:
            raise StartError(f"{file}: can't be read: {error.strerror}") from None
        try:
            use(str(file))
        except SSL.Error:
            raise StartError(f"{file}: not a PEM file of the expected kind") from None
    try:
        context.check_privatekey()
    except SSL.Error:
        raise StartError(f"{key_file}: not the key of {certificate_file}") from None
    # Request a certificate, prove possession of its key, accept whatever chain it has: see above.
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    # OpenSSL would verify every signature of that chain all the same, for a stranger, before anything else is known of it:
    # a quarter of a second with the dearest keys. The depth is what it builds, not what it hands over.
    context.set_verify_depth(0)
    # No session tickets: a device connects for hours, and a ticket costs the server more than it saves.
    context.set_options(
        SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # OpenSSL's 34 KB of record buffers per connection are given back while it idles.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


class TlsChannel:
    """An asyncio protocol below, a `Channel` above. One per TLS connection."""

    __slots__ = (
        "_context", "_engine", "_established", "_held", "_held_bytes", "_make_receiver", "_reading", "_receiver",
        "_transport", "_transport_ended",
    )  # fmt: skip

    def __init__(
        self, context: SSL.Context, make_receiver: "Callable[[Channel, asyncio.Transport], Receiver]"
    ) -> None:
        self._context = context
        self._make_receiver = make_receiver
        self._engine: SSL.Connection | None = None
        self._established = False
        self._held: list[bytes] | None = None
        self._held_bytes = 0  # counted as they come: there may be thousands of answers to one record
        self._reading = True
        self._transport_ended = False

    # The asyncio side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._receiver = self._make_receiver(self, self._transport)

    def data_received(self, data: bytes) -> None:
        if self._engine is None:
            # Made on the first bytes, so that a port scan costs no TLS state.
            self._engine = SSL.Connection(self._context, None)
            self._engine.set_accept_state()
        self._engine.bio_write(data)
        if self._established or self._shake_hands():
            self._decrypt()

    def eof_received(self) -> bool | None:
        self._transport_ended = True
        if self._reading:
            self._receiver.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine = None
        self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        """What the transport holds is the connection's to bound."""

    def resume_writing(self) -> None: ...

    # The connection's side

    def write(self, data: bytes) -> None:
        if self._held is None:
            self._encrypt(data)
        else:
            self._held.append(data)
            self._held_bytes += len(data)

    def _encrypt(self, data: bytes) -> None:
        if self._engine is None or not self._established:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._engine.send(view) :]
        except SSL.Error:
            self.abort()
            return
        self._flush()

    def close(self) -> None:
        """Say close_notify, send what is waiting, end."""
        self._release()
        if self._engine is not None and self._established:
            try:
                self._engine.shutdown()
                self._flush()
            except SSL.Error:
                pass  # the peer is gone already; there is nobody to be polite to
        self._transport.close()

    def abort(self) -> None:
        self._held = None
        self._held_bytes = 0
        self._transport.abort()

    def pause_reading(self) -> None:
        self._reading = False
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading:
            return
        self._reading = True
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._established:
            self._decrypt()  # what was decrypted or received before the pause
        if self._transport_ended:
            self._receiver.eof_received()

    def get_write_buffer_size(self) -> int:
        return self._held_bytes + self._transport.get_write_buffer_size()

    # Between the two

    def _shake_hands(self) -> bool:
        engine = self._engine
        if engine is None:
            return False
        try:
            engine.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        except SSL.Error as error:
            self._flush()  # the alert
            self._receiver.tls_failed(_describe(error))
            return False
        self._flush()
        self._established = True
        try:
            evidence = _client_certificate(engine)
        except (ValueError, x509.InvalidVersion) as error:
            self._receiver.tls_failed(f"client certificate: {error}")
            return False
        self._receiver.tls_established(engine.get_protocol_version_name(), evidence)
        return True

    def _decrypt(self) -> None:
        while self._reading and self._engine is not None:
            try:
                data = self._engine.recv(_CHUNK)
            except SSL.WantReadError:
                if self._flush():  # a key update or an alert
                    self._receiver.tls_answered()
                return
            except SSL.ZeroReturnError:
                self._receiver.eof_received()
                return
            except SSL.Error as error:
                self._receiver.tls_failed(_describe(error))
                return
            # What is answered to one record leaves in one record: a PUBACK with the answer that comes after it.
            self._held = []
            try:
                self._receiver.data_received(data)
            finally:
                self._release()

    def _release(self) -> None:
        held, self._held = self._held, None
        self._held_bytes = 0
        if held:
            self._encrypt(held[0] if len(held) == 1 else b"".join(held))

    def _flush(self) -> bool:
        """Hand on what TLS has to send. Returns whether there was anything."""
        engine, was_any = self._engine, False
        while engine is not None:
            try:
                data = engine.bio_read(_CHUNK)
            except SSL.WantReadError:
                break
            self._transport.write(data)
            was_any = True
            if len(data) < _CHUNK:
                break
        return was_any


def _client_certificate(engine: SSL.Connection) -> CertificateEvidence | None:
    """The leaf and the certificates sent with it. Raises `ValueError` or `InvalidVersion` if one can't be parsed."""
    leaf = engine.get_peer_certificate(as_cryptography=True)
    if leaf is None:
        return None
    # On a server, OpenSSL's "peer chain" is what came after the leaf.
    sent: list[x509.Certificate] = engine.get_peer_cert_chain(as_cryptography=True) or []
    return CertificateEvidence(leaf=leaf, intermediates=tuple(sent[:_MAX_CLIENT_CERTIFICATES]))


def _describe(error: SSL.Error) -> str:
    """`[('SSL routines', '', 'unsupported protocol')]` → `unsupported protocol`."""
    if isinstance(error, SSL.SysCallError):
        return "the peer ended the connection without close_notify"
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(reason[-1]) for reason in reasons) or type(error).__name__
