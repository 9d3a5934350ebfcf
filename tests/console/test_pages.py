"""The console's pages in a real browser, each used as an operator uses it."""

import base64
import json
import re
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from playwright.async_api import expect

from gateway import pki
from tests.support.api import Api, trust
from tests.support.browser import DESK, PHONE, Console
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess
from tests.unit.identity.certificates import revocation_list

PAGES = (
    "/", "/live", "/devices", "/devices/new", "/devices/import", "/device/nobody-1", "/jobs", "/groups", "/groups/new",
    "/groups/SAS-IoT-Devices", "/groups/X509-IoT-Devices", "/enrollments",
    "/enrollments/new", "/templates", "/templates/new", "/audit",
    "/tokens",
)  # fmt: skip
MODEL = {
    "@context": "dtmi:dtdl:context;2", "@id": "dtmi:com:example:Console;1", "@type": "Interface",
    "displayName": "Console mill",
    "contents": [
        {"@type": ["Telemetry", "AngularVelocity"], "name": "speed", "schema": "double", "unit": "radianPerSecond"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_no_accessibility_fault_and_fits_a_phone_and_a_desk(
    console: Console, path: str
) -> None:
    await console.goto(path)
    await expect(console.page.locator("h1")).to_be_visible()
    assert await console.faults() == []
    for size in (PHONE, DESK):
        await console.page.set_viewport_size(size)
        assert await console.page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_every_page_is_for_those_who_signed_in(gateway: GatewayProcess) -> None:
    for path in PAGES:
        answer = httpx.get(f"https://localhost:{gateway.setup['httpPort']}{path}", verify=trust(gateway))
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in"), path


async def test_a_device_is_registered_found_blocked_and_deleted(console: Console, fleet: Fleet) -> None:
    page = console.page
    await console.goto("/devices")
    await page.get_by_role("link", name="Register a device").click()
    await page.get_by_label("Device id").fill("not an id")
    await page.get_by_label("Tags").fill("hall-9")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("alert")).to_contain_text("not an id")
    await expect(page.get_by_label("Tags")).to_have_value("hall-9")
    await page.get_by_label("Device id").fill("pages-1")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("heading", name="pages-1")).to_be_visible()
    with fleet.hub("pages-1") as device:
        await expect(page.locator(".dot.on")).to_be_visible()
        await page.get_by_role("button", name="Block").click()
        await expect(page.get_by_text("Its session ends at once")).to_be_visible()
        await page.get_by_role("button", name="Block").click()
        await expect(page.locator(".badge.blocked")).to_be_visible()
        assert device.is_closed()
    await console.goto("/devices?tag=hall-9")
    await page.get_by_role("link", name="pages-1").click()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("Deleted pages-1.")).to_be_visible()


async def test_what_can_not_be_saved_is_said_beside_its_field_and_stays_as_it_was_typed(
    console: Console,
) -> None:
    page = console.page
    with Api(console.gateway) as api:
        api.ok("PUT", "/devices/pages-edit", json={"displayName": "Old"})
    await console.goto("/device/pages-edit")
    await page.get_by_label("Name").fill("New")
    await page.get_by_label("Tags").fill("no/such/tag ü")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Tags")).to_have_value("no/such/tag ü")
    await page.get_by_label("Tags").fill("hall-1")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    with Api(console.gateway) as api:
        api.ok("PATCH", "/devices/pages-edit", json={"displayName": "By somebody else"})
    await page.get_by_label("Name").fill("Mine")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Name")).to_have_value("Mine")


async def test_keys_are_shown_only_when_they_are_asked_for(console: Console) -> None:
    page = console.page
    with Api(console.gateway) as api:
        api.ok("PUT", "/devices/pages-keys", json={})
        key = console.gateway.json("device", "connection", "pages-keys", "--keys")["primaryKey"]
    await console.goto("/device/pages-keys")
    assert key not in await page.content()
    await page.get_by_role("button", name="Show keys").click()
    await expect(page.get_by_text(key)).to_be_visible()
    assert key not in page.url


async def test_why_a_device_was_refused_and_whether_a_token_would_do(console: Console, fleet: Fleet) -> None:
    page = console.page
    username, token = fleet.hub_login("pages-why", expires_in_s=-3600)
    with Device.plain(console.gateway.setup) as device:
        assert device.connect("pages-why", username, token) == 5
    await console.goto("/device/pages-why")
    await expect(page.get_by_text("not registered")).to_be_visible()
    await expect(page.get_by_role("region", name="Attempts to connect")).to_contain_text("token_expired")
    await page.get_by_label("SAS token or certificate").fill(fleet.hub_login("pages-why")[1])
    await page.get_by_role("button", name="Judge it").click()
    await expect(page.get_by_text("It would be accepted")).to_be_visible()
    assert await console.faults() == []


