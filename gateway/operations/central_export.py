"""What people can get out of Azure IoT Central, file by file, as items for `migrate.central`. No I/O of its own.

Files are recognised by what is in them, never by their names, except that a device's `attestation` or `credentials`, which
don't say whose they are, are named after the device (docs/migration.md). JSON is as the REST API 2022-07-31 answers: one
object, a page `{"value": […]}`, an array, or one object a line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.errors import OperationError
from gateway.identity.x509 import thumbprints
from gateway.operations.device_csv import RowProblem, read_devices

__all__ = ["KINDS", "Kind", "is_csv", "items_of_csv", "items_of_json", "signers_in"]

Kind = Literal["scope", "template", "group", "enrollment", "credential", "device", "problem"]
KINDS: Final[tuple[Kind, ...]] = (
    "problem", "scope", "template", "group", "enrollment", "credential", "device",
)  # fmt: skip
"""In the order in which they build on one another. An `enrollment` is an individual enrollment; a `credential` is what a
device connects with, which may come from a group."""
Item = dict[str, Any]

_ORGANIZATION: Final = re.compile(r"[^A-Za-z0-9._:=/@+-]")


def is_csv(name: str) -> bool:
    return name.lower().endswith(".csv")


def signers_in(content: bytes) -> dict[str, str]:
    """The certificates in a PEM or DER file, in PEM, by SHA-1 thumbprint."""
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        try:
            found = [x509.load_der_x509_certificate(content)]
        except ValueError:
            return {}
    return {
        thumbprints(certificate).sha1: certificate.public_bytes(Encoding.PEM).decode()
        for certificate in found
    }


def items_of_csv(name: str, lines: Iterable[bytes], *, extended_ids: bool) -> Iterator[Item]:
    """A device export of IoT Central's. Raises `OperationError` if it is not a list of devices."""
    for row in read_devices(lines, extended_ids=extended_ids, of_central=True):
        if isinstance(row, RowProblem):
            yield _problem(f"{name}, line {row.line}", row.problem)
            continue
        if row.credentials:
            yield {"kind": "credential", "id": row.id, **row.credentials}
        yield {
            "kind": "device",
            "id": row.id,
            "name": row.name,
            "template": row.template,
            "tags": list(row.tags),
        }


def items_of_json(name: str, content: bytes, *, signers: Mapping[str, str]) -> Iterator[Item]:
    """An answer of IoT Central's REST API, or several. Raises `OperationError` if it is not JSON.

    `signers` are the certificates that lie beside it, by SHA-1 thumbprint: the API may name a CA without showing it.
    """
    stem = name.rpartition("/")[2].rpartition(".")[0]
    for element in _elements(name, content):
        if not isinstance(element, dict):
            yield _problem(name, "neither an object nor an array of objects")
            continue
        if "error" in element:
            yield _problem(name, f"an error that IoT Central answered: {str(element['error'])[:200]}")
            continue
        yield from _items(element, stem, name, signers)


def _elements(name: str, content: bytes) -> Iterator[Any]:
    try:
        document = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        lines = [line for line in content.splitlines() if line.strip()]
        try:
            yield from [orjson.loads(line) for line in lines] if len(lines) > 1 else _not_json(name, error)
        except orjson.JSONDecodeError:
            _not_json(name, error)
        return
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        document = document["value"]
    yield from document if isinstance(document, list) else [document]


def _not_json(name: str, error: orjson.JSONDecodeError) -> list[Any]:
    raise OperationError(f"{name}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}")


def _items(element: Item, stem: str, name: str, signers: Mapping[str, str]) -> Iterator[Item]:
    """What one object of the REST API is: each kind has a field that no other has."""
    match element:
        case {"capabilityModel": dict(model)}:
            yield {"kind": "template", "id": str(element.get("@id", "")), "model": model}
        case {"attestation": dict(attestation)}:
            yield _group(element, attestation, signers)
        case {"type": "symmetricKey" | "x509" | "tpm" as mechanism}:
            yield {
                "kind": "enrollment",
                "id": str(element.get("id", stem)),
                **_credential(element, mechanism),
            }
        case {"idScope": str(scope)}:
            yield {"kind": "scope", "id": scope}
            for mechanism in ("symmetricKey", "x509", "tpm"):
                if isinstance(element.get(mechanism), dict):
                    yield {
                        "kind": "credential", "id": str(element.get("id", stem)), **_credential(element, mechanism),
                    }  # fmt: skip
        case {"id": str(device_id), "provisioned": bool()} | {"id": str(device_id), "simulated": bool()}:
            organizations = element.get("organizations") or []
            yield {
                "kind": "device", "id": device_id, "name": element.get("displayName"),
                "template": element.get("template"), "enabled": element.get("enabled") is not False,
                "simulated": element.get("simulated") is True,
                "tags": [f"org={_ORGANIZATION.sub('-', str(each))}"[:64] for each in organizations],
            }  # fmt: skip
        case _:
            yield _problem(name, f"an object that is none of IoT Central's: {', '.join(list(element)[:5])}")


def _group(element: Item, attestation: Item, signers: Mapping[str, str]) -> Item:
    group: Item = {
        "kind": "group", "id": str(element.get("id", "")), "display_name": element.get("displayName"),
        "enabled": element.get("enabled") is not False,
    }  # fmt: skip
    match attestation:
        case {"type": "x509", "x509": {"signingCertificates": dict(certificates)}}:
            for slot in ("primary", "secondary"):
                signing = certificates.get(slot)
                if isinstance(signing, dict):
                    sha1 = str((signing.get("info") or {}).get("sha1Thumbprint", "")).replace(":", "").upper()
                    group[f"{slot}_certificate"] = signing.get("certificate") or signers.get(sha1)
                    group[f"{slot}_sha1"] = sha1
        case {"symmetricKey": dict(keys)}:
            group |= {"primary_key": keys.get("primaryKey"), "secondary_key": keys.get("secondaryKey")}
        case _:
            pass  # the operation says that it has no credential
    return group


def _credential(element: Item, mechanism: str) -> Item:
    match mechanism, element.get(mechanism):
        case "symmetricKey", dict(keys):
            return {"primary_key": keys.get("primaryKey"), "secondary_key": keys.get("secondaryKey")}
        case "x509", dict(found):
            certificates = found.get("clientCertificates", found)
            credential: Item = {}
            for slot in ("primary", "secondary"):
                match certificates.get(slot):
                    case {"certificate": str(certificate)} if certificate:
                        credential[f"{slot}_certificate"] = certificate
                    case {"info": {"sha1Thumbprint": str(thumbprint)}}:
                        credential[f"{slot}_thumbprint"] = thumbprint
            return credential
        case "tpm", dict(tpm):
            return {"endorsement_key": tpm.get("endorsementKey")}
        case _:
            return {}


def _problem(where: str, what: str) -> Item:
    return {"kind": "problem", "id": where, "problem": what}
