"""A day of an operator's in the console, with devices made with Microsoft's unmodified SDK."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from gateway import pki
from tests.e2e.conftest import HERE, sdk_python
from tests.support.browser import Console
from tests.support.gateway_process import GatewayProcess

pytestmark = pytest.mark.sdk
EVENTS_S = 60_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """On port 8883, the only one that Microsoft's Python SDK dials."""
    with GatewayProcess(tmp_path_factory.mktemp("story") / "gw", port=8883) as process:
        yield process


class SdkDevice:
    """An SDK device in a process of its own, that stays connected until it is told to go."""

    def __init__(self, gateway: GatewayProcess, device_id: str, key: str, **order: Any) -> None:
        ca = Path(gateway.setup["caCertificate"])
        asked = {"host": "localhost", "id_scope": gateway.setup["idScope"], "ca": ca.read_text(), "id": device_id,
                 "key": key, **order}  # fmt: skip
        self._process = subprocess.Popen(
            [sdk_python(), HERE / "sdk_device.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "SSL_CERT_FILE": str(ca)},
        )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked))
        self._process.stdin.close()

    async def seen(self) -> dict[str, Any]:
        """What it saw, at its end."""
        assert self._process.stdout is not None
        output = await asyncio.to_thread(self._process.stdout.read)
        await asyncio.to_thread(self._process.wait, 60)
        assert self._process.stderr is not None
        self._process.stdout.close()
        self._process.stderr.close()
        found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        return found


async def copied(page: Page, name: str) -> str:
    return await page.locator(f"[data-copy='{name}']").inner_text()


async def device_key(console: Console, group: str, device_id: str) -> str:
    found = await asyncio.to_thread(console.gateway.cli, "device", "compute-key", device_id, "--group", group)
    return found.stdout.strip()


async def test_the_day_of_an_operator_with_devices_of_microsofts_sdk(  # noqa: PLR0915 - a day is long
    page: Page, gateway: GatewayProcess, tmp_path: Path
) -> None:
    console = Console(page, gateway)
    await console.sign_in()

    # Create a SAS group whose devices wait for an approval.
    await page.get_by_role("link", name="Enrollment groups").first.click()
    await page.get_by_role("link", name="New group").first.click()
    await page.get_by_label("Id", exact=True).fill("Line-7")
    await page.get_by_label("Devices come in at once").uncheck()
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", name="Line-7")).to_be_visible()

    # A real device appears in the live view, and among what waits.
    await console.goto("/live")
    key = await device_key(console, "Line-7", "mill-1")
    mill = SdkDevice(gateway, "mill-1", key, telemetry=[{"body": {"speed": 7.5}}], linger_until_closed=True)
    await expect(page.get_by_role("row", name="registration.deferred mill-1").first).to_be_visible(
        timeout=EVENTS_S
    )
    await console.goto("/")
    await page.get_by_role("link", name="1 device waits for approval").click()
    await page.get_by_role("link", name="mill-1").click()
    await page.get_by_role("button", name="Approve").click()

    # Approved, it comes in by itself, and its telemetry arrives.
    await expect(page.locator(".dot.on")).to_be_visible(timeout=EVENTS_S)
    sent = page.get_by_role("region", name="Last telemetry")
    await expect(sent).to_contain_text('"speed": 7.5', timeout=EVENTS_S)
    assert await console.faults() == []

    # Make a template from what it sends, and publish it.
    await page.get_by_role("link", name="Make a template from its telemetry").click()
    await expect(page.locator("textarea")).to_have_value(re.compile("speed"))
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_text("Published dtmi:")).to_be_visible()

    # Block it, and see its session end.
    await page.get_by_role("button", name="Block").click()
    await page.get_by_role("button", name="Block").click()
    await expect(page.locator(".dot.off")).to_be_visible()
    gateway.wait_for("session.closed", device_id="mill-1", reason="device_blocked")
    assert (await mill.seen())["closed"] is True

    # Another one was refused: read why, and what to do.
    wrong = await device_key(console, "Line-7", "mill-9")
    await SdkDevice(gateway, "mill-2", wrong).seen()
    await console.goto("/device/mill-2")
    await expect(page.get_by_role("region", name="Attempts to connect")).to_contain_text(
        "token_signature_invalid"
    )

    # 10,000 devices from a file.
    file = tmp_path / "devices.csv"
    rows = [f"fleet-{number:05d},Device {number}" for number in range(10_000)]
    file.write_text("\n".join(["IOTC_DEVICEID,IOTC_DEVICENAME", *rows, ""]))
    await console.goto("/devices/import")
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Import").click()
    await expect(page.get_by_text("10,000 of 10,000")).to_be_visible(timeout=EVENTS_S)

    # A CA, proved.
    ca = pki.create_ca("Story CA")
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    await console.goto("/groups/new")
    await page.get_by_label("Id", exact=True).fill("Story-CA")
    await page.get_by_label("Devices prove themselves by").select_option("x509")
    await page.get_by_label("The CA's certificate").set_input_files(tmp_path / "ca.pem")
    await page.get_by_role("button", name="Create").click()
    await page.get_by_role("button", name="Make a verification code").click()
    proof = pki.issue_device(ca, await copied(page, "verification code"))
    (tmp_path / "proof.pem").write_bytes(proof.certificate_pem)
    await page.get_by_label("proof.crt").set_input_files(tmp_path / "proof.pem")
    await page.get_by_role("button", name="Verify").click()
    await expect(page.locator(".badge.verified")).to_be_visible()
    assert await console.faults() == []

    # All of it is in the audit log.
    await console.goto("/audit")
    for verb in (
        "group.verify_ca",
        "device.import",
        "device.block",
        "template.import",
        "device.approve",
        "group.create",
    ):
        await expect(page.get_by_role("cell", name=verb, exact=True).first).to_be_visible()
