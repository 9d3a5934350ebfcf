"""The console when things go wrong: the gateway restarts under an open page, a session ends in the middle of a form, a role
asks for what it may not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from playwright.async_api import Page, expect

from gateway.console import app as console_app
from tests.integration.conftest import fleet_of
from tests.support.api import Api, trust
from tests.support.browser import Console
from tests.support.gateway_process import GatewayProcess

NO_FORM = {"/sign-in", "/sign-out"}
"""Posts that need no session, and so no CSRF token."""


@pytest.fixture(scope="module")
def own_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One that may be restarted."""
    with GatewayProcess(tmp_path_factory.mktemp("restarted") / "gw") as process:
        yield process


async def test_a_page_says_that_the_gateway_is_gone_and_goes_on_by_itself_when_it_is_back(
    page: Page, own_gateway: GatewayProcess
) -> None:
    console = Console(page, own_gateway)
    await console.sign_in()
    lost = page.get_by_text("The gateway does not answer")
    await expect(lost).to_be_hidden()
    own_gateway.stop()
    await expect(lost).to_be_visible()
    own_gateway.start()
    await expect(lost).to_be_hidden()
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()


async def test_a_live_view_that_is_cut_says_so_and_shows_what_happens_after_the_restart(
    page: Page, own_gateway: GatewayProcess
) -> None:
    console = Console(page, own_gateway)
    await console.sign_in()
    await console.goto("/live")
    own_gateway.stop()
    await expect(page.locator("#lost")).to_be_visible()
    own_gateway.start()
    await expect(page.locator("#lost")).to_be_hidden(timeout=20_000)
    with fleet_of(own_gateway).hub("after-the-restart"):
        await expect(page.get_by_role("row", name="session.opened after-the-restart")).to_be_visible(
            timeout=20_000
        )


async def test_what_was_typed_is_there_again_after_a_session_that_ended_in_the_middle_of_a_form(
    console: Console,
) -> None:
    page = console.page
    await console.goto("/devices/new")
    await page.get_by_label("Device id").fill("typed-1")
    await page.get_by_label("Tags").fill("hall-3 line-7")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_label("API token")).to_be_visible()
    await page.get_by_label("API token").fill(console.gateway.setup["apiToken"])
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_label("Device id")).to_have_value("typed-1")
    await expect(page.get_by_label("Tags")).to_have_value("hall-3 line-7")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("heading", name="typed-1")).to_be_visible()
    await console.goto("/devices/new")
    await expect(page.get_by_label("Device id")).to_have_value("")


async def test_keys_that_were_typed_are_kept_nowhere(console: Console) -> None:
    page = console.page
    await console.goto("/groups/new")
    await page.get_by_label("Id", exact=True).fill("Typed-Keys")
    await page.get_by_label("Primary key").fill("c2VjcmV0")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_label("API token")).to_be_visible()
    kept = await page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
    assert "Typed-Keys" in kept
    assert "c2VjcmV0" not in kept


def routes(method: str) -> list[str]:
    """Every path of the console that answers `method`, with something in its places."""
    found = [
        route.path for router in console_app._ROUTERS for route in router.routes
        if isinstance(route, APIRoute) and method in route.methods
    ]  # fmt: skip
    assert len(found) > 10
    places = {
        "device_id": "walk-1",
        "name": "SAS-IoT-Devices",
        "slot": "primary",
        "job_id": "x",
        "verb": "block",
    }
    for name, value in places.items():
        found = [path.replace(f"{{{name}}}", value) for path in found]
    assert not [path for path in found if "{" in path], "give the new place a value above"
    return found


@contextmanager
def session(gateway: GatewayProcess, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"https://localhost:{gateway.setup['httpPort']}", verify=trust(gateway)
    ) as client:
        assert client.post("/sign-in", data={"token": token}).status_code == 303
        yield client


@pytest.mark.parametrize("path", sorted(set(routes("POST")) - NO_FORM))
def test_nothing_is_changed_without_a_session_or_by_a_form_from_elsewhere(
    gateway: GatewayProcess, path: str
) -> None:
    with httpx.Client(
        base_url=f"https://localhost:{gateway.setup['httpPort']}", verify=trust(gateway)
    ) as stranger:
        answer = stranger.post(path, data={"sure": "yes"})
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/sign-in")
    with session(gateway, gateway.setup["apiToken"]) as client:
        answer = client.post(path, data={"sure": "yes", "csrf": "wrong"}, params={"id": "dtmi:x:Y;1"})
        assert answer.status_code == 403, answer.text[:300]
        assert "not from a page of your session" in answer.text


def test_a_viewer_changes_nothing_by_any_form_of_the_console(gateway: GatewayProcess, tmp_path: Path) -> None:
    with Api(gateway) as api:
        api.ok("PUT", "/devices/walk-1", json={})
        viewer = api.ok("PUT", "/apiTokens/walker", json={"roles": [{"role": "viewer"}]})["token"]
        before = [api.ok("GET", path) for path in ("/devices/walk-1", "/enrollmentGroups", "/apiTokens")]
    everything = {
        "sure": "yes", "action": "block", "id": "walk-1", "name": "walked", "device_id": "walk-2", "credential": "x",
        "attestation": "symmetricKey", "role": "administrator", "days": "1", "content": "{}", "certificate": "x",
        "key": "primary",
    }  # fmt: skip
    with session(gateway, viewer) as client:
        page = client.get("/").text
        csrf = page.partition('name="csrf" content="')[2].partition('"')[0]
        assert csrf
        for path in sorted(set(routes("POST")) - NO_FORM):
            query = {"id": "dtmi:x:Y;1"} if path == "/templates/delete" else {}
            answer = client.post(
                path, data={**everything, "csrf": csrf}, params=query, headers={"X-CSRF-Token": csrf}
            )
            reads = path.endswith("/why") or path == "/devices/export"
            assert answer.status_code in ({200, 400} if reads else {400, 403, 404}), (
                f"{path}: {answer.status_code}"
            )
    with Api(gateway) as api:
        after = [api.ok("GET", path) for path in ("/devices/walk-1", "/enrollmentGroups", "/apiTokens")]
    assert after == before
