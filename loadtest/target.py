"""Is there a server, and is it the one that was meant? Asked once, before the devices come."""

import os
import socket
import ssl
from pathlib import Path
from typing import Final

from gateway.errors import OperationError
from loadtest.plan import Target, TlsVersion

__all__ = ["find_target"]

_TIMEOUT_S: Final = 10.0


def find_target(
    host: str,
    port: int,
    *,
    ca_file: Path | None = None,
    tls_version: TlsVersion | None = None,
    sources: tuple[str, ...] = (),
) -> Target:
    """Look the name up, and connect to it once.

    Raises `OperationError` if nothing listens there, or if it has a certificate for another name. A certificate of
    another CA is not looked at here: it is what becomes of each device.
    """
    context = _context(ca_file) if ca_file is not None else None
    for source in sources:
        _check_source(source)
    sock, address = _connect(host, port)
    if sources and ":" in address[0]:
        sock.close()
        raise OperationError(f"--source: {host} is {address[0]} here", hint="name an IPv4 --host")
    with sock:
        if context is not None:
            _check_name(context, sock, host)
    return Target(host=host, address=address, ca_file=ca_file, tls_version=tls_version, sources=sources)


def _connect(host: str, port: int) -> tuple[socket.socket, tuple[str, int]]:
    """The first of the name's addresses that answers."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OperationError(f"{host}: {error.strerror}") from None
    problem = "no address"
    for family, kind, protocol, _, address in found:
        probe = socket.socket(family, kind, protocol)
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(address)
        except OSError as error:
            probe.close()
            problem = os.strerror(error.errno).lower() if error.errno else "no answer"
        else:
            return probe, (str(address[0]), int(address[1]))
    raise OperationError(f"{host}:{port}: {problem}", hint="does the server run, and listen there?")


def _check_source(address: str) -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise OperationError(f"--source {address}: {error.strerror or error}") from None


def _context(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise OperationError(f"{ca_file}: not a readable CA certificate: {error.strerror or error}") from None


def _check_name(context: ssl.SSLContext, sock: socket.socket, host: str) -> None:
    try:
        with context.wrap_socket(sock, server_hostname=host):
            return
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {_X509_V_ERR_HOSTNAME_MISMATCH, _X509_V_ERR_IP_ADDRESS_MISMATCH}:
            raise OperationError(
                f"{host}: {error.verify_message}", hint="use a --host that is in the server's certificate"
            ) from None
    except OSError:
        return  # it wants a client certificate, or is overloaded: the devices will see


# <openssl/x509_vfy.h>
_X509_V_ERR_HOSTNAME_MISMATCH: Final = 62
_X509_V_ERR_IP_ADDRESS_MISMATCH: Final = 64
