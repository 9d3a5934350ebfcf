"""Signing in to the console, and the overview that follows, in a real browser."""

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.api import Api, trust
from tests.support.browser import DESK, PHONE, Console
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess


async def test_the_token_of_gateway_init_signs_in_and_shows_the_overview(console: Console) -> None:
    await expect(console.page.get_by_text("What waits for you")).to_be_visible()
    cookie = (await console.page.context.cookies())[0]
    assert cookie["name"] == "gateway_session"
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
    assert console.gateway.setup["apiToken"] not in cookie["value"]
    assert await console.faults() == []


async def test_a_wrong_token_is_told_beside_its_field(page: Page, gateway: GatewayProcess) -> None:
    console = Console(page, gateway)
    await console.goto("/live?event=x")
    await expect(page).to_have_url(f"{console.url}/sign-in?next=%2Flive%3Fevent%3Dx")
    await page.get_by_label("API token").fill("nonsense")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("This is not an API token that is in force here.")
    assert await console.faults() == []
    assert gateway.lines("api.refused", path="/sign-in")


async def test_after_signing_in_nobody_is_sent_to_another_site(page: Page, gateway: GatewayProcess) -> None:
    console = Console(page, gateway)
    for elsewhere in ("https://example.org/", "//example.org/", "/\\example.org/"):
        await console.goto(f"/sign-in?next={elsewhere}")
        assert await page.locator("input[name=next]").input_value() == "/"


async def test_a_device_that_connects_is_counted_while_one_looks(console: Console, fleet: Fleet) -> None:
    tile = console.page.get_by_role("link", name="connected")
    await expect(tile).to_contain_text("0")
    with fleet.hub("console-1"):
        await expect(tile).to_contain_text("1")


async def test_connects_and_refusals_appear_live_with_their_reason(console: Console, fleet: Fleet) -> None:
    await console.page.get_by_role("link", name="Live", exact=True).click()
    with fleet.hub("console-live"):
        opened = console.page.get_by_role("row", name="session.opened console-live")
        await expect(opened).to_be_visible()
    with Device.plain(console.gateway.setup) as stranger:
        username, token = fleet.hub_login("console-live", expires_in_s=-3600)
        assert stranger.connect("console-live", username, token) == 5
    refused = console.page.get_by_role("row", name="connect.refused console-live")
    await expect(refused).to_contain_text("reason=")
    await console.page.get_by_label("Refusals only").check()
    await expect(opened).to_be_hidden()
    await expect(refused).to_be_visible()
    assert await console.faults() == []


async def test_pages_fit_a_phone_and_a_desk(console: Console) -> None:
    for size in (PHONE, DESK):
        await console.page.set_viewport_size(size)
        for path in ("/", "/live"):
            await console.goto(path)
            widest = await console.page.evaluate("document.documentElement.scrollWidth")
            assert widest <= size["width"], path


async def test_a_deleted_token_ends_its_session(console: Console) -> None:
    with Api(console.gateway) as api:
        made = api.ok("PUT", "/apiTokens/visitor", json={"roles": [{"role": "viewer"}]})
        await console.page.context.clear_cookies()
        await console.sign_in(made["token"])
        await expect(console.page.get_by_role("link", name="Audit log")).to_have_count(0)
        api.ok("DELETE", "/apiTokens/visitor")
    await console.goto("/")
    await expect(console.page.get_by_label("API token")).to_be_visible()


async def test_signing_out_ends_the_session(console: Console) -> None:
    await console.page.get_by_role("button", name="Sign out").click()
    await expect(console.page.get_by_label("API token")).to_be_visible()
    await console.goto("/live")
    await expect(console.page.get_by_label("API token")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/live", "/live/events", "/overview/now"])
def test_a_stranger_is_sent_to_sign_in(gateway: GatewayProcess, path: str) -> None:
    answer = httpx.get(f"https://localhost:{gateway.setup['httpPort']}{path}", verify=trust(gateway))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")


def test_every_answer_forbids_scripts_in_pages_and_frames_around_them(gateway: GatewayProcess) -> None:
    for path in ("/", "/sign-in", "/nothing-here", "/static/console.css"):
        answer = httpx.get(f"https://localhost:{gateway.setup['httpPort']}{path}", verify=trust(gateway))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