async def test_who_waits_is_approved_from_the_list(console: Console, fleet: Fleet) -> None:
    page = console.page
    console.gateway.cli("group", "create", "Waiters", "--no-auto-approve")
    key = console.gateway.json("group", "show", "Waiters", "--keys")["primaryKey"]
    waiters = Fleet(console.gateway.setup, key)
    for number in range(3):
        with Device.plain(console.gateway.setup) as device:
            assert device.connect(f"wait-{number}", *waiters.hub_login(f"wait-{number}")) != 0
    await console.goto("/")
    await page.get_by_role("link", name="3 devices wait for approval").click()
    for number in range(2):
        await page.get_by_role("checkbox", name=f"wait-{number}").check()
    await page.get_by_label("What", exact=True).select_option("approve")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator(".badge.done")).to_be_visible()
    with waiters.hub("wait-0"):
        pass
    await console.goto("/devices?status=waiting")
    await page.get_by_label("What", exact=True).select_option("reject")
    await page.get_by_label("With which").select_option("all")
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_text("all devices that match (status waiting)")).to_be_visible()
    await page.get_by_role("button", name="Reject").click()
    await expect(page.get_by_text("1 of 1")).to_be_visible()


async def test_a_file_of_10000_devices_is_imported_with_its_errors_by_row(
    console: Console, tmp_path: Path
) -> None:
    page, file = console.page, tmp_path / "devices.csv"
    good = [f"pages-many-{number:05d},Device {number}" for number in range(10_000)]
    file.write_text("\n".join(["IOTC_DEVICEID,IOTC_DEVICENAME", *good, "not an id,x", ""]))
    await console.goto("/devices/import")
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Import").click()
    await expect(page.locator(".badge.done")).to_be_visible(timeout=60_000)
    await expect(page.get_by_text("10,001 of 10,001")).to_be_visible()
    await expect(page.get_by_role("region", name="Problems")).to_contain_text("10002")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download all as CSV").click()
    assert "not an id" in (await (await download.value).path()).read_text()
    await console.goto("/devices?id_prefix=pages-many-")
    await page.get_by_role("link", name="Next page").click()
    await expect(page.get_by_role("link", name="pages-many-00050")).to_be_visible()
    assert await console.faults() == []


async def test_a_group_is_made_and_its_ca_is_proved(console: Console, tmp_path: Path) -> None:
    page = console.page
    ca = pki.create_ca("Console CA")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    await console.goto("/groups/new")
    await page.get_by_label("Id", exact=True).fill("bad id")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("alert")).to_contain_text("can't name a group")
    await page.get_by_label("Id", exact=True).fill("Console-CA")
    await page.get_by_label("Devices prove themselves by").select_option("x509")
    await page.get_by_label("The CA's certificate").set_input_files(tmp_path / "ca.pem")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_text("not verified")).to_be_visible()
    await page.get_by_role("button", name="Make a verification code").click()
    code = await page.locator("[data-copy='verification code']").inner_text()
    proof = pki.issue_device(ca, code)
    (tmp_path / "proof.pem").write_bytes(proof.certificate_pem)
    await page.get_by_label("proof.crt").set_input_files(tmp_path / "proof.pem")
    await page.get_by_role("button", name="Verify").click()
    await expect(page.locator(".badge.verified")).to_be_visible()
    (tmp_path / "ca.crl").write_bytes(revocation_list(ca, 5).public_bytes(Encoding.PEM))
    await page.get_by_text("Give a revocation list").click()
    await page.get_by_label("Revocation list (PEM file)").first.set_input_files(tmp_path / "proof.pem")
    await page.get_by_role("button", name="Set").first.click()
    await expect(page.get_by_role("alert")).to_contain_text("not a revocation list")
    await page.get_by_text("Give a revocation list").click()
    await page.get_by_label("Revocation list (PEM file)").first.set_input_files(tmp_path / "ca.crl")
    await page.get_by_role("button", name="Set").first.click()
    await expect(page.get_by_text("1 certificates of the primary CA are revoked")).to_be_visible()
    await expect(page.get_by_text("1, by the list of")).to_be_visible()
    assert await console.faults() == []
    await page.get_by_role("button", name="Remove the revocation list").click()
    await expect(page.get_by_text("has no revocation list any more")).to_be_visible()
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("button", name="Disable").click()
    await expect(page.locator(".badge.disabled")).to_be_visible()


