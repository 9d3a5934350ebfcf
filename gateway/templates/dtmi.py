"""Digital twin model identifiers: `dtmi:com:example:Thermostat;1`.

Grammar: DTDL v2 and v3, "Digital Twin Model Identifier" (github.com/Azure/opendigitaltwins-dtdl). An interface's
identifier has at most 128 characters; v3 allows a minor version, which does not begin with 0. From v3 on the version
may also be left out; not here, because a model repository names its files by it.
"""

import re
from typing import Final

__all__ = ["expanded_path", "is_dtmi", "last_segment", "repository_path"]

_MAX_CHARACTERS: Final = 128
_SEGMENT: Final = r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?"
_DTMI: Final = re.compile(rf"dtmi:{_SEGMENT}(?::{_SEGMENT})*;[1-9][0-9]{{0,8}}(?:\.[1-9][0-9]{{0,5}})?")


def is_dtmi(text: str) -> bool:
    """Whether `text` identifies an interface. What passes is safe in a path and in a topic level."""
    return len(text) <= _MAX_CHARACTERS and _DTMI.fullmatch(text) is not None


def repository_path(dtmi: str) -> str:
    """Where the public layout keeps a model: `dtmi/com/example/thermostat-1.json`. Raises `ValueError`."""
    if not is_dtmi(dtmi):
        raise ValueError(f"{dtmi[:_MAX_CHARACTERS]!r} is not a DTMI")
    return f"{dtmi.lower().replace(':', '/').replace(';', '-')}.json"


def expanded_path(dtmi: str) -> str:
    """Where it keeps a model together with all it depends on: `….expanded.json`. Raises `ValueError`."""
    return repository_path(dtmi).removesuffix(".json") + ".expanded.json"


def last_segment(dtmi: str) -> str:
    """`Thermostat`: a name for a model that has none of its own."""
    return dtmi.rpartition(":")[2].partition(";")[0]
