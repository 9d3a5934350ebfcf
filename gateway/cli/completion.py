"""Completing ids and names in the shell: asked of the running gateway, quickly or not at all.

The shell waits for it at each Tab, so the settings are not checked, only the control socket is looked up; without a running
gateway nothing is completed. Whatever goes wrong is no completion, never a message in the middle of a command line.
"""

import os
from pathlib import Path
from typing import Any, Final

import typer

__all__ = ["complete_device", "complete_group", "complete_template"]

_TIMEOUT_S: Final = 1.0
_AT_MOST: Final = 100
_PLUGIN_PATH: Final = "gateway.plugin.GatewayPlugin"
"""As in `gateway.settings`, whose import takes longer than the rest."""
_VARIABLE: Final = "GATEWAY_CONFIG"


def complete_device(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of devices that begin so."""
    devices = _ask(ctx, "device.list", "devices", id_prefix=incomplete or None, limit=_AT_MOST)
    return [device["id"] for device in devices if device["id"].startswith(incomplete)]


def complete_group(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of enrollment groups that begin so."""
    return [group["id"] for group in _ask(ctx, "group.list", "groups") if group["id"].startswith(incomplete)]


def complete_template(ctx: typer.Context, incomplete: str) -> list[str]:
    """Device templates that begin so."""
    templates = _ask(ctx, "template.list", "templates")
    return [template["id"] for template in templates if template["id"].startswith(incomplete)]


def _ask(ctx: typer.Context, verb: str, items: str, **arguments: Any) -> list[dict[str, Any]]:
    from gateway.api.control import ControlClient  # noqa: PLC0415 - at a Tab, not for every command

    try:
        client = ControlClient.connect(_control_socket(_config(ctx)), timeout_s=_TIMEOUT_S)
        if client is None:
            return []
        with client:
            found: list[dict[str, Any]] = client.call(verb, arguments)[items]
    except Exception:  # noqa: BLE001 - see above
        return []
    return found


def _config(ctx: typer.Context) -> Path:
    """What the command line has so far: `-c` after the command or before it, else the variable, else the usual file."""
    context: Any = ctx
    while context is not None:
        given = context.params.get("config")
        if given is not None and str(given) != "gateway.yaml":
            return Path(given)
        context = context.parent
    return Path(os.environ.get(_VARIABLE) or "gateway.yaml")


def _control_socket(config: Path) -> Path:
    import yaml  # noqa: PLC0415

    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    return Path(document["plugins"][_PLUGIN_PATH]["state_dir"]) / "control.sock"
