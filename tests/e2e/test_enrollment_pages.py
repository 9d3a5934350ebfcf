"""The commands of the page about individual enrollments do what it says."""

import json
from pathlib import Path

from tests.support.gateway_process import GatewayProcess
from tests.support.pages import DOCS, blocks, reader_of, sh
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY


def test_the_commands_of_the_page_about_enrollments(tmp_path: Path) -> None:
    (tmp_path / "ek.pub").write_bytes(ENDORSEMENT_KEY)
    with reader_of(tmp_path) as run:
        printed = {name: run(script) for name, script in blocks(DOCS / "enrollments.md").items()}
    assert set(printed) == {"keys", "x509", "tpm", "change"}
    assert "primaryKey" in printed["keys"]
    assert printed["x509"].splitlines()[-3:] == [
        "enrolled mill-2 (x509)",
        "updated the enrollment of mill-2",
        "updated the enrollment of mill-2",
    ]
    assert "enrolled mill-3 (tpm)" in printed["tpm"]
    first, *_, last = printed["change"].splitlines()
    assert first == "updated the enrollment of mill-1"
    assert "mill-1 tpm" in " ".join(printed["change"].split())
    assert last == "deleted the enrollment of mill-1"


def test_the_commands_of_the_page_about_provisioning_over_https(tmp_path: Path) -> None:
    (script,) = blocks(DOCS / "provisioning-https.md").values()
    with GatewayProcess(tmp_path / "gw", https=True) as gateway:
        known = f"export GATEWAY_CONFIG=gw/gateway.yaml PORT={gateway.setup['deviceHttpsPort']}\n"
        answer = json.loads(sh(known + script, tmp_path))
    assert answer["registrationState"]["assignedHub"] == "localhost"
