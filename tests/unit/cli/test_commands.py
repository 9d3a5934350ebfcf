"""The nouns of the command line, with no gateway running."""

import base64
import json
import os
import pwd
import stat
from pathlib import Path

import pytest
from cryptography import x509

from gateway import pki
from tests.unit.cli.conftest import Cli
from tests.unit.identity.tpm_keys import ENDORSEMENT_KEY

THERMOSTAT = Path(__file__).parents[2] / "data" / "models" / "dtmi" / "com" / "example" / "thermostat-1.json"


def test_group_keys_are_shown_only_when_asked_for(cli: Cli) -> None:
    shown = cli.json("group", "show", "SAS-IoT-Devices")
    assert not {"primaryKey", "secondaryKey"} & shown.keys()
    with_keys = cli.json("group", "show", "SAS-IoT-Devices", "--keys")
    assert len(base64.b64decode(with_keys["primaryKey"])) == 64
    assert with_keys["primaryKey"] != with_keys["secondaryKey"]


def test_a_group_with_a_given_key_computes_the_documented_device_key(cli: Cli, tmp_path: Path) -> None:
    """The vector of the wire document: every SDK derives the same."""
    (tmp_path / "key").write_text(base64.b64encode(bytes(range(64))).decode() + "\n")
    cli.json("group", "create", "Vector", "--type", "sas", "--primary-key-file", tmp_path / "key")
    printed = cli.text("device", "compute-key", "thermostat-001", "--group", "Vector")
    assert printed == "aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY=\n"


def test_a_group_is_created_disabled_enabled_and_deleted(cli: Cli) -> None:
    assert cli.text("group", "create", "Careful", "--no-auto-approve") == "created group Careful\n"
    assert cli.json("group", "show", "Careful")["autoApprove"] is False
    assert cli.text("group", "disable", "Careful") == "disabled group Careful\n"
    assert cli.json("group", "enable", "Careful")["enabled"] is True
    cli.text("group", "delete", "Careful")
    assert [group["id"] for group in cli.json("group", "list")] == ["SAS-IoT-Devices", "X509-IoT-Devices"]


