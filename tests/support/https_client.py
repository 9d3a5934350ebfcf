"""A device that provisions itself over HTTPS, with the standard library's HTTP."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, NamedTuple, Self

__all__ = ["Answer", "HttpsClient"]

API_VERSION = "2021-06-01"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: Any


class HttpsClient:
    """`with HttpsClient(setup) as client:` one TLS connection. `certificate` is the client's PEM file and its key's."""

    def __init__(self, setup: dict[str, Any], *, certificate: tuple[Path, Path] | None = None) -> None:
        self._id_scope = setup["idScope"]
        context = ssl.create_default_context(cafile=setup["caCertificate"])
        if certificate is not None:
            context.load_cert_chain(*certificate)
        self._http = http.client.HTTPSConnection(
            "localhost", setup["deviceHttpsPort"], context=context, timeout=20
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def register(self, device_id: str, token: str | None = None, **body: Any) -> Answer:
        return self.ask("PUT", f"{device_id}/register", token, {"registrationId": device_id, **body})

    def poll(self, device_id: str, operation_id: str, token: str | None = None) -> Answer:
        return self.ask("GET", f"{device_id}/operations/{operation_id}", token)

    def look_up(self, device_id: str, token: str | None = None) -> Answer:
        return self.ask("POST", device_id, token)

    def ask(self, method: str, path: str, token: str | None = None, body: Any = None) -> Answer:
        """`path` is what follows `/{idScope}/registrations/`."""
        return self.send(
            method, f"/{self._id_scope}/registrations/{path}?api-version={API_VERSION}", token,
            b"" if body is None else json.dumps(body).encode(),
        )  # fmt: skip

    def send(self, method: str, target: str, token: str | None = None, body: bytes = b"") -> Answer:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if token is not None:
            headers["Authorization"] = token
        self._http.request(method, target, body, headers)
        response = self._http.getresponse()
        content = response.read()
        return Answer(response.status, response.headers, json.loads(content) if content else None)
