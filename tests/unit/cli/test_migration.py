"""`gateway migrate central`: a made-up IoT Central application is taken over, and nothing that is here is overwritten."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.central import MODEL, SCOPE, CentralApplication, as_base64
from tests.unit.cli.conftest import Cli, Ended
from tests.unit.identity.test_tpm import ENDORSEMENT_KEY

RENAMED = "SAS-IoT-Devices-central"


@pytest.fixture
def central() -> CentralApplication:
    return CentralApplication()


@pytest.fixture
def export(central: CentralApplication, tmp_path: Path) -> Path:
    return central.write(tmp_path / "export")


def state(cli: Cli) -> Any:
    """All that a migration could change."""
    return [
        cli.json("device", "list"), cli.json("enrollment", "list"), cli.json("group", "list"), cli.json("template", "list"),
    ]  # fmt: skip


def counts(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {
        kind: {outcome: count for outcome, count in counted.items() if count}
        for kind, counted in result["counts"].items()
        if any(counted.values())
    }


def test_an_application_is_taken_over(cli: Cli, export: Path, central: CentralApplication) -> None:
    result = cli.json("migrate", "central", export)
    assert counts(result) == {
        "template": {"created": 1}, "group": {"created": 2}, "enrollment": {"created": 2},
        "device": {"created": 5, "skipped": 1},
    }  # fmt: skip
    assert result["byGroup"] == 3
    assert result["idScope"]["central"] == [SCOPE]
    devices = {device["id"]: device for device in cli.json("device", "list")}
    assert {id_: device["status"] for id_, device in devices.items()} == {
        "by-group": "registered", "blocked-1": "blocked", "own-key": "registered", "own-cert": "registered",
        "by-ca": "registered",
    }  # fmt: skip
    assert (devices["by-group"]["name"], devices["by-group"]["template"]) == ("The by-group", MODEL)
    assert devices["by-group"]["tags"] == ["org=north-plant"]
    assert devices["own-key"]["template"] is None
    assert cli.json("template", "show", MODEL)["components"]["lid"]["telemetry"] == ["open"]
    assert cli.json("group", "show", RENAMED, "--keys")["primaryKey"] == central.primary.base64
    assert cli.json("enrollment", "show", "own-key", "--keys")["primaryKey"] == central.own_key.base64
    assert cli.json("enrollment", "show", "own-cert")["primaryThumbprint"] == central.own_thumbprint
    contoso = cli.json("group", "show", "contoso-ca")
    assert contoso["displayName"] == "Contoso's mills"


def test_a_second_run_changes_nothing(cli: Cli, export: Path) -> None:
    cli.json("migrate", "central", export)
    before = state(cli)
    result = cli.json("migrate", "central", export)
    assert counts(result) == {
        "template": {"unchanged": 1}, "group": {"unchanged": 2}, "enrollment": {"unchanged": 2},
        "device": {"unchanged": 5, "skipped": 1},
    }  # fmt: skip
    assert state(cli) == before


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(cli: Cli, export: Path) -> None:
    before = state(cli)
    foreseen = cli.json("migrate", "central", export, "--dry-run")
    assert state(cli) == before
    done = cli.json("migrate", "central", export)
    assert (foreseen["counts"], foreseen["byGroup"], foreseen["notes"]) == (
        done["counts"], done["byGroup"], done["notes"],
    )  # fmt: skip


def test_a_person_is_told_what_came_over_and_what_to_set(cli: Cli, export: Path) -> None:
    printed = cli.text("migrate", "central", export, "--dry-run")
    assert "WOULD BE NEW" in printed
    assert "3 devices are let in by a group, with the keys they have" in printed
    assert f"new: enrollment group sas-1: as {RENAMED}: the gateway has another group of its name" in printed
    assert "left out: device imagined: a simulated device" in printed
    assert f"    id_scope: {SCOPE}" in printed
    assert "dial gw.example.com" not in printed
    assert (
        printed.splitlines()[-1]
        == "host: devices must dial localhost instead of global.azure-devices-provisioning.net"
    )


def test_the_csv_alone_enrolls_every_device_with_its_own_key(
    cli: Cli, central: CentralApplication, tmp_path: Path
) -> None:
    central.write_csv(tmp_path / "devices.csv")
    result = cli.json("migrate", "central", tmp_path / "devices.csv")
    assert counts(result) == {"enrollment": {"created": 5}, "device": {"created": 6}}
    key = cli.json("enrollment", "show", "by-group", "--keys")["primaryKey"]
    assert key == central.device_key("by-group").base64
    assert "the export does not say it" in cli.text("migrate", "central", tmp_path / "devices.csv")


def conflicts(ended: Ended) -> list[str]:
    assert ended.code == 1
    return [line for line in ended.stderr.splitlines() if line.startswith("conflict")]


def test_what_is_here_otherwise_is_listed_and_never_overwritten(
    cli: Cli, export: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text(
        f'{{"@context": "dtmi:dtdl:context;2", "@id": "{MODEL}", "@type": "Interface", "contents": []}}'
    )
    cli.text("template", "import", tmp_path / "model.json")
    cli.text("device", "register", "by-group", "--name", "Mine")
    cli.text("device", "register", "blocked-1", "--name", "The blocked-1", "--template", MODEL)
    cli.text("enrollment", "create", "own-key")
    cli.text("group", "create", RENAMED)
    before = state(cli)
    ended = cli.run("migrate", "central", export)
    assert conflicts(ended) == [
        "conflict: device template dtmi:modelDefinition:abc:def;1: it is published here, and differs",
        f"conflict: enrollment group sas-1: the gateway has another group of that name, and {RENAMED} too",
        "conflict: credential of own-key: it is enrolled here with another credential",
        f"conflict: device by-group: is named Mine here, The by-group there; has the template none here, {MODEL} there",
        "conflict: device blocked-1: is registered here, blocked there",
    ]
    after = state(cli)
    assert [device for device in after[0] if device["id"] in {"by-group", "blocked-1"}] == before[0]
    assert [template["id"] for template in after[3]] == [MODEL]
    assert cli.json("template", "show", MODEL)["telemetry"] == []
    for group in before[2]:
        assert group in after[2]


def test_a_ca_that_the_export_only_names_is_asked_for(cli: Cli, export: Path) -> None:
    (export / "contoso.pem").unlink()
    ended = cli.run("migrate", "central", export)
    assert ended.code == 1
    assert "is not in the export: put its PEM file there" in ended.stderr


def test_a_ca_may_stand_in_the_export_itself(cli: Cli, export: Path, central: CentralApplication) -> None:
    (export / "contoso.pem").unlink()
    groups = central.groups()
    signing = groups[1]["attestation"]["x509"]["signingCertificates"]["primary"]
    signing["certificate"] = as_base64(central.ca.certificate_pem)
    (export / "enrollment-groups.json").write_text(json.dumps(groups))
    assert counts(cli.json("migrate", "central", export))["group"] == {"created": 2}
    assert counts(cli.json("migrate", "central", export))["group"] == {"unchanged": 2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{nonsense", "x.json: not JSON: line 1, column 2"),
        ("x.csv", "a,b\n", "x.csv: line 1 does not name the column IOTC_DEVICEID"),
        ("x.txt", "", "there is nothing to migrate"),
    ],
)
def test_what_is_no_export_is_one_line(
    cli: Cli, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    assert message in cli.run("migrate", "central", tmp_path / name).error


def test_what_is_not_central_s_is_a_problem_and_the_rest_comes_over(cli: Cli, export: Path) -> None:
    (export / "other.json").write_text('[{"colour": "red"}, 7, {"error": {"code": "Unauthorized"}}]')
    (export / "attestations" / "chip.json").write_text('{"type": "tpm", "tpm": {"endorsementKey": "AToA"}}')
    (export / "attestations" / "own-cert.json").write_text(
        '{"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "bm9uc2Vuc2U="}}}}'
    )
    ended = cli.run("migrate", "central", export)
    problems = [line for line in ended.stderr.splitlines() if line.startswith("problem")]
    assert [line.partition(": ")[2].partition("/export/")[2].partition(":")[0] for line in problems[:3]] == [
        "other.json"
    ] * 3
    assert "Unauthorized" in problems[2]
    assert problems[3] == "problem: credential of chip: endorsement_key: the public area is cut short"
    assert "own-cert" in problems[4]
    assert len(cli.json("device", "list")) == 5


def test_one_object_a_line_is_read_as_well(cli: Cli, central: CentralApplication, tmp_path: Path) -> None:
    lines = [json.dumps({"id": "own-key", "type": "symmetricKey", "symmetricKey": {"primaryKey": central.own_key.base64}}),
             json.dumps({"id": "own-key", "displayName": "Mill", "provisioned": True})]  # fmt: skip
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    assert counts(cli.json("migrate", "central", tmp_path / "all.jsonl")) == {
        "enrollment": {"created": 1}, "device": {"created": 1},
    }  # fmt: skip
    assert counts(cli.json("migrate", "central", tmp_path))["enrollment"] == {"unchanged": 1}


def test_a_tpm_is_enrolled_by_its_endorsement_key(cli: Cli, tmp_path: Path) -> None:
    key = base64.b64encode(ENDORSEMENT_KEY).decode()
    (tmp_path / "chip-1.json").write_text(json.dumps({"type": "tpm", "tpm": {"endorsementKey": key}}))
    assert counts(cli.json("migrate", "central", tmp_path / "chip-1.json")) == {"enrollment": {"created": 1}}
    assert cli.json("enrollment", "show", "chip-1")["attestation"] == "tpm"
    assert counts(cli.json("migrate", "central", tmp_path / "chip-1.json")) == {
        "enrollment": {"unchanged": 1}
    }
