"""`gateway simulate`: devices that are not there, connecting as real ones do."""

import asyncio
import signal
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.channel import call
from gateway.cli.options import CONFIG, Config, Json
from gateway.cli.output import print_json
from gateway.errors import NotFoundError, OperationError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.simulate import Credential, Endpoint, FleetPlan, FleetResult, Step
    from gateway.templates.template import DeviceTemplate

__all__ = ["simulate"]


class Auth(StrEnum):
    """What the simulated devices prove their identity with."""

    SAS = "sas"
    X509 = "x509"


def simulate(
    *,
    devices: Annotated[int, typer.Option("-n", "--devices", min=1, help="How many devices.")] = 1,
    model: Annotated[str | None, typer.Option(help="The model id (a DTMI) that they announce.")] = None,
    auth: Annotated[
        Auth, typer.Option(help="Device keys, or certificates of the development CA.")
    ] = Auth.SAS,
    group: Annotated[str | None, typer.Option(help="Their SAS group; default: SAS-IoT-Devices.")] = None,
    rate: Annotated[float, typer.Option(help="Messages a second, of each device.")] = 1.0,
    messages: Annotated[
        int | None, typer.Option(min=0, help="Messages of each; default: until Ctrl-C.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds that each sends.")] = None,
    connect_rate: Annotated[
        float | None, typer.Option(help="Connects a second; default: all at once.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="They are called PREFIX001, PREFIX002, …")] = "simulated-",
    direct: Annotated[bool, typer.Option("--direct", help="Skip the provisioning service.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Without TLS, on the plain port.")] = False,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Simulate devices: they provision, connect and send telemetry, until Ctrl-C or as long as asked."""
    from gateway.settings import load_settings  # noqa: PLC0415 - imports what `--help` does not need
    from gateway.simulate import FleetPlan  # noqa: PLC0415

    plan = FleetPlan(
        devices=devices,
        prefix=prefix,
        model_id=model,
        provision=not direct,
        connects_per_s=connect_rate,
        messages_per_s=rate,
        messages=messages,
        duration_s=duration,
    )
    settings = load_settings(config)
    endpoint = _endpoint(config, settings, plain=plain)
    with tempfile.TemporaryDirectory(prefix="gateway-simulate-") as scratch:
        credential_for = (
            _certificates(config, Path(scratch)) if auth is Auth.X509 else _device_keys(config, group)
        )
        template = _published_template(config, model) if model is not None else None
        report = _say_nothing if as_json else _print_step
        result = asyncio.run(_run(endpoint, credential_for, plan, template, report))
    if as_json:
        print_json(_to_json(result))
    else:
        print(f"{result.connected} of {devices} devices connected, {result.sent} messages acknowledged")
    if result.failures:
        first = result.failures[0]
        raise OperationError(
            f"{len(result.failures)} of {devices} devices failed, first {first.failure}",
            hint="the gateway's log says why it refused a device",
        )


def _endpoint(config: Path, settings: "Settings", *, plain: bool) -> "Endpoint":
    from gateway.simulate import Endpoint  # noqa: PLC0415

    # This host's own name for itself resolves everywhere; the first of `hosts` may only do so elsewhere.
    host = "localhost" if "localhost" in settings.hosts else settings.hosts[0]
    bind = settings.devices.plain_bind if plain else settings.devices.bind
    if bind is None:
        raise OperationError(
            "this gateway has no plain listener", hint="leave out --plain, or set devices.plain_bind"
        )
    return Endpoint(
        host=host,
        port=bind.port,
        id_scope=settings.id_scope,
        ca_file=None if plain else config.absolute().parent / "ca.crt",
    )


def _device_keys(config: Path, group: str | None) -> "Callable[[str], Credential]":
    from gateway.identity.sas import derive_device_key  # noqa: PLC0415
    from gateway.secrets import SymmetricKey  # noqa: PLC0415
    from gateway.simulate import KeyCredential  # noqa: PLC0415

    shown = call(config, "group.show", name=group or "SAS-IoT-Devices", keys=True)
    if "primaryKey" not in shown:
        raise OperationError(f"{shown['id']} is an X.509 group", hint="name a SAS group with --group")
    key = SymmetricKey.from_base64(shown["primaryKey"])
    return lambda device_id: KeyCredential(derive_device_key(key, device_id))


def _certificates(config: Path, directory: Path) -> "Callable[[str], Credential]":
    from gateway.cli.certificates import issue  # noqa: PLC0415
    from gateway.simulate import CertificateCredential  # noqa: PLC0415

    def issue_one(device_id: str) -> CertificateCredential:
        issued = issue(config, device_id, out=directory, days=1)
        return CertificateCredential(Path(issued["certificate"]), Path(issued["key"]))

    return issue_one


def _published_template(config: Path, model: str) -> "DeviceTemplate | None":
    """What the model's devices send, if the gateway knows it."""
    from gateway.templates.template import build_template  # noqa: PLC0415

    try:
        exported = call(config, "template.export", template_id=model)
    except NotFoundError:
        return None
    return build_template(exported["document"], exported["id"])


async def _run(
    endpoint: "Endpoint",
    credential_for: "Callable[[str], Credential]",
    plan: "FleetPlan",
    template: "DeviceTemplate | None",
    report: "Callable[[Step], None]",
) -> "FleetResult":
    from gateway.simulate import run_fleet, telemetry_for  # noqa: PLC0415

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return await run_fleet(
        endpoint,
        credential_for,
        plan,
        telemetry=lambda device_id: telemetry_for(plan.model_id, device_id, template),
        report=report,
        stop=stop,
    )


def _print_step(step: "Step") -> None:
    print(f"{step.device_id}  {step.name:<12}  {step.detail}".rstrip(), flush=True)


def _say_nothing(_step: "Step") -> None:
    return


def _to_json(result: "FleetResult") -> dict[str, Any]:
    return {
        "connected": result.connected,
        "sent": result.sent,
        "failed": len(result.failures),
        "elapsedSeconds": round(result.elapsed_s, 3),
        "devices": [
            {
                "id": device.device_id,
                "hub": device.hub,
                "connected": device.connected,
                "sent": device.sent,
                "failure": device.failure,
            }
            for device in result.devices
        ],
    }
