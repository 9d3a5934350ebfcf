"""A made-up IoT Central application, as its REST API 2022-07-31 and its CSV export show it."""

import base64
import csv
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509

from gateway import pki
from gateway.identity.sas import derive_device_key
from gateway.identity.x509 import thumbprints
from gateway.secrets import SymmetricKey

SCOPE = "0ne00C3N7RA"
TEMPLATE, MODEL = "dtmi:modelDefinition:abc:def;1", "dtmi:contoso:Mill;1"


@dataclass
class CentralApplication:
    """Devices: `by-group` and `blocked-1` by the SAS group, `own-key` and `own-cert` individually, `by-ca` by the CA."""

    primary: SymmetricKey = field(default_factory=SymmetricKey.generate)
    secondary: SymmetricKey = field(default_factory=SymmetricKey.generate)
    own_key: SymmetricKey = field(default_factory=SymmetricKey.generate)
    ca: pki.IssuedCertificate = field(default_factory=lambda: pki.create_ca("Contoso"))
    own: pki.IssuedCertificate = field(default_factory=lambda: pki.self_signed_device("own-cert"))

    def device_key(self, device_id: str) -> SymmetricKey:
        return self.own_key if device_id == "own-key" else derive_device_key(self.primary, device_id)

    def write(self, directory: Path) -> Path:
        """Write the export in the layout of docs/migration.md."""
        directory.mkdir(parents=True)
        documents = {
            "device-templates.json": {"value": [self.template()]},
            "enrollment-groups.json": {"value": self.groups()},
            "devices-1.json": {"value": self.devices()[:2], "nextLink": "https://example/next"},
            "devices-2.json": {"value": self.devices()[2:]},
            "credentials/by-group.json": self.credentials("by-group"),
            "attestations/own-key.json": self.attestation("own-key"),
            "attestations/own-cert.json": self.attestation("own-cert"),
        }
        for name, document in documents.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(json.dumps(document))
        (directory / "contoso.pem").write_bytes(self.ca.certificate_pem)
        self.write_csv(directory / "devices.csv")
        return directory

    def write_csv(self, file: Path) -> None:
        columns = ["IOTC_DEVICEID", "IOTC_DEVICENAME", "IOTC_SASKEY_PRIMARY", "IOTC_SASKEY_SECONDARY",
                   "IOTC_X509THUMBPRINT_PRIMARY", "IOTC_X509THUMBPRINT_SECONDARY"]  # fmt: skip
        with file.open("w", newline="", encoding="utf-8-sig") as target:
            writer = csv.writer(target)
            writer.writerow(columns)
            for device in self.devices():
                id_ = device["id"]
                derived = derive_device_key(self.secondary, id_)
                keys = [self.device_key(id_).base64, (self.secondary if id_ == "own-key" else derived).base64]
                cert = self.own_thumbprint if id_ == "own-cert" else ""
                writer.writerow(
                    [id_, device["displayName"], *(["", ""] if cert or id_ == "by-ca" else keys), cert, ""]
                )

    @property
    def own_thumbprint(self) -> str:
        return thumbprints(x509.load_pem_x509_certificate(self.own.chain_pem)).sha1

    def devices(self) -> list[dict[str, Any]]:
        def device(id_: str, **more: Any) -> dict[str, Any]:
            return {
                "id": id_, "etag": "x", "displayName": f"The {id_}", "simulated": False, "provisioned": True,
                "enabled": True, "template": TEMPLATE, **more,
            }  # fmt: skip

        return [
            device("by-group", organizations=["north plant"]),
            device("blocked-1", enabled=False),
            device("own-key", template=None),
            device("own-cert"),
            device("by-ca"),
            device("imagined", simulated=True),
        ]

    def template(self) -> dict[str, Any]:
        return {
            "@id": TEMPLATE, "@type": ["ModelDefinition", "DeviceModel"], "displayName": "Mill", "etag": "x",
            "capabilityModel": {
                "@id": MODEL, "@type": "Interface", "displayName": "Mill",
                "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
                "contents": [
                    {"@id": "dtmi:contoso:Mill:load;1", "@type": "Telemetry", "name": "load", "schema": "double"},
                    {"@type": ["Property", "Cloud", "StringValue"], "name": "owner", "schema": "string"},
                    {"@type": "Component", "name": "lid", "schema": {
                        "@id": "dtmi:contoso:Lid;1", "@type": "Interface",
                        "contents": [{"@type": "Telemetry", "name": "open", "schema": "boolean"}],
                    }},
                ],
            },
        }  # fmt: skip

    def groups(self) -> list[dict[str, Any]]:
        ca = x509.load_pem_x509_certificate(self.ca.certificate_pem)
        return [
            {
                "id": "sas-1", "displayName": "SAS-IoT-Devices", "enabled": True, "type": "iot",
                "attestation": {"type": "symmetricKey", "symmetricKey": {
                    "primaryKey": self.primary.base64, "secondaryKey": self.secondary.base64,
                }},
            },
            {
                "id": "contoso-ca", "displayName": "Contoso's mills", "enabled": True, "type": "iot",
                "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {
                    "verified": True, "info": {"sha1Thumbprint": thumbprints(ca).sha1},
                }}}},
            },
        ]  # fmt: skip

    def attestation(self, id_: str) -> dict[str, Any] | None:
        """Of a device that is enrolled individually."""
        match id_:
            case "own-key":
                keys = {"primaryKey": self.own_key.base64, "secondaryKey": self.secondary.base64}
                return {"type": "symmetricKey", "symmetricKey": keys}
            case "own-cert":
                primary = {"info": {"sha1Thumbprint": self.own_thumbprint}}
                return {"type": "x509", "x509": {"clientCertificates": {"primary": primary}}}
            case _:
                return None

    def credentials(self, id_: str) -> dict[str, Any]:
        own = self.attestation(id_)
        if own is not None:
            return {"idScope": SCOPE, own["type"]: own[own["type"]]}
        if id_ == "by-ca":
            return {"idScope": SCOPE, "x509": {"clientCertificates": {}}}
        keys = {
            "primaryKey": self.device_key(id_).base64,
            "secondaryKey": derive_device_key(self.secondary, id_).base64,
        }
        return {"idScope": SCOPE, "symmetricKey": keys}


