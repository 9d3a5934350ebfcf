"""What a gateway's configuration says about where its devices go: `--config gateway.yaml` saves the other options."""

import os
from pathlib import Path

import yaml

from gateway.cli.channel import call
from gateway.errors import OperationError
from gateway.settings import Settings, load_settings
from gateway.state_lock import StateLock

__all__ = ["GatewaySetup"]

_DEFAULT_GROUP = "SAS-IoT-Devices"


class GatewaySetup:
    """A gateway on this machine. Raises `GatewayError` if its configuration can't be read, here and below."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.settings: Settings = load_settings(config)

    @property
    def host(self) -> str:
        """This host's own name for itself resolves everywhere; the first of `hosts` may only do so elsewhere."""
        return "localhost" if "localhost" in self.settings.hosts else self.settings.hosts[0]

    def port(self, *, plain: bool) -> int:
        bind = self.settings.devices.plain_bind if plain else self.settings.devices.bind
        if bind is None:
            raise OperationError(
                f"{self.config}: this gateway has no plain listener",
                hint="leave out --plain, or set devices.plain_bind",
            )
        return bind.port

    def applications_port(self) -> int:
        """Of amqtt's own listener: `listeners.default`."""
        document = yaml.safe_load(self.config.read_text())
        try:
            return int(str(document["listeners"]["default"]["bind"]).rpartition(":")[2])
        except (KeyError, TypeError, ValueError):
            raise OperationError(
                f"{self.config}: listeners.default has no port", hint="name it with --app-port"
            ) from None

    def beside(self, name: str) -> Path:
        """A file beside the configuration, where `gateway init` puts the development CA."""
        return self.config.absolute().parent / name

    def group_key(self) -> str:
        shown = call(self.config, "group.show", name=_DEFAULT_GROUP, keys=True)
        if "primaryKey" not in shown:
            raise OperationError(f"{_DEFAULT_GROUP} is an X.509 group", hint="name a key with --group-key")
        return str(shown["primaryKey"])

    def pid(self) -> int | None:
        """The running gateway's process, or None."""
        holder = StateLock(self.settings.lock_file).holder()
        if holder is None:
            return None
        try:
            os.kill(holder, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return holder
