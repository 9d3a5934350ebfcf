"""The commands of the operators' pages do what the pages say: each block that is marked `executed` is run, as it stands."""

from pathlib import Path

from tests.e2e.test_readme import BLOCK, ROOT, sh


def blocks(page: str) -> dict[str, str]:
    return dict(BLOCK.findall((ROOT / "docs" / page).read_text()))


def set_up(directory: Path) -> str:
    """A set-up in `gw`; returns what a reader's shell knows of it."""
    sh("gateway init gw", directory)
    return "export GATEWAY_CONFIG=gw/gateway.yaml\n"


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
