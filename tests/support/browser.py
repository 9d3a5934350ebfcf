"""An operator at the web console, in headless Chromium."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from tests.support.gateway_process import GatewayProcess

__all__ = ["ARGUMENTS", "DESK", "PHONE", "Console"]

ARGUMENTS: Final = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
"""No sandbox: tests may run as root. The rest keeps Chromium from calling home."""
DESK: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
_SERIOUS: Final = {"serious", "critical"}


class Console:
    """A page of a running gateway's console."""

    def __init__(self, page: Page, gateway: GatewayProcess) -> None:
        self.page = page
        self.gateway = gateway
        self.url = f"https://localhost:{gateway.setup['httpPort']}"

    async def sign_in(self, token: str | None = None) -> None:
        """With the administrator's token, or another."""
        await self.page.goto(f"{self.url}/sign-in")
        await self.page.get_by_label("API token").fill(token or self.gateway.setup["apiToken"])
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Overview").wait_for()

    async def goto(self, path: str) -> None:
        await self.page.goto(f"{self.url}{path}")

    async def faults(self) -> list[dict[str, Any]]:
        """What axe-core finds on the page as it is that is serious or worse."""
        script = files("axe_core_python").joinpath("axe.min.js").read_text()
        await self.page.evaluate(script)  # not as a script element: the page's policy forbids those
        found: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            {"id": fault["id"], "help": fault["help"], "nodes": [node["html"] for node in fault["nodes"]][:5]}
            for fault in found["violations"]
            if fault["impact"] in _SERIOUS
        ]

    async def screenshot(
        self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False
    ) -> None:
        """The page as it is, whole."""
        await self.page.set_viewport_size({"width": width, "height": height})
        await self.page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        await self.page.screenshot(path=file, full_page=True)