async def test_a_groups_keys_are_masked_shown_and_made_anew(console: Console) -> None:
    page = console.page
    console.gateway.cli("group", "create", "Console-Keys")
    key = console.gateway.json("group", "show", "Console-Keys", "--keys")["primaryKey"]
    await console.goto("/groups/Console-Keys")
    assert key not in await page.content()
    await page.get_by_role("button", name="Show keys").click()
    await expect(page.get_by_text(key)).to_be_visible()
    await page.get_by_role("button", name="New primary key").click()
    await page.get_by_role("button", name="Make a new key").click()
    await expect(page.get_by_text("The primary key is a new one.")).to_be_visible()
    assert console.gateway.json("group", "show", "Console-Keys", "--keys")["primaryKey"] != key


async def test_a_device_is_enrolled_by_itself_and_its_keys_are_rolled(console: Console, fleet: Fleet) -> None:
    page = console.page
    await console.goto("/enrollments")
    await page.get_by_role("link", name="New enrollment").first.click()
    await page.get_by_label("Device id").fill("alone-1")
    await page.get_by_label("Primary key").fill("no base64!")
    await page.get_by_role("button", name="Enroll").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Device id")).to_have_value("alone-1")
    await page.get_by_label("Primary key").fill("")
    await page.get_by_role("button", name="Enroll").click()
    await expect(page.get_by_text("Enrolled alone-1.")).to_be_visible()
    key = console.gateway.json("enrollment", "show", "alone-1", "--keys")["primaryKey"]
    assert key not in await page.content()
    await page.get_by_role("button", name="Show keys").click()
    await expect(page.get_by_text(key)).to_be_visible()
    assert await console.faults() == []
    username, _ = fleet.hub_login("alone-1")
    token = fleet.token("localhost/devices/alone-1", "alone-1", key=key)
    with Device.plain(console.gateway.setup) as device:
        assert device.connect("alone-1", username, token) == 0
        await page.get_by_role("button", name="New primary key").click()
        await page.get_by_role("button", name="Make a new key").click()
        await expect(page.get_by_text("Made a new key for alone-1.")).to_be_visible()
        assert device.is_closed()
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("button", name="Disable").click()
    await expect(page.locator(".badge.disabled")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("Deleted alone-1.")).to_be_visible()


async def test_a_certificate_and_a_tpm_are_enrolled(console: Console, tmp_path: Path) -> None:
    page = console.page
    leaf = pki.self_signed_device("alone-x509")
    (tmp_path / "leaf.pem").write_bytes(leaf.certificate_pem)
    await console.goto("/enrollments/new?device=alone-x509")
    await page.get_by_label("The device proves itself by").select_option("x509")
    await page.get_by_label("The device's certificate").set_input_files(tmp_path / "leaf.pem")
    await page.get_by_role("button", name="Enroll").click()
    await expect(page.get_by_text("its own certificate")).to_be_visible()
    assert await console.faults() == []
    await console.goto("/enrollments/new?device=alone-tpm")
    await page.get_by_label("The device proves itself by").select_option("tpm")
    await page.get_by_label("Endorsement key").fill("no key")
    await page.get_by_role("button", name="Enroll").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Endorsement key")).to_have_value("no key")


async def test_a_template_is_imported_and_one_is_made_from_telemetry(console: Console, fleet: Fleet) -> None:
    page = console.page
    await console.goto("/templates/new")
    await page.get_by_label("or paste it").fill("{")
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("or paste it").fill(json.dumps(MODEL))
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("heading", name="Console mill")).to_be_visible()
    await expect(page.locator(".tree")).to_contain_text("speed double in radianPerSecond AngularVelocity")
    with fleet.hub("pages-new-kind") as device:
        device.publish(
            "devices/pages-new-kind/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8", b'{"level": 4.5}'
        )
        await console.goto("/device/pages-new-kind")
        await page.get_by_role("link", name="Make a template from its telemetry").click()
        await expect(page.locator("textarea")).to_have_value(re.compile("level"))
        await page.get_by_role("button", name="Publish").click()
        await expect(page.get_by_text("Published dtmi:")).to_be_visible()
    assert console.gateway.json("device", "show", "pages-new-kind")["template"] is not None


async def test_a_token_is_made_shown_once_and_deleted_and_the_audit_log_tells(console: Console) -> None:
    page = console.page
    await console.goto("/tokens")
    await page.get_by_label("Name").fill("reader")
    await page.get_by_role("button", name="Create").click()
    token = await page.locator("[data-copy=token]").inner_text()
    assert token.startswith("SharedAccessSignature")
    await console.goto("/tokens")
    assert token not in await page.content()
    await page.get_by_role("row", name="reader").get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete").click()
    await console.goto("/audit?target=reader")
    await expect(page.get_by_role("cell", name="token.delete")).to_be_visible()
    await expect(page.get_by_role("cell", name="token.create")).to_be_visible()
    assert await console.faults() == []