class CentralServer:
    """The application's REST API on loopback, as far as an export needs it; lists come two to a page."""

    def __init__(self, application: CentralApplication, *, token: str) -> None:
        self.application = application
        self.token = token
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """The document at a path; None: there is none."""
        application = self.application
        lists = {
            "devices": application.devices(),
            "deviceTemplates": [application.template()],
            "enrollmentGroups": application.groups(),
        }
        if path in lists:
            start = int(query.get("after", ["0"])[0])
            page: dict[str, Any] = {"value": lists[path][start : start + 2]}
            if start + 2 < len(lists[path]):
                page["nextLink"] = f"{self.url}/api/{path}?api-version=2022-07-31&after={start + 2}"
            return page
        _, device_id, what = path.split("/")
        return (
            application.credentials(device_id)
            if what == "credentials"
            else application.attestation(device_id)
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                allowed = self.headers["Authorization"] == server.token
                known = query.get("api-version") == ["2022-07-31"]
                document = (
                    server.answer(parts.path.removeprefix("/api/"), query) if allowed and known else None
                )
                self.send_response(200 if document is not None else 404 if allowed else 401)
                self.end_headers()
                self.wfile.write(json.dumps(document or {"error": {"code": "NotFound"}}).encode())

            def log_message(self, *_: object) -> None:
                return

        return Handler


def as_base64(pem: bytes) -> str:
    """A certificate as the REST API carries it."""
    return base64.b64encode(pem).decode()
