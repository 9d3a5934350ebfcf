"""Applications: back ends, dashboards and tools that read telemetry on amqtt's own listener.

An application has a name, a secret and rights by topic filter. A device credential has no business there: it
is refused with a log line that says where devices belong.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from gateway.dps.grammar import parse_username as parse_dps_username
from gateway.errors import StartError
from gateway.hub.grammar import parse_username as parse_hub_username
from gateway.mqtt.topics import filter_covers, matches
from gateway.settings import ApplicationSettings

__all__ = ["Applications", "LoginRefused"]


class LoginRefused(StrEnum):
    """Why a login on the applications' listener was refused."""

    DEVICE_CREDENTIAL = "device_credential"
    NAME_UNKNOWN = "name_unknown"
    PASSWORD_WRONG = "password_wrong"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Application:
    password: bytes
    subscribe: tuple[str, ...]
    publish: tuple[str, ...]


class Applications:
    """Who may log in, and what each may subscribe to, publish to and receive."""

    def __init__(self, applications: dict[str, _Application]) -> None:
        self._applications = applications

    @classmethod
    def load(cls, settings: tuple[ApplicationSettings, ...]) -> Self:
        """Read the password files. Raises `StartError` if one can't be read or is empty."""
        return cls(
            {
                application.name: _Application(
                    password=_read_password(application.password_file),
                    subscribe=application.subscribe,
                    publish=application.publish,
                )
                for application in settings
            }
        )

    def login(self, name: str | None, password: str | None) -> LoginRefused | None:
        """None if the login is right."""
        text = name or ""
        if "/" in text and (parse_dps_username(text) or parse_hub_username(text)):
            return LoginRefused.DEVICE_CREDENTIAL
        application = self._applications.get(text)
        if application is None:
            return LoginRefused.NAME_UNKNOWN
        if not hmac.compare_digest(application.password, (password or "").encode()):
            return LoginRefused.PASSWORD_WRONG
        return None

    def may_subscribe(self, name: str | None, topic_filter: str) -> bool:
        """Whether everything that `topic_filter` can match lies within the application's rights."""
        application = self._applications.get(name or "")
        return application is not None and any(
            filter_covers(right, topic_filter) for right in application.subscribe
        )

    def may_receive(self, name: str | None, topic: str) -> bool:
        application = self._applications.get(name or "")
        return application is not None and any(matches(right, topic) for right in application.subscribe)

    def may_publish(self, name: str | None, topic: str) -> bool:
        application = self._applications.get(name or "")
        return application is not None and any(matches(right, topic) for right in application.publish)


def _read_password(file: Path) -> bytes:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise StartError(f"{file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartError(f"{file}: not UTF-8 text") from None
    if not lines or not lines[0]:
        raise StartError(f"{file}: the first line must be the application's password")
    return lines[0].encode()