async def test_a_viewer_sees_no_button_that_changes_something_and_the_server_refuses_it_all_the_same(
    console: Console,
) -> None:
    page = console.page
    with Api(console.gateway) as api:
        api.ok("PUT", "/devices/pages-viewed", json={})
        made = api.ok("PUT", "/apiTokens/looker", json={"roles": [{"role": "viewer"}]})
    await page.context.clear_cookies()
    await console.sign_in(made["token"])
    for path in (
        "/devices",
        "/device/pages-viewed",
        "/groups",
        "/groups/SAS-IoT-Devices",
        "/enrollments",
        "/templates",
        "/jobs",
    ):
        await console.goto(path)
        shown = await page.locator("main form[method=post] button:not([class='quiet'])").all_inner_texts()
        assert set(shown) <= {"Judge it"}, path
    csrf = await page.locator("meta[name=csrf]").get_attribute("content")
    for path in (
        "/devices/new", "/devices/change", "/device/pages-viewed/edit", "/device/pages-viewed/keys",
        "/device/pages-viewed/block", "/device/pages-viewed/trace", "/groups/new", "/groups/SAS-IoT-Devices/keys",
        "/groups/SAS-IoT-Devices/edit", "/groups/SAS-IoT-Devices/regenerate/primary", "/groups/SAS-IoT-Devices/delete",
        "/templates/new", "/templates/delete?id=dtmi:x:Y;1", "/tokens", "/tokens/delete",
    ):  # fmt: skip
        form = {"csrf": csrf or "", "sure": "yes", "id": "pages-viewed", "action": "block", "name": "x", "content": "{}",
                "device_id": "x", "attestation": "symmetricKey", "role": "viewer", "days": "1"}  # fmt: skip
        answer = await page.request.post(f"{console.url}{path}", form=form, max_redirects=0)
        text = await answer.text()
        assert answer.status in {400, 403}, f"{path}: {answer.status}"
        assert "needs the role" in text, path
    with Api(console.gateway) as api:
        assert api.ok("GET", "/devices/pages-viewed")["enabled"] is True


async def test_a_form_from_elsewhere_is_refused(console: Console) -> None:
    with Api(console.gateway) as api:
        api.ok("PUT", "/devices/pages-csrf", json={})
    for csrf in ("", "x", base64.b64encode(b"16 random bytes.").decode()):
        answer = await console.page.request.post(
            f"{console.url}/device/pages-csrf/block", form={"csrf": csrf, "sure": "yes"}, max_redirects=0
        )
        assert answer.status == 403
    answer = await console.page.request.post(f"{console.url}/devices/import/file", data="IOTC_DEVICEID\nx\n")
    assert answer.status == 403
    with Api(console.gateway) as api:
        assert api.ok("GET", "/devices/pages-csrf")["enabled"] is True


async def test_what_strangers_write_is_shown_as_text(console: Console) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    with Device.plain(console.gateway.setup) as device:
        assert (
            device.connect(
                hostile, f"localhost/{hostile}/?api-version=2021-04-12", "SharedAccessSignature sr=x"
            )
            != 0
        )
    await console.goto("/live")
    row = console.page.get_by_role("row", name="connect.refused").first
    await expect(row).to_contain_text("onerror")
    await console.page.get_by_role("link", name=hostile).first.click()
    await expect(console.page.locator("h1")).to_have_text(hostile)
    assert await console.page.locator("img[src=x]").count() == 0


async def test_what_a_device_sends_is_seen_as_it_comes(console: Console, fleet: Fleet) -> None:
    page = console.page
    with fleet.hub("pages-sends") as device:
        await console.goto("/device/pages-sends")
        await expect(
            page.get_by_text("Leave the page open: what the device sends appears here")
        ).to_be_visible()
        device.publish("devices/pages-sends/messages/events/", b'{"speed": 7, "note": "<b>bold</b>"}')
        device.publish("devices/pages-sends/messages/events/%24.ct=application%2Fjson", b"no JSON")
        sent = page.get_by_role("region", name="Last telemetry")
        await expect(sent.get_by_role("row", name="unchecked")).to_contain_text('"note": "<b>bold</b>"')
        await expect(sent.get_by_role("row", name="dead letter")).to_contain_text("body_not_json")
    assert await console.faults() == []
    for size in (PHONE, DESK):
        await page.set_viewport_size(size)
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
