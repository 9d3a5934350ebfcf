"""A verb: the method that carries it out, the arguments it takes, and who may use it.

The method's signature is the one description of its arguments: the model that checks what comes over the control
socket and over HTTP is made from it.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from gateway.errors import OperationError
from gateway.operations.jobs import Job, LocalJob
from gateway.roles import Role
from gateway.secrets import REDACTED

__all__ = ["SECRET", "DeviceId", "DeviceName", "Dtmi", "Etag", "GroupName", "Limit", "Pem", "Tag", "Verb"]

SECRET: Final = object()
"""Marks an argument that nobody may see again, the audit log included: `Annotated[str, SECRET]`."""

# What arguments are made of. The rooms check what they mean; these bounds keep nonsense out of them.
DeviceId = Annotated[str, Field(min_length=1, max_length=128)]
GroupName = Annotated[str, Field(min_length=1, max_length=255)]
Dtmi = Annotated[str, Field(min_length=1, max_length=2048)]
Pem = Annotated[str, Field(max_length=64 * 1024)]
Limit = Annotated[int, Field(ge=1, le=1000)]
DeviceName = Annotated[str, Field(min_length=1, max_length=148)]
"""IoT Central's longest device name."""
Tag = Annotated[str, Field(min_length=1, max_length=64)]
Etag = Annotated[str, Field(min_length=1, max_length=64)]
"""What the caller read: if it is another one by now, the change is refused."""

_MAX_RECORDED: Final = 200
"""Characters of one argument that the audit log keeps; a certificate or a model is told by what it changed."""


class Verb:
    """A verb of one noun. `noun` is the attribute of `Operations` that carries it out; None: itself.

    `role` is the least that may use it; `more` names flags that need another role when they are set. `of` is the
    argument that names the one thing it is about, if one does. What `writes` is audited.
    """

    def __init__(
        self,
        noun: str | None,
        method: Callable[..., Awaitable[dict[str, Any]]],
        role: Role,
        *,
        of: str | None = None,
        writes: bool = False,
        more: Mapping[str, Role] | None = None,
    ) -> None:
        self.summary: Final = inspect.getdoc(method) or ""
        self.arguments: Final = _model_of(method)
        self.role: Final = role
        self.is_job: Final = "job" in inspect.signature(method).parameters
        """Whether it works through many things, and tells how far it is: `gateway.operations.jobs`."""
        self.of: Final = of
        self.writes: Final = writes
        self._more = more or {}
        self._secrets = _secrets_of(method)
        self._noun = noun
        self._method = method

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with their defaults. Raises `OperationError` if they are not what the verb takes."""
        try:
            return self.arguments.model_validate(dict(arguments)).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            argument = str(first["loc"][0]) if first["loc"] else ""
            raise OperationError(_told(first), argument=argument) from None

    def role_for(self, checked: Mapping[str, Any]) -> Role:
        """The least role that may use it with these arguments."""
        needed = [self.role, *(role for flag, role in self._more.items() if checked.get(flag))]
        return max(needed, key=list(Role).index)

    def to_record(self, checked: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the audit log keeps them: what was given, without secrets, cut to size."""
        return {
            name: REDACTED if name in self._secrets else _cut(value)
            for name, value in checked.items()
            if value is not None
        }

    async def run(
        self, operations: object, checked: Mapping[str, Any], job: Job | None = None
    ) -> dict[str, Any]:
        """Call the method with arguments that `check` returned."""
        if job is not None and not self.is_job:
            raise OperationError("this verb is not a job", hint="ask for it without `job`")
        target = operations if self._noun is None else getattr(operations, self._noun)
        first = (target, job or LocalJob()) if self.is_job else (target,)
        return await self._method(*first, **checked)


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_RECORDED:
        return f"({len(value)} characters)"
    return value


def _hints(method: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(method, include_extras=True)
    return {name: hints[name] for name in inspect.signature(method).parameters if name not in {"self", "job"}}


def _secrets_of(method: Callable[..., Any]) -> frozenset[str]:
    def is_secret(hint: Any) -> bool:
        return hint is SECRET or any(map(is_secret, get_args(hint)))

    return frozenset(name for name, hint in _hints(method).items() if is_secret(hint))


def _model_of(method: Callable[..., Any]) -> type[BaseModel]:
    parameters = inspect.signature(method).parameters
    fields: dict[str, Any] = {
        name: (hint, ... if parameters[name].default is inspect.Parameter.empty else parameters[name].default)
        for name, hint in _hints(method).items()
    }
    # `hide_input_in_errors`: an argument may be a key. Strict: JSON has types, so none is guessed.
    config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, frozen=True)
    model: type[BaseModel] = create_model(f"{method.__qualname__}Arguments", __config__=config, **fields)
    return model


def _told(first: ErrorDetails) -> str:
    name = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"{name} is not an argument of this verb"
        case _:
            return f"{name}: {first['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
