"""`gateway demo`: the gateway's main job, on one screen, with nothing but our own commands.

It makes a set-up, serves it, imports two device templates, subscribes as an application, and lets simulated
devices connect: with SAS keys, with certificates, and one with a model nobody has heard of. Then it says how to
connect a device and a subscriber of one's own, and, at a terminal, waits for Ctrl-C.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.errors import GatewayError, StartError

__all__ = ["demo"]

_MARKER: Final = ".gateway-demo"
_MODELS: Final = Path(__file__).parent / "demo_models"
_THERMOSTAT: Final = "dtmi:com:example:Thermostat;1"
_CONTROLLER: Final = "dtmi:com:example:TemperatureController;1"
_BRAND_NEW: Final = "dtmi:com:example:BrandNewThing;1"
_START_TIMEOUT_S: Final = 30
_DEFAULT_DEVICE_PORT: Final = 8883
_DEFAULT_APPLICATION_PORT: Final = 1883
_DEFAULT_HTTP_PORT: Final = 8443


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where the demo's set-up goes; made anew.")] = Path(
        ".demo"
    ),
    messages: Annotated[int, typer.Option(min=1, help="Messages that each simulated device sends.")] = 3,
) -> None:
    """Show connect → register → associate → telemetry, with simulated devices."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Demo(directory.absolute(), messages).run())


class _Demo:
    def __init__(self, directory: Path, messages: int) -> None:
        self._directory = directory
        self._messages = messages
        self._setup: dict[str, Any] = {}

    async def run(self) -> None:
        self._prepare()
        gateway = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; its log is the show
            [*_command(), "serve", "-c", self._config], start_new_session=True
        )
        try:
            await self._wait_until_healthy(gateway)
            for model in sorted(_MODELS.glob("*.json")):
                _run("template", "import", str(model), "-c", self._config)
            subscriber = asyncio.create_task(self._subscribe(), name="subscriber")
            try:
                await self._simulate()
                _say("What the registry knows now")
                _run("device", "list", "-c", self._config)
                self._explain()
                if sys.stdin.isatty() and sys.stdout.isatty():
                    _say("The gateway keeps running. Ctrl-C ends it")
                    await asyncio.get_running_loop().run_in_executor(None, gateway.wait)
            finally:
                subscriber.cancel()
                await asyncio.gather(subscriber, return_exceptions=True)
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait()

    @property
    def _config(self) -> str:
        return str(self._setup["config"])

    def _prepare(self) -> None:
        if self._directory.exists():
            if not (self._directory / _MARKER).exists():
                raise StartError(
                    f"{self._directory} exists and is not a demo's", hint="name another directory with --dir"
                )
            shutil.rmtree(self._directory)
        _say(
            "A set-up of its own: gateway.yaml, a development CA, two enrollment groups, an application login"
        )
        printed = _run(
            "init", str(self._directory), "--json",
            "--port", str(_port(_DEFAULT_DEVICE_PORT)), "--app-port", str(_port(_DEFAULT_APPLICATION_PORT)),
            "--http-port", str(_port(_DEFAULT_HTTP_PORT)),
            capture=True,
        )  # fmt: skip
        self._setup = json.loads(printed)
        (self._directory / _MARKER).touch()

    async def _wait_until_healthy(self, gateway: "subprocess.Popen[bytes]") -> None:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while gateway.poll() is None:
                probe = await asyncio.create_subprocess_exec(
                    *_command(), "health", "-c", self._config,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                if await probe.wait() == 0:
                    return
        raise GatewayError("the gateway did not start; its log above says why")

    async def _simulate(self) -> None:
        _say("Devices of two templates, and one of a brand-new model, connect for the first time")
        fleets = (
            ("thermostat", 2, _THERMOSTAT, "sas"),
            ("controller", 2, _CONTROLLER, "x509"),
            ("newcomer", 1, _BRAND_NEW, "sas"),
        )
        running = [
            await asyncio.create_subprocess_exec(
                *_command(), "simulate", "-n", str(count), "--prefix", f"{prefix}-", "--model", model, "--auth", auth,
                "--rate", "1", "--messages", str(self._messages), "-c", self._config,
                stdout=subprocess.DEVNULL,
            )
            for prefix, count, model, auth in fleets
        ]  # fmt: skip
        codes = [await fleet.wait() for fleet in running]
        if any(codes):
            raise GatewayError("a simulated device failed; the log above says why")

    async def _subscribe(self) -> None:
        """An ordinary application: what it receives is the point of it all."""
        import aiomqtt  # noqa: PLC0415 - only the demo needs it here

        setup = self._setup
        async with aiomqtt.Client(
            "127.0.0.1", setup["appPort"], username=setup["appUsername"], password=setup["appPassword"]
        ) as client:
            await client.subscribe("telemetry/#", qos=1)
            async for message in client.messages:
                envelope = json.loads(message.payload) if isinstance(message.payload, bytes) else {}
                body, status = json.dumps(envelope.get("body")), envelope.get("validation", {}).get("status")
                # One write, line end included: the gateway writes to the same screen.
                sys.stdout.write(f"             → {message.topic}  {body}  ({status})\n")
                sys.stdout.flush()

    def _explain(self) -> None:
        setup, gateway, config = self._setup, _name(), _short(self._config)
        _say("Your turn")
        print(
            f"""\
A device of your own (any Microsoft device SDK; MQTT over TLS):
    provisioning host   {setup["host"]}:{setup["port"]}
    ID scope            {setup["idScope"]}
    CA certificate      {_short(setup["caCertificate"])}
    device key          {gateway} device compute-key my-device -c {config}
    or a certificate    {gateway} device issue-cert my-device -c {config}
    or simulated        {gateway} simulate -n 10 --model '{_THERMOSTAT}' -c {config}

A subscriber of your own (any MQTT client; mosquitto_sub, for example):
    mosquitto_sub -p {setup["appPort"]} -u {setup["appUsername"]} \\
        -P "$(cat {_short(self._directory / "app.password")})" -t 'telemetry/#' -v

Who is refused, and why, is in the log as connect.refused. A set-up to keep: {gateway} init DIR
""",
            flush=True,
        )


def _command() -> list[str]:
    return [sys.executable, "-m", "gateway"]


def _run(*arguments: str, capture: bool = False) -> str:
    """One of our own commands, shown as a person would type it."""
    if not capture:
        print(f"\n$ {_name()} {' '.join(map(_short, arguments))}", flush=True)
    done = subprocess.run(  # noqa: S603
        [*_command(), *arguments], stdout=subprocess.PIPE if capture else None, text=True, check=False
    )
    if done.returncode:
        raise GatewayError(f"`gateway {arguments[0]}` failed; the lines above say why")
    return done.stdout or ""


def _name() -> str:
    """What a person at this prompt types for `gateway`."""
    script = Path(sys.executable).parent / "gateway"
    return "gateway" if shutil.which("gateway") == str(script) else _short(script)


def _short(argument: str | Path) -> str:
    """A path below the working directory, from there; anything else as it is."""
    path = Path(argument)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(argument)


def _say(text: str) -> None:
    print(f"\n── {text}\n", flush=True)


def _port(preferred: int) -> int:
    """The usual port if it is free here, else one that is."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
            return int(probe.getsockname()[1])
    raise StartError("no free port")