def test_a_group_with_a_ca_is_an_x509_group(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(pki.create_ca("Factory").certificate_pem)
    created = cli.json("group", "create", "Factory", "--primary-ca", tmp_path / "ca.pem")
    assert (created["attestation"], created["primaryCertificate"]["subject"]) == ("x509", "Factory")


def test_the_development_ca_is_the_one_of_the_default_group(cli: Cli) -> None:
    ca = x509.load_pem_x509_certificate((cli.directory / "ca.crt").read_bytes())
    group = cli.json("group", "show", "X509-IoT-Devices")
    assert ca.subject.rfc4514_string() == f"CN={group['primaryCertificate']['subject']}"


def test_an_individual_enrollment_by_keys(cli: Cli) -> None:
    assert cli.text("enrollment", "create", "mill-7") == "enrolled mill-7 (symmetricKey)\n"
    assert [enrollment["id"] for enrollment in cli.json("enrollment", "list")] == ["mill-7"]
    assert "mill-7" in cli.text("enrollment", "list")
    assert cli.json("enrollment", "disable", "mill-7")["enabled"] is False
    assert cli.text("enrollment", "enable", "mill-7") == "enabled the enrollment of mill-7\n"
    assert cli.json("enrollment", "show", "mill-7", "--keys")["primaryKey"]
    cli.text("enrollment", "delete", "mill-7")
    assert cli.json("enrollment", "list") == []


def test_a_devices_own_certificate_is_enrolled_by_its_thumbprint(cli: Cli, tmp_path: Path) -> None:
    issued = cli.json("device", "issue-cert", "mill-8", "--out", tmp_path)
    created = cli.json("enrollment", "create", "mill-8", "--certificate", issued["certificate"])
    assert (created["attestation"], len(created["primaryThumbprint"])) == ("x509", 64)


def test_a_device_is_shown_with_the_documented_fields(cli: Cli) -> None:
    cli.text("device", "register", "mill-9")
    shown = cli.json("device", "show", "mill-9")
    assert {
        name: shown[name]
        for name in ("id", "name", "status", "template", "modelId", "enrollmentGroup", "provisioned", "enabled")
    } == {
        "id": "mill-9", "name": "mill-9", "status": "registered", "template": None, "modelId": None,
        "enrollmentGroup": None, "provisioned": False, "enabled": True,
    }  # fmt: skip
    assert shown["connected"] is False
    assert cli.text("device", "block", "mill-9") == "blocked mill-9\n"
    assert cli.json("device", "show", "mill-9")["enabled"] is False
    assert cli.json("device", "unblock", "mill-9")["status"] == "registered"
    assert cli.text("device", "show", "mill-9").splitlines()[2].split() == ["status", "registered"]
    cli.text("device", "delete", "mill-9")
    assert cli.json("device", "list") == []


def test_devices_are_listed_beyond_a_page_and_up_to_a_limit(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        cli.text("device", "register", f"mill-{number}")
    monkeypatch.setattr("gateway.cli.channel._PAGE", 2)
    assert [device["id"] for device in cli.json("device", "list")] == [
        f"mill-{number}" for number in range(5)
    ]
    assert len(cli.json("device", "list", "--limit", "3")) == 3
    assert cli.json("device", "list", "--status", "provisioned") == []


def test_an_imported_template_can_be_assigned_and_exported(cli: Cli, tmp_path: Path) -> None:
    template = cli.json("template", "import", THERMOSTAT)["id"]
    cli.text("device", "register", "mill-10")
    assert cli.json("device", "assign", "mill-10", template)["template"] == template
    (tmp_path / "exported.json").write_text(cli.text("template", "export", template))
    assert cli.json("template", "import", tmp_path / "exported.json")["id"] == template
    assert template in cli.text("template", "list")
    assert "temperature" in cli.text("template", "show", template)


def test_an_issued_certificate_is_signed_by_the_development_ca(cli: Cli, tmp_path: Path) -> None:
    issued = cli.json("device", "issue-cert", "mill-11", "--out", tmp_path)
    assert issued == {
        "id": "mill-11", "certificate": f"{tmp_path}/mill-11.crt", "key": f"{tmp_path}/mill-11.key",
    }  # fmt: skip
    assert stat.S_IMODE(Path(issued["key"]).stat().st_mode) == 0o600
    leaf = x509.load_pem_x509_certificate(Path(issued["certificate"]).read_bytes())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate((cli.directory / "ca.crt").read_bytes()))
    assert leaf.subject.rfc4514_string() == "CN=mill-11"


def test_a_key_that_was_issued_is_not_overwritten(cli: Cli, tmp_path: Path) -> None:
    key = Path(cli.json("device", "issue-cert", "mill-11", "--out", tmp_path)["key"])
    before = key.read_bytes()
    assert cli.run("device", "issue-cert", "mill-11", "--out", tmp_path).error == f"{key}: exists already"
    assert key.read_bytes() == before


def test_a_half_written_pair_is_not_left(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mill-11.crt").write_text("another one")
    assert (
        "mill-11.crt: exists already" in cli.run("device", "issue-cert", "mill-11", "--out", tmp_path).error
    )
    assert not (tmp_path / "mill-11.key").exists()


def test_status_counts(cli: Cli) -> None:
    cli.text("device", "register", "mill-12")
    status = cli.json("status")
    assert status["running"] is False
    assert status["devices"]["registered"] == 1
    assert "1 registered" in cli.text("status")


def test_people_get_columns(cli: Cli) -> None:
    assert cli.text("group", "list").splitlines()[0].split() == ["NAME", "TYPE", "ENABLED", "AUTO-APPROVE"]
    assert cli.text("group", "list").splitlines()[1].split() == [
        "SAS-IoT-Devices",
        "symmetricKey",
        "yes",
        "yes",
    ]


def test_an_empty_list_is_said_to_people_and_is_a_list_for_programs(cli: Cli) -> None:
    ended = cli.run("device", "list")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "no devices\n")
    assert cli.json("device", "list") == []


BAD_REQUESTS: dict[str, tuple[list[str], str]] = {
    "no such device": (["device", "show", "nobody"], "there is no device nobody"),
    "a bad device id": (["device", "register", "not/an/id"], "'not/an/id' is not a device id"),
    "a bad id for a certificate": (["device", "issue-cert", "../x"], "'../x' is not a device id"),
    "nobody to approve": (["device", "approve", "nobody"], "there is no device nobody"),
    "no such group": (["group", "show", "Nobodys"], "there is no enrollment group Nobodys"),
    "a bad group name": (["group", "create", "bad name"], "'bad name' can't name a group"),
    "a group that exists": (["group", "create", "SAS-IoT-Devices"], "SAS-IoT-Devices exists already"),
    "a missing CA": (["group", "create", "X", "--primary-ca", "{tmp}/no"], "no: can't be read: No such file"),
    "no CA at all": (
        ["group", "create", "X", "--primary-ca", "{tmp}/short"],
        "not a certificate in PEM form",
    ),
    "a directory": (["group", "create", "X", "--primary-ca", "{tmp}"], "can't be read: Is a directory"),
    "a short key": (["group", "create", "X", "--primary-key-file", "{tmp}/short"], "16 to 64 bytes, not 3"),
    "no text": (["group", "create", "X", "--primary-key-file", "{tmp}/binary"], "not a text file (UTF-8)"),
    "no enrollment": (["enrollment", "show", "nobody"], "there is no individual enrollment of nobody"),
    "no thumbprint": (["enrollment", "create", "x", "--thumbprint", "zz"], "primary_thumbprint"),
    "no model file": (["template", "import", "{tmp}/no.json"], "no.json: can't be read: No such file"),
    "a malformed model": (["template", "import", "{tmp}/model.json"], "not JSON: line 1"),
    "no template": (["template", "show", "dtmi:x;1"], "there is no device template dtmi:x;1"),
    "nowhere to write": (
        ["device", "issue-cert", "x", "--out", "{tmp}/nowhere"],
        "can't be written: No such file",
    ),
    "no gateway": (["health"], "no gateway runs on"),
    "no gateway to simulate for": (["simulate", "--plain"], "this gateway has no plain listener"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_is_one_line(cli: Cli, tmp_path: Path, case: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "short").write_text("AAAA")
    (tmp_path / "model.json").write_text('{"@id": "dtmi:x;1"')
    arguments, message = BAD_REQUESTS[case]
    assert message in cli.run(*(argument.format(tmp=tmp_path) for argument in arguments)).error


def test_with_json_an_error_is_json_too(cli: Cli) -> None:
    ended = cli.run("device", "show", "nobody", "--json")
    assert (ended.code, ended.stdout) == (1, "")
    assert json.loads(ended.stderr) == {
        "error": {
            "code": "not_found",
            "message": "there is no device nobody",
            "hint": "see `gateway device list`",
        }
    }


def test_a_fault_is_one_line_unless_it_is_being_looked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("gateway.cli.groups.call", broken)
    assert cli.run("group", "list").error == "an error in the gateway itself: ZeroDivisionError: deep inside"
    monkeypatch.setenv("GATEWAY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run("group", "list")


# API tokens and the audit log


def test_init_writes_an_administrators_token_for_its_owner_only(cli: Cli) -> None:
    file = cli.directory / "api.token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("SharedAccessSignature sr=0ne00")
    assert [(token["id"], token["role"]) for token in cli.json("token", "list")] == [
        ("administrator", "administrator")
    ]


def test_a_token_is_printed_once_and_listed_without_its_secret(cli: Cli) -> None:
    text = cli.text("token", "create", "backend", "--role", "builder", "--days", "30").strip()
    assert text.startswith("SharedAccessSignature sr=")
    assert "skn=backend" in text
    listed = cli.text("token", "list")
    assert "backend" in listed
    assert "builder" in listed
    assert text.partition("sig=")[2][:43] not in listed
    assert cli.run("token", "create", "backend").error == "the API token backend exists already"
    assert cli.text("token", "delete", "backend") == "deleted token backend\n"
    assert cli.run("token", "delete", "backend").error == "there is no API token backend"


def test_the_audit_log_shows_who_did_what_and_what_is_different(cli: Cli) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    cli.text("device", "register", "mill-1")
    cli.text("device", "block", "mill-1")
    lines = cli.text("audit", "--target", "mill-1").splitlines()
    assert len(lines) == 3
    assert f"local/{user}" in lines[1]
    assert "device.block" in lines[1]
    assert "status: registered → blocked" in lines[1]
    (newest,) = cli.json("audit", "--limit", "1")
    assert (newest["verb"], newest["target"], newest["outcome"]) == ("device.block", "mill-1", "done")
    made = [record["verb"] for record in cli.json("audit", "--by", f"local/{user}")]
    assert made == ["device.block", "device.register", "token.create", "group.create", "group.create"]
    assert cli.json("audit", "--verb", "device.delete") == []
    cli.text("group", "regenerate-key", "SAS-IoT-Devices", "primary")
    cli.text("group", "ca", "remove", "X509-IoT-Devices", "primary")
    removed, regenerated = cli.text("audit", "--limit", "2").splitlines()[1:]
    assert regenerated.endswith("slot: primary")
    assert "(verified) → -" in removed


def test_a_template_is_assigned_listed_and_deleted(cli: Cli) -> None:
    cli.text("device", "register", "mill-1")
    imported = cli.json("template", "import", THERMOSTAT, "--assign", "mill-1")
    assert (imported["assignedDevices"], imported["problems"]) == (1, [])
    model = imported["id"]
    assert [device["id"] for device in cli.json("template", "devices", model)] == ["mill-1"]
    assert cli.json("template", "versions", model)["versions"][0]["devices"] == 1
    assert "mill-1" in cli.text("template", "devices", model)
    assert cli.run("template", "delete", model).error == f"1 device has the device template {model}"
    cli.text("device", "delete", "mill-1")
    assert cli.text("template", "delete", model) == f"deleted {model}\n"
    assert cli.run("template", "devices", model).error == f"there is no device template {model}"


def test_a_template_that_is_assigned_to_nobody_says_so(cli: Cli) -> None:
    ended = cli.run("template", "import", THERMOSTAT, "--assign", "nobody")
    assert (ended.code, ended.stderr) == (1, "there is no device nobody\n")


def test_offline_nothing_is_known_of_what_a_device_sends(cli: Cli) -> None:
    cli.text("device", "register", "mill-1")
    assert cli.run("template", "autogenerate", "mill-1").error == (
        "mill-1 has sent nothing since the gateway started"
    )


# Keys and CAs of groups


def test_a_group_s_key_is_regenerated_and_printed(cli: Cli) -> None:
    before = cli.json("group", "show", "SAS-IoT-Devices", "--keys")
    printed = cli.text("group", "regenerate-key", "SAS-IoT-Devices", "secondary").strip()
    after = cli.json("group", "show", "SAS-IoT-Devices", "--keys")
    assert after["secondaryKey"] == printed != before["secondaryKey"]
    assert after["primaryKey"] == before["primaryKey"]


def test_a_group_is_updated_with_a_key_from_a_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(base64.b64encode(b"k" * 32).decode())
    done = cli.text("group", "update", "SAS-IoT-Devices", "--display-name", "All", "--no-auto-approve",
                    "--primary-key-file", file)  # fmt: skip
    assert done == "updated group SAS-IoT-Devices\n"
    shown = cli.json("group", "show", "SAS-IoT-Devices", "--keys")
    assert (shown["displayName"], shown["autoApprove"], shown["primaryKey"]) == (
        "All",
        False,
        file.read_text(),
    )


def test_possession_of_a_ca_is_proved(cli: Cli, tmp_path: Path) -> None:
    ca = pki.create_ca("Factory")
    (tmp_path / "ca.crt").write_bytes(ca.certificate_pem)
    assert "gateway group ca set X primary" in cli.text("group", "create", "X", "--type", "x509")
    done = cli.text("group", "ca", "set", "X", "primary", tmp_path / "ca.crt")
    assert done == "set the primary CA (not yet verified) of group X\n"
    code = cli.text("group", "ca", "code", "X", "primary").strip()
    (tmp_path / "proof.crt").write_bytes(pki.issue_device(ca, code).certificate_pem)
    assert "does not prove" in cli.run("group", "ca", "verify", "X", "primary", tmp_path / "ca.crt").error
    done = cli.text("group", "ca", "verify", "X", "primary", tmp_path / "proof.crt")
    assert done == "verified the primary CA of group X\n"
    shown = cli.json("group", "ca", "show", "X", "primary")
    assert (shown["verified"], shown["subject"]) == (True, "Factory")
    assert cli.text("group", "ca", "remove", "X", "primary") == "removed the primary CA of group X\n"
    assert cli.run("group", "ca", "show", "X", "primary").error == "the enrollment group X has no primary CA"


@pytest.mark.parametrize("form", ["as tpm2-tools write it", "base64"])
def test_a_tpm_is_enrolled_from_its_endorsement_keys_file(cli: Cli, tmp_path: Path, form: str) -> None:
    file = tmp_path / "ek.pub"
    text = base64.b64encode(ENDORSEMENT_KEY)
    file.write_bytes(text + b"\n" if form == "base64" else ENDORSEMENT_KEY)
    assert cli.text("enrollment", "create", "mill-7", "--endorsement-key", file) == "enrolled mill-7 (tpm)\n"
    assert cli.json("enrollment", "show", "mill-7")["endorsementKey"] == text.decode()
    assert (
        cli.text("enrollment", "regenerate-key", "mill-7")
        == "regenerated a key of the enrollment of mill-7\n"
    )


def test_an_enrollment_is_changed(cli: Cli, tmp_path: Path) -> None:
    cli.text("enrollment", "create", "mill-7")
    before = cli.json("enrollment", "show", "mill-7", "--keys")
    cli.text("enrollment", "regenerate-key", "mill-7", "secondary")
    after = cli.json("enrollment", "show", "mill-7", "--keys")
    assert (before["primaryKey"] == after["primaryKey"], before["secondaryKey"] == after["secondaryKey"]) == (
        True,
        False,
    )
    changed = cli.json("enrollment", "update", "mill-7", "--thumbprint", "A1" * 20)
    assert (changed["attestation"], changed["primaryThumbprint"]) == ("x509", "A1" * 20)
    assert cli.text("enrollment", "update", "mill-7", "--secondary-thumbprint", "B2" * 20) == (
        "updated the enrollment of mill-7\n"
    )
