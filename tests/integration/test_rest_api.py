"""The REST API of a running gateway, as a script for IoT Central's data plane uses it."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import pki
from tests.support.api import Api, trust
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess

THERMOSTAT = "dtmi:com:example:Thermostat;1"
CONTROLLER = "dtmi:com:example:TemperatureController;1"
KEY = base64.b64encode(b"k" * 64).decode()


@pytest.fixture(scope="module")
def api(gateway: GatewayProcess) -> Iterator[Api]:
    with Api(gateway) as api:
        yield api


# Who may ask, and how


def test_a_request_needs_a_token_that_is_in_force(gateway: GatewayProcess) -> None:
    for token in ("", "Bearer nonsense", "SharedAccessSignature sr=x&sig=AAAA&skn=administrator&se=1"):
        with Api(gateway, token) as stranger:
            assert "token" in stranger.refused("GET", "/devices", 401, "Unauthorized")
    assert gateway.lines("api.refused", reason="unauthorized")


def test_a_token_is_made_used_in_both_forms_and_deleted(gateway: GatewayProcess, api: Api) -> None:
    made = api.ok("PUT", "/apiTokens/reader", json={"roles": [{"role": "viewer"}]})
    assert made["roles"] == [{"role": "viewer"}]
    secret = dict(pair.split("=", 1) for pair in made["token"].partition(" ")[2].split("&"))["sig"]
    for text in (made["token"], f"Bearer {secret}"):
        with Api(gateway, text) as reader:
            reader.ok("GET", "/devices")
            assert "operator" in reader.refused("PUT", "/devices/no-1", 403, "Forbidden", json={})
    listed = api.ok("GET", "/apiTokens")["value"]
    assert "reader" in [token["id"] for token in listed]
    assert all("token" not in token for token in listed)
    api.refused("PUT", "/apiTokens/reader", 409, "Conflict", json={"roles": [{"role": "viewer"}]})
    assert api.request("DELETE", "/apiTokens/reader").status_code == 204
    with Api(gateway, made["token"]) as reader:
        reader.refused("GET", "/devices", 401, "Unauthorized")


def test_a_tokens_role_is_given_by_iot_centrals_id_and_its_expiry_as_a_date(api: Api) -> None:
    roles = {role["displayName"]: role["id"] for role in api.ok("GET", "/roles")["value"]}
    body = {"roles": [{"role": roles["Operator"]}], "expiry": "2099-01-31T12:00:00.000Z"}
    assert "days" in api.refused("PUT", "/apiTokens/long", 400, "BadRequest", json=body)
    body["expiry"] = "2030-01-31T12:00:00.000Z"
    made = api.ok("PUT", "/apiTokens/long", json=body)
    assert (made["roles"], made["expiry"]) == ([{"role": roles["Operator"]}], body["expiry"])
    for expiry in ("yesterday", "2001-01-31T12:00:00Z"):
        api.refused("PUT", "/apiTokens/x", 400, "BadRequest", json=body | {"expiry": expiry})
    api.ok("DELETE", "/apiTokens/long")


@pytest.mark.parametrize("version", [None, "", "undefined", "2019-01-01"])
def test_an_api_version_is_asked_for(gateway: GatewayProcess, version: str | None) -> None:
    with Api(gateway) as api:
        api.params = httpx.QueryParams() if version is None else httpx.QueryParams({"api-version": version})
        message = api.refused("GET", "/devices", 404, "NotFound")
        assert ("missing" if version is None else "is not a valid API version") in message


def test_the_version_that_the_azure_cli_lists_devices_with_is_served(gateway: GatewayProcess) -> None:
    with Api(gateway) as api:
        api.params = httpx.QueryParams({"api-version": "2022-06-30-preview"})
        api.ok("GET", "/devices")


def test_what_is_not_served_says_so(api: Api) -> None:
    for path in ("/jobs", "/users/1", "/devices/a/properties", "/devices/a/components/b/telemetry/c"):
        api.refused("GET", path, 501, "NotImplemented")
    api.refused("GET", "/nothing", 404, "NotFound")
    api.refused("POST", "/devices", 405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"[]", "dictionary"),
        (b'{"displayName": 7}', "displayName"),
        (b'{"displayName": ""}', "displayName"),
        (b'{"enabled": "yes"}', "enabled"),
        (b'{"simulated": true}', "simulated"),
        (b'{"etag": ""}', "etag"),
        (b"\xff", "parsing the body"),
    ],
)
def test_a_bad_body_is_one_line_that_names_the_member(api: Api, content: bytes, problem: str) -> None:
    json_type = {"Content-Type": "application/json"}
    assert problem in api.refused(
        "PUT", "/devices/bad-1", 400, "InvalidBody", content=content, headers=json_type
    )
    api.refused("GET", "/devices/bad-1", 404, "NotFound")


def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    api.refused("PUT", "/devices/big-1", 413, "PayloadTooLarge", content=b" " * (4 * 1024 * 1024 + 1))


# Devices


def test_a_device_is_made_read_changed_and_deleted(api: Api) -> None:
    made = api.ok("PUT", "/devices/rest-1", json={"displayName": "Mill", "template": THERMOSTAT})
    assert made == {
        "id": "rest-1", "etag": made["etag"], "displayName": "Mill", "simulated": False, "provisioned": False,
        "enabled": True, "template": THERMOSTAT,
    }  # fmt: skip
    assert api.ok("GET", "/devices/rest-1") == made
    again = api.ok("PUT", "/devices/rest-1", json=made)  # what was got can be put back
    assert again == made
    renamed = api.ok("PATCH", "/devices/rest-1", json={"displayName": "Old mill", "template": None})
    assert (renamed["displayName"], "template" in renamed) == ("Old mill", False)
    assert api.request("DELETE", "/devices/rest-1").status_code == 204
    api.refused("GET", "/devices/rest-1", 404, "NotFound")
    api.refused("PATCH", "/devices/rest-1", 404, "NotFound", json={"displayName": "x"})
    api.refused("DELETE", "/devices/rest-1", 404, "NotFound")


def test_a_device_that_can_t_be_is_refused(api: Api) -> None:
    assert "device id" in api.refused("PUT", "/devices/a%20b", 400, "BadRequest", json={})
    assert "template" in api.refused(
        "PUT", "/devices/rest-2", 404, "NotFound", json={"template": "dtmi:no:Such;1"}
    )


def test_enabled_approves_blocks_and_unblocks(gateway: GatewayProcess, fleet: Fleet, api: Api) -> None:
    with fleet.hub("rest-3") as device:
        blocked = api.ok("PATCH", "/devices/rest-3", json={"enabled": False})
        assert (blocked["enabled"], blocked["provisioned"]) == (False, True)
        assert device.is_closed()
    with Device.plain(gateway.setup) as refused:
        assert refused.connect("rest-3", *fleet.hub_login("rest-3")) == 5
    assert api.ok("PATCH", "/devices/rest-3", json={"enabled": True})["enabled"] is True
    with fleet.hub("rest-3"):
        pass


def test_a_waiting_device_is_let_in_by_enabling_it_or_by_our_own_verb(
    gateway: GatewayProcess, api: Api
) -> None:
    api.ok("PUT", "/enrollmentGroups/Waiting", json={
        "displayName": "Waiting", "autoApprove": False, "attestation": {"type": "symmetricKey"},
    })  # fmt: skip
    key = api.ok("GET", "/enrollmentGroups/Waiting")["attestation"]["symmetricKey"]["primaryKey"]
    waiting = Fleet(gateway.setup, key)
    for device_id in ("wait-1", "wait-2"):
        with Device.plain(gateway.setup) as device:
            assert device.connect(device_id, *waiting.hub_login(device_id)) != 0
        shown = api.ok("GET", f"/devices/{device_id}")
        assert (shown["enabled"], shown["provisioned"]) == (False, False)
    assert api.ok("PATCH", "/devices/wait-1", json={"enabled": True})["enabled"] is True
    assert api.ok("POST", "/devices/wait-2/approve")["enabled"] is True
    for device_id in ("wait-1", "wait-2"):
        with waiting.hub(device_id):
            pass
    api.ok("POST", "/devices/wait-2/block")
    api.refused("POST", "/devices/wait-2/approve", 409, "Conflict")
    api.ok("POST", "/devices/wait-2/unblock")
    api.ok("DELETE", "/enrollmentGroups/Waiting")


def test_devices_are_listed_by_the_page_and_by_what_they_are(api: Api) -> None:
    for number in range(7):
        api.ok("PUT", f"/devices/page-{number}", json={"template": CONTROLLER})
    seen: list[str] = []
    answer = api.ok("GET", "/devices", params={"$top": 3, "$filter": f"template eq '{CONTROLLER}'"})
    while True:
        assert len(answer["value"]) <= 3
        seen += [device["id"] for device in answer["value"]]
        if "nextLink" not in answer:
            break
        answer = api.follow(answer["nextLink"])
    assert [device_id for device_id in seen if device_id.startswith("page-")] == [
        f"page-{number}" for number in range(7)
    ]
    assert len(seen) == len(set(seen))
    one = api.ok(
        "GET", "/devices", params={"filter": "id eq 'page-3' and enabled eq true and provisioned eq false"}
    )
    assert [device["id"] for device in one["value"]] == ["page-3"]
    assert api.ok("GET", "/devices", params={"filter": "id eq 'nobody'"}) == {"value": []}
    for text in ("id ne 'x'", "enabled eq true", "id eq true", "x", "id eq 'a' and id eq 'b'", ""):
        api.refused("GET", "/devices", 400, "BadRequest", params={"$filter": text})
    for params in ({"$top": 0}, {"$top": 101}, {"maxpagesize": "x"}):
        api.refused("GET", "/devices", 400, "InvalidParameter", params=params)
    api.refused("GET", "/devices", 400, "BadRequest", params={"$skipToken": "%%%"})
    api.refused("GET", "/devices", 400, "BadRequest", params={"$orderby": "displayName desc"})


# Credentials of one device


def test_a_device_s_credentials_are_what_it_connects_with(
    gateway: GatewayProcess, fleet: Fleet, api: Api
) -> None:
    api.ok("PUT", "/devices/cred-1", json={})
    found = api.ok("GET", "/devices/cred-1/credentials")
    assert found["idScope"] == gateway.setup["idScope"]
    computed = gateway.json("device", "compute-key", "cred-1")
    assert found["symmetricKey"]["primaryKey"] == computed["primaryKey"]
    api.refused("GET", "/devices/nobody/credentials", 404, "NotFound")


def test_an_individual_enrollment_by_keys(gateway: GatewayProcess, fleet: Fleet, api: Api) -> None:
    api.ok("PUT", "/devices/single-9", json={})
    api.refused("GET", "/devices/single-9/attestation", 404, "NotFound")
    body = {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY}}
    made = api.ok("PUT", "/devices/single-9/attestation", json=body)
    assert made["symmetricKey"]["primaryKey"] == KEY
    secondary = made["symmetricKey"]["secondaryKey"]
    username = "localhost/single-9/?api-version=2021-04-12"
    token = fleet.token("localhost/devices/single-9", "single-9", key=KEY)
    with Device.plain(gateway.setup) as device:
        assert device.connect("single-9", username, token) == 0
        changed = api.ok("PATCH", "/devices/single-9/attestation", json={
            "type": "symmetricKey", "symmetricKey": {"primaryKey": secondary},
        })  # fmt: skip
        assert changed["symmetricKey"] == {"primaryKey": secondary, "secondaryKey": secondary}
        assert device.is_closed()
    assert api.ok("GET", "/devices/single-9/credentials")["symmetricKey"]["primaryKey"] == secondary
    assert api.request("DELETE", "/devices/single-9/attestation").status_code == 204
    api.refused("PATCH", "/devices/single-9/attestation", 404, "NotFound", json=body)
    api.refused("PUT", "/devices/nobody/attestation", 404, "NotFound", json=body)


def test_an_individual_enrollment_by_certificate(api: Api) -> None:
    api.ok("PUT", "/devices/cert-1", json={})
    leaf = pki.self_signed_device("cert-1").certificate_pem.decode()
    body: dict[str, Any] = {
        "type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": leaf}}},
    }  # fmt: skip
    made = api.ok("PUT", "/devices/cert-1/attestation", json=body)
    assert len(made["x509"]["clientCertificates"]["primary"]["info"]["sha256Thumbprint"]) == 64
    assert "x509" in api.ok("GET", "/devices/cert-1/credentials")
    body["x509"]["clientCertificates"]["primary"]["certificate"] = "junk"
    assert "certificate" in api.refused("PUT", "/devices/cert-1/attestation", 400, "BadRequest", json=body)


# Enrollment groups


def test_a_sas_group_is_made_changed_and_deleted(api: Api) -> None:
    body = {
        "displayName": "Mills", "type": "iot",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY}},
    }  # fmt: skip
    made = api.ok("PUT", "/enrollmentGroups/Mills", json=body)
    keys = made["attestation"]["symmetricKey"]
    assert (made["displayName"], made["enabled"], made["type"], keys["primaryKey"]) == (
        "Mills", True, "iot", KEY,
    )  # fmt: skip
    assert api.ok("GET", "/enrollmentGroups/Mills") == made
    patched = api.ok("PATCH", "/enrollmentGroups/Mills", json={
        "enabled": False, "attestation": {"symmetricKey": {"primaryKey": keys["secondaryKey"]}},
    })  # fmt: skip
    assert (patched["enabled"], patched["attestation"]["symmetricKey"]["primaryKey"]) == (
        False, keys["secondaryKey"],
    )  # fmt: skip
    assert api.ok("PUT", "/enrollmentGroups/Mills", json=body | {"enabled": True})["enabled"] is True
    assert "Mills" in [group["id"] for group in api.ok("GET", "/enrollmentGroups")["value"]]
    api.refused("PUT", "/enrollmentGroups/Mills", 400, "BadRequest",
                json=body | {"attestation": {"type": "x509"}})  # fmt: skip
    api.refused("PUT", "/enrollmentGroups/Edge", 400, "InvalidBody", json=body | {"type": "iotEdge"})
    assert api.request("DELETE", "/enrollmentGroups/Mills").status_code == 204
    api.refused("GET", "/enrollmentGroups/Mills", 404, "NotFound")


def test_a_ca_is_proved_and_removed_while_its_devices_are_connected(
    gateway: GatewayProcess, api: Api, tmp_path: Path
) -> None:
    ca = pki.create_ca("REST CA")
    api.ok("PUT", "/enrollmentGroups/Rest", json={"displayName": "R", "attestation": {"type": "x509"}})
    entry = "/enrollmentGroups/Rest/certificates/primary"
    api.refused("GET", entry, 404, "NotFound")
    encoded = base64.b64encode(ca.certificate_pem).decode()
    given = api.ok("PUT", entry, json={"certificate": encoded})
    assert (given["verified"], given["certificate"]) == (False, ca.certificate_pem.decode())
    code = api.ok("POST", f"{entry}/generateVerificationCode")["verificationCode"]
    api.refused("POST", f"{entry}/verify", 400, "BadRequest", json={"certificate": encoded})
    proof = base64.b64encode(pki.issue_device(ca, code).certificate_pem).decode()
    assert api.request("POST", f"{entry}/verify", json={"certificate": proof}).status_code == 204
    shown = api.ok("GET", "/enrollmentGroups/Rest")["attestation"]["x509"]["signingCertificates"]["primary"]
    assert (shown["verified"], len(shown["info"]["sha1Thumbprint"])) == (True, 40)
    leaf = pki.issue_device(ca, "rest-x-1")
    (tmp_path / "leaf.crt").write_bytes(leaf.chain_pem)
    (tmp_path / "leaf.key").write_bytes(leaf.key_pem)
    with Device.tls(gateway.setup, certificate=tmp_path / "leaf.crt", key=tmp_path / "leaf.key") as device:
        assert device.connect("rest-x-1", "localhost/rest-x-1/?api-version=2021-04-12") == 0
        assert api.request("DELETE", entry).status_code == 204
        assert device.is_closed()
    api.refused("GET", "/enrollmentGroups/Rest/certificates/third", 400, "InvalidParameter")
    api.ok("DELETE", "/enrollmentGroups/Rest")


# Device templates


MODEL = "dtmi:rest:Pump;1"
MOTOR = {
    "@id": "dtmi:rest:Motor;1", "@type": "Interface",
    "contents": [{"@type": "Telemetry", "name": "speed", "schema": "double"}],
}  # fmt: skip
PUMP = {
    "@id": MODEL, "@type": "Interface", "displayName": "Pump",
    "contents": [
        {"@type": "Telemetry", "name": "pressure", "schema": "double"},
        {"@type": "Component", "name": "motor", "schema": MOTOR},
    ],
}  # fmt: skip


def test_a_template_with_its_components_inside_is_published_patched_and_deleted(
    gateway: GatewayProcess, api: Api
) -> None:
    body = {"@type": ["ModelDefinition", "DeviceModel"], "displayName": "The pump", "capabilityModel": PUMP}
    path = f"/deviceTemplates/{MODEL}"
    made = api.ok("PUT", path, json=body)
    assert (made["@id"], made["@type"], made["displayName"]) == (MODEL, body["@type"], "The pump")
    inner = made["capabilityModel"]["contents"][1]["schema"]
    assert (inner["@id"], inner["contents"]) == (MOTOR["@id"], MOTOR["contents"])
    assert gateway.json("template", "show", MODEL)["components"]["motor"]["telemetry"] == ["speed"]
    assert api.ok("PUT", path, json=made) == made  # what was got can be put back
    patched = api.ok("PATCH", path, json={"displayName": "Pump 2"})
    assert (patched["displayName"], patched["etag"] != made["etag"]) == ("Pump 2", True)
    assert MODEL in [
        template["@id"] for template in api.ok("GET", "/deviceTemplates", params={"$top": 100})["value"]
    ]
    api.ok("PUT", "/devices/pump-1", json={"template": MODEL})
    api.refused("DELETE", path, 409, "Conflict")
    api.ok("DELETE", "/devices/pump-1")
    assert api.request("DELETE", path).status_code == 204
    api.refused("GET", path, 404, "NotFound")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"@type": [], "capabilityModel": PUMP | {"@id": "dtmi:rest:Other;1"}}, "BadRequest"),
        ({"@type": [], "capabilityModel": {"@type": "Interface", "contents": 7}}, "InvalidTemplate"),
        ({"capabilityModel": PUMP}, "InvalidBody"),
        ({"@type": [], "capabilityModel": []}, "InvalidBody"),
    ],
)
def test_what_is_no_template_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    api.refused("PUT", f"/deviceTemplates/{MODEL}", 400, code, json=body)


# Etags


@pytest.mark.parametrize("by", ["header", "body"])
def test_who_read_an_older_state_is_told(api: Api, by: str) -> None:
    api.ok("PUT", "/devices/etag-1", json={"displayName": "one"})
    old = api.ok("GET", "/devices/etag-1")["etag"]
    api.ok("PATCH", "/devices/etag-1", json={"displayName": "two"})
    said: dict[str, Any] = {"headers": {"If-Match": old}} if by == "header" else {}
    body = {"displayName": "three"} | ({"etag": old} if by == "body" else {})
    for method in ("PUT", "PATCH"):
        api.refused(method, "/devices/etag-1", 412, "PreconditionFailed", json=body, **said)
    if by == "header":
        api.refused("DELETE", "/devices/etag-1", 412, "PreconditionFailed", **said)
    assert api.ok("GET", "/devices/etag-1")["displayName"] == "two"
    assert api.request("GET", "/devices/etag-1").headers["ETag"] == api.ok("GET", "/devices/etag-1")["etag"]
    api.ok("PATCH", "/devices/etag-1", json={"displayName": "four"}, headers={"If-Match": "*"})


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/devices/race-1", {"displayName": "first"}, {"displayName": "by {}"}),
        (
            "/enrollmentGroups/Race",
            {"displayName": "first", "attestation": {"type": "symmetricKey"}},
            {"displayName": "by {}"},
        ),
        (
            "/deviceTemplates/dtmi:rest:Race;1",
            {"@type": [], "capabilityModel": {"@id": "dtmi:rest:Race;1", "@type": "Interface"}},
            {"displayName": "by {}"},
        ),
    ],
    ids=["device", "group", "template"],
)
def test_of_many_who_read_the_same_state_one_wins(
    gateway: GatewayProcess, api: Api, path: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    etag = api.ok("PUT", path, json=first)["etag"]

    async def race() -> list[int]:
        async with httpx.AsyncClient(
            base_url=api.base_url, verify=trust(gateway), headers=api.headers, params=api.params, timeout=30
        ) as client:
            answers = await asyncio.gather(*(
                client.patch(
                    path.lstrip("/"), json={name: value.format(n) for name, value in second.items()},
                    headers={"If-Match": etag},
                )
                for n in range(8)
            ))  # fmt: skip
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(race()) == [200] + [412] * 7
    api.ok("DELETE", path)


# Our own


def test_every_change_over_http_is_in_the_audit_log_with_the_tokens_name(api: Api) -> None:
    api.ok("PUT", "/devices/audit-1", json={"displayName": "one"})
    api.ok("PATCH", "/devices/audit-1", json={"displayName": "two"})
    first = api.ok("GET", "/audit", params={"target": "audit-1", "$top": 1})
    (newest,) = first["value"]
    assert (newest["actor"], newest["verb"]) == ("token/administrator", "device.set")
    assert (newest["before"]["name"], newest["after"]["name"]) == ("one", "two")
    rest = api.follow(first["nextLink"])
    assert [record["before"] for record in rest["value"]] == [None]
    assert api.ok("GET", "/audit", params={"actor": "token/nobody"}) == {"value": []}


def test_any_verb_of_the_command_line_can_be_asked_for(gateway: GatewayProcess, api: Api) -> None:
    assert api.ok("POST", "/verbs/status", json={})["running"] is True
    api.ok("PUT", "/devices/verb-1", json={})
    shown = api.ok("POST", "/verbs/device.show", json={"device_id": "verb-1"})
    assert shown == gateway.json("device", "show", "verb-1")
    api.refused("POST", "/verbs/device.show", 400, "InvalidBody", json={})
    api.refused("POST", "/verbs/device.show", 400, "InvalidBody", json={"device_id": "a", "colour": "red"})
    api.refused("POST", "/verbs/device.nothing", 404, "NotFound", json={})


def test_no_secret_is_in_the_log_or_the_audit_log(gateway: GatewayProcess, api: Api) -> None:
    token = api.ok("PUT", "/apiTokens/secretive", json={"roles": [{"role": "viewer"}]})["token"]
    body = {"displayName": "S", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY}}}
    api.ok("PUT", "/enrollmentGroups/Secretive", json=body)
    made = api.ok("GET", "/enrollmentGroups/Secretive")["attestation"]["symmetricKey"]
    with Api(gateway, token[:-1]) as almost:
        almost.request("GET", "/devices")
    audited = json.dumps(
        [api.ok("GET", "/audit", params={"$top": 100}), gateway.json("audit", "--limit", "500")]
    )
    written = "\n".join(gateway.output) + audited
    secret = token.partition("sig=")[2].partition("&")[0]
    for text in (KEY, made["secondaryKey"], secret, gateway.setup["apiToken"].partition("sig=")[2][:43]):
        assert text not in written
    api.ok("DELETE", "/enrollmentGroups/Secretive")
    api.ok("DELETE", "/apiTokens/secretive")


def test_the_api_describes_itself(api: Api) -> None:
    document = api.ok("GET", "/openapi.json")
    assert document["servers"] == [{"url": "/api"}]
    assert "/devices/{device_id}/attestation" in document["paths"]
    assert "/verbs/device.why" in document["paths"]
