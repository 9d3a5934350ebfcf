"""The `gateway` command as an operator types it, with no gateway running."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.settings import load_settings
from tests.support.gateway_process import free_port, run_cli

THERMOSTAT = Path(__file__).parents[1] / "data" / "models" / "dtmi" / "com" / "example" / "thermostat-1.json"


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("init") / "gw"
    made: dict[str, Any] = json.loads(run_cli("init", directory, "--host", "gw.example.com", "--json").stdout)
    return made


@pytest.fixture
def fresh(setup: dict[str, Any], tmp_path: Path) -> Path:
    """The configuration of a set-up of the test's own: a copy, which is quicker than another `init`."""
    original = Path(setup["config"])
    shutil.copytree(original.parent, tmp_path / "gw")
    config = tmp_path / "gw" / original.name
    config.write_text(original.read_text().replace(str(original.parent), str(config.parent)))
    return config


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def answer(config: Path | str, *arguments: str | Path) -> Any:
    return json.loads(run_cli(*arguments, "-c", str(config), "--json").stdout)


# init


def test_init_prints_what_a_script_needs(setup: dict[str, Any]) -> None:
    assert set(setup) == {
        "config", "idScope", "caCertificate", "host", "port", "plainPort", "deviceHttpsPort", "appPort", "httpPort",
        "appUsername", "appPassword", "apiToken",
    }  # fmt: skip
    assert setup["host"] == "gw.example.com"
    assert (setup["port"], setup["plainPort"], setup["appPort"]) == (8883, None, 1883)
    assert setup["appUsername"] == "app"
    assert len(setup["appPassword"]) >= 24
    assert setup["idScope"].startswith("0ne00")
    for path in (setup["config"], setup["caCertificate"]):
        assert Path(path).is_absolute()
        assert Path(path).exists()


def test_init_keeps_its_secrets_private(setup: dict[str, Any]) -> None:
    directory = Path(setup["config"]).parent
    assert mode(directory) == 0o700
    assert mode(directory / "state") == 0o700
    for name in ("gateway.yaml", "ca.key", "server.key", "app.password"):
        assert mode(directory / name) == 0o600, name
    assert mode(directory / "state" / "gateway.db") == 0o600


def test_init_writes_settings_that_load(setup: dict[str, Any]) -> None:
    settings = load_settings(Path(setup["config"]))
    assert settings.hosts == ("gw.example.com", "localhost", "127.0.0.1")
    assert settings.id_scope == setup["idScope"]
    assert settings.devices.bind.port == setup["port"]
    assert settings.devices.plain_bind is None
    assert settings.applications[0].password_file.read_text().strip() == setup["appPassword"]


def test_init_issues_a_server_certificate_for_every_name(setup: dict[str, Any]) -> None:
    certificate = x509.load_pem_x509_certificate((Path(setup["config"]).parent / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"gw.example.com", "localhost"}
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_init_creates_the_default_groups(setup: dict[str, Any]) -> None:
    groups = {group["id"]: group for group in answer(setup["config"], "group", "list")}
    assert {name: group["attestation"] for name, group in groups.items()} == {
        "SAS-IoT-Devices": "symmetricKey",
        "X509-IoT-Devices": "x509",
    }
    assert all(group["enabled"] and group["autoApprove"] for group in groups.values())


def test_init_writes_the_ports_that_were_asked_for(tmp_path: Path) -> None:
    ports = [str(free_port()) for _ in range(3)]
    made = json.loads(
        run_cli(
            "init", tmp_path / "gw", "--port", ports[0], "--app-port", ports[1], "--plain-port", ports[2], "--json"
        ).stdout
    )  # fmt: skip
    assert [str(made[name]) for name in ("port", "appPort", "plainPort")] == ports
    plain_bind = load_settings(Path(made["config"])).devices.plain_bind
    assert str(plain_bind) == f"127.0.0.1:{ports[2]}"


def test_a_second_init_is_refused_and_changes_nothing(fresh: Path) -> None:
    before = {path: path.read_bytes() for path in fresh.parent.rglob("*") if path.is_file()}
    refused = run_cli("init", fresh.parent, check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"error: {fresh.parent} holds a set-up already",
        f"hint: run it: gateway serve -c {fresh}; or choose another directory",
    ]
    assert {path: path.read_bytes() for path in fresh.parent.rglob("*") if path.is_file()} == before


def test_init_leaves_a_directory_with_other_files_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "ca.key").write_text("a key of somebody's")
    refused = run_cli("init", tmp_path, check=False)
    assert refused.stderr.splitlines()[0] == f"error: {tmp_path / 'ca.key'} exists already"
    assert [path.name for path in tmp_path.iterdir()] == ["ca.key"]


