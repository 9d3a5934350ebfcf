"""One HTTP request of a device and its answer: what the edge and the provisioning dialect know of each other.

The edge owns TLS, HTTP and time-outs; `gateway.dps.service` owns what the requests mean. Neither imports the other.
"""

import asyncio
from typing import NamedTuple, Protocol

from gateway.identity.evidence import CertificateEvidence
from gateway.refusals import Reason

__all__ = ["HttpExchange", "HttpHandler", "HttpResponse"]


class HttpExchange(NamedTuple):
    """A whole request. `target` is the path and the query, as sent. `certificate` is the client's, if it showed one."""

    method: str
    target: str
    authorization: str | None
    body: bytes
    certificate: CertificateEvidence | None
    peer: str
    tls: str | None
    connection_id: int

    def __repr__(self) -> str:
        return f"HttpExchange({self.method} {self.target})"


class HttpResponse(NamedTuple):
    """A whole answer; `body` is JSON. The edge adds what HTTP itself asks for.

    The rest is for storm control: the device that proved its identity, with its group, or why it was `refused`.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    device_id: str | None = None
    group: str | None = None
    refused: Reason | None = None


class HttpHandler(Protocol):
    """Answers requests, at once or later. `shutting_down` says that the gateway ends."""

    def answer(
        self, request: HttpExchange, *, shutting_down: bool
    ) -> "HttpResponse | asyncio.Future[HttpResponse]": ...
