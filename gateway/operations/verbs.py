"""A verb: the method that carries it out, and the arguments it takes.

The method's signature is the one description of its arguments: the model that checks what comes over the control
socket (and, in a later issue, over HTTP) is made from it.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from gateway.errors import OperationError
from gateway.operations.jobs import Job, LocalJob

__all__ = ["DeviceId", "DeviceName", "Dtmi", "GroupName", "Limit", "Pem", "Tag", "Verb"]

# What arguments are made of. The rooms check what they mean; these bounds keep nonsense out of them.
DeviceId = Annotated[str, Field(min_length=1, max_length=128)]
GroupName = Annotated[str, Field(min_length=1, max_length=255)]
Dtmi = Annotated[str, Field(min_length=1, max_length=2048)]
Pem = Annotated[str, Field(max_length=64 * 1024)]
Limit = Annotated[int, Field(ge=1, le=1000)]
DeviceName = Annotated[str, Field(min_length=1, max_length=148)]
"""IoT Central's longest device name."""
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class Verb:
    """A verb of one noun. `noun` is the attribute of `Operations` that carries it out; None: itself."""

    def __init__(self, noun: str | None, method: Callable[..., Awaitable[dict[str, Any]]]) -> None:
        self.summary: Final = inspect.getdoc(method) or ""
        self.arguments: Final = _model_of(method)
        self.is_job: Final = "job" in inspect.signature(method).parameters
        """Whether it works through many things, and tells how far it is: `gateway.operations.jobs`."""
        self._noun = noun
        self._method = method

    async def run(
        self, operations: object, arguments: Mapping[str, Any], job: Job | None = None
    ) -> dict[str, Any]:
        """Check `arguments` and call the method. Raises `OperationError` if they are not what it takes."""
        if job is not None and not self.is_job:
            raise OperationError("this verb is not a job", hint="ask for it without `job`")
        try:
            checked = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise OperationError(_first_line(error)) from None
        target = operations if self._noun is None else getattr(operations, self._noun)
        first = (target, job or LocalJob()) if self.is_job else (target,)
        return await self._method(*first, **checked.model_dump())


def _model_of(method: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(method, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
        if name not in {"self", "job"}
    }
    # `hide_input_in_errors`: an argument may be a key. Strict: JSON has types, so none is guessed.
    config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, frozen=True)
    model: type[BaseModel] = create_model(f"{method.__qualname__}Arguments", __config__=config, **fields)
    return model


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"{name} is not an argument of this verb"
        case _:
            return f"{name}: {first['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
