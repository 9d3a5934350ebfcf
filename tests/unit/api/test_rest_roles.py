"""Every route of the REST API, by every role: on a real store, without sockets."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI

from gateway import pki
from gateway.api.jobs import Jobs
from gateway.api.rest import make_rest_app
from gateway.api.rest.calling import Context
from gateway.operations import VERBS
from gateway.roles import Role
from tests.support.bench import NOW, Bench, open_bench
from tests.unit.identity.certificates import revocation_list

FACTORY = pki.create_ca("Factory", now=NOW, days=100)
CA = FACTORY.certificate_pem.decode()
CRL = revocation_list(FACTORY, 5).public_bytes(Encoding.PEM).decode()
PROOF = {"certificate": CA}
GROUP = {"displayName": "G", "attestation": {"type": "symmetricKey"}}
MODEL = {"@id": "dtmi:x:Y;1", "@type": "Interface"}
TEMPLATE = {"@type": [], "capabilityModel": MODEL}
CERTIFICATE = "/enrollmentGroups/{group_id}/certificates/{entry}"

ROUTES: dict[tuple[str, str], tuple[Role, Any]] = {
    ("GET", "/devices"): (Role.VIEWER, None),
    ("GET", "/devices/{device_id}"): (Role.VIEWER, None),
    ("PUT", "/devices/{device_id}"): (Role.OPERATOR, {}),
    ("PATCH", "/devices/{device_id}"): (Role.OPERATOR, {}),
    ("GET", "/devices/{device_id}/attestation"): (Role.VIEWER, None),
    ("PUT", "/devices/{device_id}/attestation"): (Role.OPERATOR, {"type": "symmetricKey"}),
    ("PATCH", "/devices/{device_id}/attestation"): (Role.OPERATOR, {"type": "symmetricKey"}),
    ("GET", "/devices/{device_id}/credentials"): (Role.OPERATOR, None),
    ("POST", "/devices/{device_id}/{action}"): (Role.OPERATOR, None),
    ("DELETE", "/devices/{device_id}/attestation"): (Role.OPERATOR, None),
    ("DELETE", "/devices/{device_id}"): (Role.OPERATOR, None),
    ("GET", "/deviceTemplates"): (Role.VIEWER, None),
    ("GET", "/deviceTemplates/{template_id}"): (Role.VIEWER, None),
    ("PUT", "/deviceTemplates/{template_id}"): (Role.BUILDER, TEMPLATE),
    ("PATCH", "/deviceTemplates/{template_id}"): (Role.BUILDER, {"displayName": "Z"}),
    ("DELETE", "/deviceTemplates/{template_id}"): (Role.BUILDER, None),
    ("GET", "/enrollmentGroups"): (Role.VIEWER, None),
    ("GET", "/enrollmentGroups/{group_id}"): (Role.VIEWER, None),
    ("PUT", "/enrollmentGroups/{group_id}"): (Role.ADMINISTRATOR, GROUP),
    ("PATCH", "/enrollmentGroups/{group_id}"): (Role.ADMINISTRATOR, {}),
    ("GET", CERTIFICATE): (Role.VIEWER, None),
    ("PUT", CERTIFICATE): (Role.ADMINISTRATOR, PROOF),
    ("POST", f"{CERTIFICATE}/generateVerificationCode"): (Role.ADMINISTRATOR, None),
    ("POST", f"{CERTIFICATE}/verify"): (Role.ADMINISTRATOR, PROOF),
    ("PUT", f"{CERTIFICATE}/crl"): (Role.ADMINISTRATOR, {"crl": CRL}),
    ("DELETE", f"{CERTIFICATE}/crl"): (Role.ADMINISTRATOR, None),
    ("DELETE", CERTIFICATE): (Role.ADMINISTRATOR, None),
    ("DELETE", "/enrollmentGroups/{group_id}"): (Role.ADMINISTRATOR, None),
    ("GET", "/apiTokens"): (Role.ADMINISTRATOR, None),
    ("PUT", "/apiTokens/{token_id}"): (Role.ADMINISTRATOR, {"roles": [{"role": "viewer"}]}),
    ("GET", "/apiTokens/{token_id}"): (Role.ADMINISTRATOR, None),
    ("DELETE", "/apiTokens/{token_id}"): (Role.ADMINISTRATOR, None),
    ("GET", "/roles"): (Role.VIEWER, None),
    ("GET", "/roles/{role_id}"): (Role.VIEWER, None),
    ("GET", "/audit"): (Role.ADMINISTRATOR, None),
    ("POST", "/deviceJobs/import"): (Role.OPERATOR, None),
    ("POST", "/deviceJobs/change"): (Role.OPERATOR, {"action": "block", "id_prefix": "nobody"}),
    ("GET", "/deviceJobs"): (Role.VIEWER, None),
    ("GET", "/deviceJobs/export"): (Role.VIEWER, None),
    ("GET", "/deviceJobs/{job_id}"): (Role.VIEWER, None),
    ("GET", "/deviceJobs/{job_id}/problems"): (Role.VIEWER, None),
    ("POST", "/deviceJobs/{job_id}/cancel"): (Role.OPERATOR, None),
}
"""In an order in which each finds what it is about."""
NAMES = {
    "device_id": "d", "action": "block", "template_id": "dtmi:x:Y;1", "entry": "primary", "token_id": "t",
    "role_id": "viewer",
}  # fmt: skip


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        await bench.call("device.register", device_id="d")
        await bench.call("enrollment.create", device_id="d", attestation="symmetricKey")
        await bench.call("group.create", name="G", attestation="symmetricKey")
        await bench.call("group.create", name="X", attestation="x509", primary_certificate=CA)
        await bench.call(
            "template.import",
            content='{"@context": "dtmi:dtdl:context;2", "@id": "dtmi:x:Y;1", "@type": "Interface"}',
        )
        yield bench


@pytest.fixture
async def app(bench: Bench, tmp_path: Path) -> AsyncIterator[FastAPI]:
    jobs = Jobs(bench.operations, tmp_path / "jobs", extended_ids=False, clock=lambda: NOW)
    started = await jobs.change_devices({"action": "unblock"}, ["d"], by=bench.by)
    NAMES["job_id"] = started["id"]
    yield make_rest_app(
        Context(
            operations=bench.operations,
            tokens=bench.tokens,
            jobs=jobs,
            id_scope="0ne00TEST",
            clock=lambda: NOW,
        )
    )
    await jobs.stop()


async def client_of(app: FastAPI, bench: Bench, role: Role | None) -> httpx.AsyncClient:
    headers = {}
    if role is not None:
        headers["Authorization"] = (await bench.call("token.create", name=f"as-{role}", role=role.value))[
            "token"
        ]
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway/", headers=headers,
        params={"api-version": "2022-07-31"},
    )  # fmt: skip


def path_of(template: str) -> str:
    group = "X" if "certificates" in template else "G"
    path = template
    for name, value in (NAMES | {"group_id": group}).items():
        path = path.replace(f"{{{name}}}", value)
    return path


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """What the OpenAPI document says that there is, without the verbs."""
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if not path.startswith("/verbs/")
    }


async def test_every_route_is_in_the_table(app: FastAPI) -> None:
    assert routes_of(app) == set(ROUTES)


@pytest.mark.parametrize("role", Role)
async def test_a_role_is_let_through_where_it_may_and_nowhere_else(
    app: FastAPI, bench: Bench, role: Role
) -> None:
    async with await client_of(app, bench, role) as client:
        for (method, template), (needed, body) in ROUTES.items():
            answer = await client.request(method, path_of(template), json=body)
            said = f"{method} {template} as {role}: {answer.status_code} {answer.text}"
            if role.includes(needed):
                assert answer.is_success or answer.status_code == 400, said
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden"), said


@pytest.mark.parametrize("role", Role)
async def test_a_verb_is_let_through_by_the_same_table(app: FastAPI, bench: Bench, role: Role) -> None:
    given = {"device_id": "d", "name": "G", "template_id": "dtmi:x:Y;1", "slot": "primary", "role": "viewer",
             "attestation": "symmetricKey", "certificate": CA, "content": "[]", "model": "dtmi:x:Y"}  # fmt: skip
    async with await client_of(app, bench, role) as client:
        for name, verb in VERBS.items():
            if verb.is_job:
                continue
            body = {
                field: given.get(field, "x")
                for field, info in verb.arguments.model_fields.items()
                if info.is_required()
            }
            answer = await client.post(f"/verbs/{name}", json=body)
            said = f"{name} as {role}: {answer.status_code} {answer.text}"
            assert (answer.status_code == 403) == (not role.includes(verb.role)), said
            assert answer.status_code < 500, said


async def test_without_a_token_no_route_answers(app: FastAPI, bench: Bench) -> None:
    async with await client_of(app, bench, None) as client:
        for (method, template), (_, body) in ROUTES.items():
            answer = await client.request(method, path_of(template), json=body)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), template
        for name in VERBS:
            if not VERBS[name].is_job:
                assert (await client.post(f"/verbs/{name}", json={})).status_code == 401
        assert (await client.get("/openapi.json")).status_code == 200


async def test_keys_are_shown_only_to_who_may_see_them(app: FastAPI, bench: Bench) -> None:
    for role in Role:
        async with await client_of(app, bench, role) as client:
            group = (await client.get("/enrollmentGroups/G")).json()["attestation"]["symmetricKey"]
            listed = (await client.get("/enrollmentGroups")).text
            own = (await client.get("/devices/d/attestation")).json()["symmetricKey"]
        assert ("primaryKey" in group) == ("primaryKey" in listed) == role.includes(Role.ADMINISTRATOR)
        assert ("primaryKey" in own) == role.includes(Role.OPERATOR)


async def test_a_fault_is_answered_without_its_text(
    app: FastAPI, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    async with await client_of(app, bench, Role.VIEWER) as client:
        monkeypatch.setattr(bench.operations, "call", broken)
        answer = await client.get("/devices")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "InternalServerError")
    assert "secret" not in answer.text


async def test_a_body_that_hides_its_length_is_refused_over_the_limit(app: FastAPI, bench: Bench) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 65536

    async with await client_of(app, bench, Role.OPERATOR) as client:
        answer = await client.put(
            "/devices/d", content=endless(), headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PayloadTooLarge")


async def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    now = NOW
    async with open_bench(tmp_path, clock=lambda: now) as bench:
        jobs = Jobs(bench.operations, tmp_path / "jobs", extended_ids=False, clock=lambda: now)
        context = Context(
            operations=bench.operations,
            tokens=bench.tokens,
            jobs=jobs,
            id_scope="0ne00TEST",
            clock=lambda: now,
        )
        async with await client_of(make_rest_app(context), bench, Role.VIEWER) as client:
            assert (await client.get("/devices")).status_code == 200
            now += 366 * 86_400
            assert (await client.get("/devices")).status_code == 401
