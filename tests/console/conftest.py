"""One running gateway and one headless Chromium for the tests of this directory, and a page for each.

The browser is Debian's (`chromium`), or what `GATEWAY_CHROMIUM` names. Without one these tests are skipped, loudly.
"""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.integration.conftest import fleet, gateway
from tests.support.browser import ARGUMENTS, Console
from tests.support.gateway_process import GatewayProcess

__all__ = ["fleet", "gateway"]

CHROMIUM = os.environ.get("GATEWAY_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def chromium() -> str:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install Debian's package `chromium`, or set GATEWAY_CHROMIUM")
    return CHROMIUM


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    """A browser with an empty profile, at a desk, that trusts the set-up's certificate. Its console has no errors."""
    problems: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        await context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        await browser.close()
    unexpected = [
        text for text in problems if "Failed to load resource" not in text and "net::ERR" not in text
    ]
    assert not unexpected


@pytest.fixture
async def console(page: Page, gateway: GatewayProcess) -> Console:
    """Signed in as the first administrator."""
    console = Console(page, gateway)
    await console.sign_in()
    return console
