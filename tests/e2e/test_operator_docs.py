"""The commands of the operators' pages do what the pages say: each block that is marked `executed` is run, as it stands."""

from pathlib import Path

from tests.support.gateway_process import GatewayProcess
from tests.support.pages import DOCS, blocks, reader_of, sh


def test_the_page_on_enrollment_groups(tmp_path: Path) -> None:
    commands = blocks(DOCS / "enrollment-groups.md")
    assert set(commands) == {"groups", "keys", "possession", "change"}
    with reader_of(tmp_path) as run:
        printed = run(commands["groups"])
        keys = run(commands["keys"])
        possession = run(commands["possession"])
        change = run(commands["change"])
    assert '"displayName": "The mills"' in printed
    assert "disabled group Mills" in printed
    assert keys.count("secondaryKey") == 2
    assert "set the primary CA (not yet verified) of group Factory" in possession
    assert "verified the primary CA of group Factory" in possession
    assert "Factory CA" in possession
    assert "removed the primary CA of group Factory" in change


def test_the_page_on_the_api(tmp_path: Path) -> None:
    commands = blocks(DOCS / "api.md")
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
    commands = blocks(DOCS / "operators.md")
    assert set(commands) == {"tokens", "audit"}
    with reader_of(tmp_path) as run:
        tokens, audit = run(commands["tokens"]), run(commands["audit"])
    assert "&skn=backend&se=" in tokens
    assert "deleted token backend" in tokens
    assert "status: registered → blocked" in audit
    assert '"outcome": "done"' in audit
