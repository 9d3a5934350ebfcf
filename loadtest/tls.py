"""The devices' end of TLS, without sockets: bytes in, bytes out.

pyOpenSSL, not the standard library's `ssl`: a client certificate is set on a connection, not on a context of which
each device would need its own, and the OpenSSL that comes with `cryptography` spends less on a handshake than a
distribution's 3.0.
"""

from typing import Final

from cryptography import x509
from OpenSSL import SSL

from gateway.errors import OperationError
from gateway.pki import PrivateKey
from loadtest.plan import Target, TlsVersion

__all__ = ["ClientCertificate", "TlsClient", "TlsError", "TlsStream"]

_VERSIONS: Final = {TlsVersion.TLS_1_2: SSL.TLS1_2_VERSION, TlsVersion.TLS_1_3: SSL.TLS1_3_VERSION}
_CHUNK: Final = 16 * 1024

ClientCertificate = tuple[x509.Certificate, PrivateKey]


class TlsError(Exception):
    """The handshake failed, or what came later is no TLS. The text is OpenSSL's reason."""


class TlsClient:
    """What all devices share. Each server certificate is checked against the CA.

    Its name is not: `loadtest.target` has done that once, with the standard library.
    """

    def __init__(self, target: Target) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_PEER, None)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        try:
            context.load_verify_locations(str(target.ca_file))
        except SSL.Error:
            raise OperationError(f"{target.ca_file}: not a readable CA certificate") from None
        if target.tls_version is not None:
            context.set_min_proto_version(_VERSIONS[target.tls_version])
            context.set_max_proto_version(_VERSIONS[target.tls_version])
        self._context = context
        self._server_name = target.host.encode("idna")

    def stream(self, first: bytes, certificate: ClientCertificate | None) -> "TlsStream":
        """A new connection; `first` goes out with the last flight of the handshake."""
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._server_name)
        if certificate is not None:
            connection.use_certificate(certificate[0])
            connection.use_privatekey(certificate[1])
        connection.set_connect_state()
        return TlsStream(connection, first)


class TlsStream:
    """One connection. Raises `TlsError`."""

    __slots__ = ("_connection", "_first")

    def __init__(self, connection: SSL.Connection, first: bytes) -> None:
        self._connection = connection
        self._first: bytes | None = first

    @property
    def established(self) -> bool:
        return self._first is None

    def start(self) -> bytes:
        """The ClientHello."""
        self._handshake()
        return self._outgoing()

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """What the server sent → (what it said, what is to be sent to it)."""
        self._connection.bio_write(data)
        if self._first is not None:
            self._handshake()
            if self._first is not None:
                return b"", self._outgoing()
        said = self._incoming()
        return said, self._outgoing()

    def seal(self, data: bytes) -> bytes:
        self._connection.send(data)
        return self._outgoing()

    def _handshake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TlsError(_reason(error)) from None
        assert self._first is not None
        self._connection.send(self._first)
        self._first = None

    def _incoming(self) -> bytes:
        said = b""
        try:
            while True:
                said += self._connection.recv(_CHUNK)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return said
        except SSL.Error as error:
            raise TlsError(_reason(error)) from None

    def _outgoing(self) -> bytes:
        try:
            data = self._connection.bio_read(_CHUNK)
        except SSL.WantReadError:
            return b""
        return data if len(data) < _CHUNK else data + self._outgoing()


def _reason(error: SSL.Error) -> str:
    """`CERTIFICATE_VERIFY_FAILED`: as the standard library writes it."""
    errors = error.args[0] if error.args else None
    if not errors or not isinstance(errors, list):
        return "connection closed in the handshake"
    return str(errors[-1][-1]).upper().replace(" ", "_")