def test_a_failed_init_leaves_nothing_behind(tmp_path: Path) -> None:
    refused = run_cli("init", tmp_path / "gw", "--host", "not a name", check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "error: gateway init: hosts: 'not a name' is not a host name or address"
    ]
    assert not (tmp_path / "gw").exists()


def test_init_tells_a_person_what_to_do_next(tmp_path: Path) -> None:
    printed = run_cli("init", tmp_path / "g w").stdout
    assert f"gateway serve -c '{tmp_path}/g w/gateway.yaml'" in printed


# Commands, each a process


def test_the_options_may_come_before_or_after_or_from_the_environment(fresh: Path, tmp_path: Path) -> None:
    command = ("device", "compute-key", "t-1")
    after = run_cli(*command, "-c", fresh).stdout
    assert run_cli("-c", fresh, *command).stdout == after
    assert run_cli(*command, env={"GATEWAY_CONFIG": str(fresh)}).stdout == after
    assert run_cli(*command, cwd=fresh.parent).stdout == after
    assert run_cli("-c", tmp_path / "no", *command, "-c", fresh).stdout == after


def test_an_individual_enrollment_is_kept_from_one_command_to_the_next(fresh: Path) -> None:
    created = answer(fresh, "enrollment", "create", "mill-7")
    assert created["attestation"] == "symmetricKey"
    assert [enrollment["id"] for enrollment in answer(fresh, "enrollment", "list")] == ["mill-7"]
    assert answer(fresh, "enrollment", "disable", "mill-7")["enabled"] is False
    assert answer(fresh, "enrollment", "show", "mill-7", "--keys")["primaryKey"]
    answer(fresh, "enrollment", "delete", "mill-7")
    assert answer(fresh, "enrollment", "list") == []


# Bad input: one line, and a next step


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    refused = run_cli("status", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "error: gateway.yaml: no such file",
        "hint: make one with `gateway init DIR`, or name it with -c",
    ]


BAD_CONFIGURATIONS = {
    "an unknown key": ("telemetry:\n", "telemetri:\n", "telemetri: is not a setting", "did you mean `telemetry`?"),
    "a bad value": ("bind: 0.0.0.0:", "bind: nonsense:x", "devices.bind: write host:port", ""),
    "no YAML": ("plugins:", "plugins: [", "not valid YAML", ""),
    "another file": ("gateway.plugin.GatewayPlugin", "other.Plugin", "is not configured under `plugins`", ""),
    "a plain listener for everybody": (
        "# plain_bind: 127.0.0.1:1884", "plain_bind: 0.0.0.0:1884", "plain_bind has no TLS", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", [("serve",), ("status",), ("health",)], ids=" ".join)
@pytest.mark.parametrize("case", BAD_CONFIGURATIONS)
def test_a_bad_configuration_is_one_line(fresh: Path, case: str, command: tuple[str, ...]) -> None:
    right, wrong, message, hint = BAD_CONFIGURATIONS[case]
    assert right in fresh.read_text()
    fresh.write_text(fresh.read_text().replace(right, wrong))
    refused = run_cli(*command, "-c", fresh, check=False)
    assert refused.returncode == 1
    first, *rest = refused.stderr.splitlines()
    assert first.startswith(f"error: {fresh}")
    assert message in first
    assert rest == ([f"hint: {hint}"] if hint else []) or (not hint and len(rest) <= 1)
    assert refused.stdout == ""


def run_bad(config: Path, *arguments: str | Path) -> tuple[str, str]:
    """The two lines of a failure."""
    refused = run_cli(*arguments, "-c", config, check=False)
    assert refused.returncode == 1
    assert refused.stdout == ""
    lines = refused.stderr.splitlines()
    assert len(lines) <= 2, refused.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: "), lines[1].removeprefix("hint: ") if len(lines) == 2 else ""


def test_a_corrupt_database_is_one_line_and_is_left_alone(fresh: Path) -> None:
    database = fresh.parent / "state" / "gateway.db"
    for side in fresh.parent.joinpath("state").glob("gateway.db-*"):
        side.unlink()
    database.write_bytes(b"not a database, but somebody's file" * 100)
    before = database.read_bytes()
    message, _hint = run_bad(fresh, "device", "list")
    assert "gateway.db" in message or "database" in message
    assert database.read_bytes() == before


def test_with_json_an_error_is_json_too(fresh: Path) -> None:
    refused = run_cli("device", "show", "nobody", "-c", fresh, "--json", check=False)
    assert refused.stdout == ""
    assert json.loads(refused.stderr)["error"]["code"] == "not_found"


def test_a_mistyped_command_is_one_line_and_a_hint(fresh: Path) -> None:
    refused = run_cli("device", "lits", check=False)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "error: No such command 'lits'. Did you mean 'list'?",
        "hint: see `gateway device --help`",
    ]
