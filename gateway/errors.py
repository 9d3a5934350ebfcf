"""Every exception the gateway raises on purpose.

    GatewayError
    ├── SettingsError        the set-up can't be used as written
    ├── StartError           the set-up is fine, but the machine says no (a port, a lock, a file)
    ├── OperationError       an operator's request can't be carried out
    │   ├── NotFoundError    … because the thing isn't there
    │   ├── ForbiddenError   … because who asks has no right to it
    │   └── ConflictError    … because of the state the thing is in
    │       └── ChangedError … because it is not the state that the caller saw
    ├── TemplateError        a model can't become a device template
    └── StoreError           the store can't answer
        ├── StoreUnavailable it may answer later (full disk, locked, connection lost)
        └── StoreCorrupt     it will not: what is there is not our database, or it is damaged

A *fault* is an exception. A *refusal* of a device is a value: `gateway.refusals.Refused`.
The text of each is one line for an operator; `hint`, when there is one, says what to do next.
"""

__all__ = [
    "ChangedError",
    "ConflictError",
    "ForbiddenError",
    "GatewayError",
    "NotFoundError",
    "OperationError",
    "SettingsError",
    "StartError",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "TemplateError",
]


class GatewayError(Exception):
    """The root. `str()` is one line; `hint` is the next step for an operator, or empty.

    `argument` names the argument of a verb that it is about, if it is about one: the console shows it beside that field.
    """

    def __init__(self, message: str, *, hint: str = "", argument: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.argument = argument


class SettingsError(GatewayError):
    """A setting is missing, unknown or unusable."""


class StartError(GatewayError):
    """The gateway can't start here and now: a port is taken, a file can't be read, another gateway runs."""


class OperationError(GatewayError):
    """An operator's request can't be carried out."""


class NotFoundError(OperationError):
    """The device, group, enrollment or template that was named does not exist."""


class ConflictError(OperationError):
    """It exists already, or its state forbids what was asked."""


class ChangedError(ConflictError):
    """Somebody else changed it since the caller read it: its etag is another one."""


class ForbiddenError(OperationError):
    """The role of who asks does not allow it."""


class TemplateError(GatewayError):
    """A DTDL document can't become a device template."""


class StoreError(GatewayError):
    """The store can't answer."""


class StoreUnavailable(StoreError):  # noqa: N818 - named after the answer it becomes, "server unavailable"
    """The store can't answer now; a device is told "server unavailable" (3), never "not authorized"."""


class StoreCorrupt(StoreError):  # noqa: N818
    """The database is damaged, or not one of ours."""
