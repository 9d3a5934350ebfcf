"""The commands of the operators' pages do what the pages say: each block that is marked `executed` is run, as it stands."""

from pathlib import Path

from tests.e2e.test_readme import BLOCK, ROOT, sh
from tests.support.gateway_process import GatewayProcess


def blocks(page: str) -> dict[str, str]:
    return dict(BLOCK.findall((ROOT / "docs" / page).read_text()))


def set_up(directory: Path) -> str:
    """A set-up in `gw`; returns what a reader's shell knows of it."""
    sh("gateway init gw", directory)
    return "export GATEWAY_CONFIG=gw/gateway.yaml\n"


def test_the_page_on_enrollment_groups(tmp_path: Path) -> None:
    commands = blocks("enrollment-groups.md")
    assert set(commands) == {"groups", "keys", "possession", "change"}
    known = set_up(tmp_path)
    printed = sh(known + commands["groups"], tmp_path)
    assert '"displayName": "The mills"' in printed
    assert "disabled group Mills" in printed
    assert sh(known + commands["keys"], tmp_path).count("secondaryKey") == 2
    printed = sh(known + commands["possession"], tmp_path)
    assert "set the primary CA (not yet verified) of group Factory" in printed
    assert "verified the primary CA of group Factory" in printed
    assert "Factory CA" in printed
    printed = sh(known + commands["change"], tmp_path)
    assert "removed the primary CA of group Factory" in printed


def test_the_page_on_the_api(tmp_path: Path) -> None:
    commands = blocks("api.md")
    assert set(commands) == {"ask", "verbs", "jobs", "possession"}
    with GatewayProcess(tmp_path / "gw") as gateway:
        # The usual port may be taken where tests run; everything else is as a reader types it.
        known = commands["ask"].replace("8443", str(gateway.setup["httpPort"]))
        (tmp_path / "gw" / "api.token").write_text(gateway.setup["apiToken"])
        printed = sh(known, tmp_path)
        assert '"enabled":false' in printed
        assert '"verb":"device.delete"' in printed
        assert '"tags":["hall-3"]' in sh(known + commands["verbs"], tmp_path)
        assert '"verified":true' in sh(known + commands["possession"], tmp_path)
        printed = sh(known + commands["jobs"], tmp_path)
        assert '"state":"done"' in printed
        assert "pump 2" in printed
        assert "pump-1,Pump 1,,hall-4," in printed


def test_the_page_on_operators(tmp_path: Path) -> None:
    commands = blocks("operators.md")
    assert set(commands) == {"tokens", "audit"}
    known = set_up(tmp_path)
    printed = sh(known + commands["tokens"], tmp_path)
    assert "&skn=backend&se=" in printed
    assert "deleted token backend" in printed
    printed = sh(known + commands["audit"], tmp_path)
    assert "status: registered → blocked" in printed
    assert '"outcome": "done"' in printed
