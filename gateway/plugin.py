"""amqtt ↔ gateway: lifecycle, and the applications' logins and rights. It decides nothing about devices.

amqtt loads this class from the configuration file, so `gateway serve -c gateway.yaml` and
`amqtt -c gateway.yaml` run the same gateway.
"""

import dataclasses
import os
import signal
from typing import Any

from amqtt.broker import BrokerContext
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from gateway import log as logging_setup
from gateway.app import Gateway
from gateway.applications import Applications, LoginRefused
from gateway.errors import GatewayError
from gateway.log import get_logger
from gateway.settings import Settings, parse_settings
from gateway.telemetry.sinks.amqtt import AmqttSink

__all__ = ["GatewayPlugin"]

log = get_logger()


class GatewayPlugin(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]
    """The gateway, as amqtt sees it."""

    # amqtt turns the plugin's YAML into this class before it calls us. The fields are the sections of
    # `gateway.settings.Settings`, which then checks them, so that there is one description of the settings.
    Config = dataclasses.make_dataclass("Config", [(name, Any, None) for name in Settings.model_fields])

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        given = {name: value for name, value in vars(self.config).items() if value is not None}
        try:
            settings = parse_settings(given)
            logging_setup.configure(settings.log)
            self.applications = Applications.load(settings.applications)
        except GatewayError as error:
            logging_setup.report_failure(error)
            raise
        _warn_of_open_secrets(settings)
        self.settings = settings
        self.gateway: Gateway | None = None
        self._sink: AmqttSink | None = None
        self.failure: GatewayError | None = None
        """Why the gateway could not start or go on."""

    # Lifecycle

    async def on_broker_post_start(self) -> None:
        context = self.context
        assert isinstance(context, BrokerContext)  # noqa: S101
        telemetry = self.settings.telemetry
        self._sink = AmqttSink(
            context,
            self.applications,
            max_backlog=telemetry.max_subscriber_backlog,
            max_backlog_bytes=telemetry.max_subscriber_backlog_bytes,
        )
        self.gateway = Gateway(self.settings, sinks=(self._sink,), on_failure=self._fail)
        try:
            await self.gateway.start()
        except GatewayError as error:
            self._fail(error)

    async def on_broker_pre_shutdown(self) -> None:
        if self.gateway is not None:
            gateway, self.gateway = self.gateway, None
            await gateway.stop()
        if self._sink is not None:
            await self._sink.close()

    def _fail(self, error: GatewayError) -> None:
        """amqtt swallows what its plugins raise and would go on serving nobody: end the process in order."""
        self.failure = error
        logging_setup.report_failure(error)
        os.kill(os.getpid(), signal.SIGINT)

    # Applications

    async def authenticate(self, *, session: Session) -> bool:
        refused = self.applications.login(session.username, session.password)
        if refused is None:
            log.info("application.accepted", application=session.username, client_id=session.client_id)
            return True
        hint = ""
        if refused is LoginRefused.DEVICE_CREDENTIAL:
            hint = f"devices connect on {self.settings.devices.bind}; this listener is for applications"
        log.warning(
            "application.refused", reason=refused, client_id=session.client_id, hint=hint,
            peer=f"{session.remote_address}:{session.remote_port}",
        )  # fmt: skip
        return False

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        name = session.username if session is not None else None
        match action:
            case Action.SUBSCRIBE:
                allowed = self.applications.may_subscribe(name, topic or "")
            case Action.PUBLISH:
                allowed = self.applications.may_publish(name, topic or "")
            case _:
                return self.applications.may_receive(name, topic or "")
        if not allowed:
            log.warning("application.denied", application=name, action=str(action), topic=topic)
        return allowed


def _warn_of_open_secrets(settings: Settings) -> None:
    """A private key or a password that others on this machine can read works, and is worth a line."""
    files = [settings.devices.key_file, settings.http.key_file, settings.registry.encryption_key_file]
    for file in (*files, *(each.password_file for each in settings.applications)):
        if file is None:
            continue
        try:
            mode = file.stat().st_mode
        except OSError:
            continue  # whoever needs the file says so
        if mode & 0o077:
            log.warning(
                "setting.warned",
                file=str(file),
                mode=f"{mode & 0o777:o}",
                hint="others can read it: chmod 600",
            )
