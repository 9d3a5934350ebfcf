"""`make screenshots`: the console with a small fleet in it, as pictures for the documentation.

python -m tests.console.screenshots docs/images
"""

import asyncio
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright

from tests.support.browser import ARGUMENTS, Console
from tests.support.device import Device, Fleet
from tests.support.gateway_process import GatewayProcess

_PAGES = {
    "overview": "/", "devices": "/devices", "device": "/device/mill-07",
    "template": "/templates/show?id=dtmi:com:example:Thermostat;1",
    "group": "/groups/Factory", "live": "/live", "enrollment": "/enrollment/saw-1",
}  # fmt: skip
_DESK, _PHONE = (1280, 860), (390, 844)
MODELS = Path(__file__).parents[2] / "gateway" / "cli" / "demo_models"
THERMOSTAT = "dtmi:com:example:Thermostat;1"


async def main(directory: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no Chromium: install Debian's package `chromium`")
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        GatewayProcess(Path(place) / "gw") as gateway,
        contextlib.ExitStack() as devices,
    ):
        await asyncio.to_thread(_populate, gateway, devices)
        await _take(gateway, chromium, directory)


def _populate(gateway: GatewayProcess, devices: contextlib.ExitStack) -> None:
    for model in sorted(MODELS.glob("*.json")):
        gateway.cli("template", "import", model)
    gateway.cli("group", "create", "Factory", "--no-auto-approve")
    fleet = Fleet(gateway.setup, gateway.json("group", "show", "SAS-IoT-Devices", "--keys")["primaryKey"])
    waiting = Fleet(gateway.setup, gateway.json("group", "show", "Factory", "--keys")["primaryKey"])
    for number in range(1, 21):
        device_id = f"mill-{number:02d}"
        model = THERMOSTAT if number % 5 else None
        device = devices.enter_context(fleet.hub(device_id, model=model))
        topic = f"devices/{device_id}/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8"
        device.publish(topic, b'{"temperature": 21.5}')
    for number in range(3):
        with Device.plain(gateway.setup) as device:
            device.connect(f"press-{number}", *waiting.hub_login(f"press-{number}"))
    gateway.cli("enrollment", "create", "saw-1")
    gateway.cli("block", "mill-03")
    for _ in range(4):
        with Device.plain(gateway.setup) as device:
            device.connect("mill-07", *fleet.hub_login("mill-07", expires_in_s=-3600))


async def _take(gateway: GatewayProcess, chromium: str, directory: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = await browser.new_context(ignore_https_errors=True)
        console = Console(await context.new_page(), gateway)
        await console.sign_in()
        for name, path in _PAGES.items():
            for size, (width, height) in (("desk", _DESK), ("phone", _PHONE)):
                for dark in (False, True):
                    await console.page.set_viewport_size({"width": width, "height": height})
                    await console.page.emulate_media(
                        color_scheme="dark" if dark else "light", reduced_motion="reduce"
                    )
                    await console.goto(path)
                    await console.page.locator("h1").wait_for()
                    file = directory / f"{name}-{size}{'-dark' if dark else ''}.png"
                    await console.page.screenshot(path=file)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
