from pathlib import Path
from typing import Any

import pytest

from gateway.errors import SettingsError
from gateway.settings import load_settings, parse_settings

MINIMAL: dict[str, Any] = {
    "hosts": ["gw.example"],
    "id_scope": "0ne00ABCDEF",
    "state_dir": "/var/lib/gateway",
    "devices": {"certificate_file": "server.crt", "key_file": "server.key"},
}


def with_(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


def devices(**changes: Any) -> dict[str, Any]:
    return with_(devices={**MINIMAL["devices"], **changes})


def test_the_minimal_settings_have_a_tls_listener_on_8883_and_no_plain_one() -> None:
    settings = parse_settings(MINIMAL)
    assert str(settings.devices.bind) == "0.0.0.0:8883"
    assert settings.devices.plain_bind is None
    assert settings.store_url == "sqlite+aiosqlite:////var/lib/gateway/gateway.db"


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:1884", "127.0.0.1", 1884),
        (":8883", "0.0.0.0", 8883),
        ("[::1]:9", "::1", 9),
        ("localhost:0", "localhost", 0),
    ],
)
def test_an_address_is_written_host_colon_port(written: str, host: str, port: int) -> None:
    bind = parse_settings(devices(bind=written)).devices.bind
    assert (bind.host, bind.port) == (host, port)


@pytest.mark.parametrize(
    ("settings", "line", "hint"),
    [
        ({}, "hosts: is missing (and 3 more)", ""),
        (with_(hostnames=["x"]), "hostnames: is not a setting", "did you mean `hosts`?"),
        (devices(certificat_file="x"), "devices.certificat_file: is not a setting", "did you mean `certificate_file`?"),
        (
            {("id_skope" if name == "id_scope" else name): value for name, value in MINIMAL.items()},
            "id_skope: is not a setting (and 1 more)",
            "did you mean `id_scope`?",
        ),
        (devices(connect_timeout_s=0), "devices.connect_timeout_s: should be greater than or equal to 1", ""),
        (devices(bind="8883"), "devices.bind: write host:port, [v6-address]:port or :port", ""),
        (devices(plain_bind="0.0.0.0:1884"), "devices: plain_bind has no TLS, so it must be a loopback address", ""),
        (with_(hosts=[]), "hosts: Tuple should have at least 1 item", ""),
        (with_(hosts=["a b"]), "hosts: 'a b' is not a host name or address", ""),
        (with_(id_scope="no spaces!"), "id_scope: String should match pattern", ""),
        (with_(telemetry={"topic": "t/{device}/{x}"}), "telemetry.topic: unknown placeholder {x}", ""),
        (with_(telemetry={"topic": "t/{template}"}), "telemetry.topic: the placeholder {device} is missing", ""),
        (with_(telemetry={"topic": "t/+/{device}"}), "telemetry.topic: not a topic name", ""),
        (with_(model_repository={"url": "ftp://x"}), "model_repository.url: write an https:// or http:// address", ""),
        (
            with_(applications=[{"name": "a", "password_file": "f", "subscribe": ["a/#/b"]}]),
            "applications.0.subscribe: # is not the whole last level", "",
        ),
        (
            with_(applications=[{"name": "a", "password_file": "f"}, {"name": "a", "password_file": "g"}]),
            "applications: two applications are named 'a'", "",
        ),
        ([], "expected settings, found list", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_key(settings: object, line: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(settings, source="gateway.yaml")
    assert str(caught.value).startswith(f"gateway.yaml: {line}")
    assert "\n" not in str(caught.value)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no such file"),
        ("a: [", "not valid YAML"),
        ("a: 1\nb: 2\na: 3", "line 3: not valid YAML: a is there twice"),
        ("- a", "expected an amqtt configuration"),
        ("plugins: {}", "the plugin gateway.plugin.GatewayPlugin is not configured"),
        ("plugins: {gateway.plugin.GatewayPlugin: }", "hosts: is missing"),
        ("plugins: [gateway.plugin.GatewayPlugin]", "hosts: is missing"),
    ],
)
def test_a_configuration_file_that_can_t_be_used_says_why(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    path = tmp_path / "gateway.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"gateway\.yaml") as caught:
        load_settings(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    settings = parse_settings(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.id_scope = "other"  # type: ignore[misc]
