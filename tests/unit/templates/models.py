"""Short ways to write DTDL in tests."""

from typing import Any

ID = "dtmi:com:example:Device;1"
PART = "dtmi:com:example:Part;1"
CONTEXT = "dtmi:dtdl:context;2"


def interface(dtmi: str = ID, *contents: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = {"@context": CONTEXT, "@id": dtmi, "@type": "Interface", "contents": list(contents)} | more
    return {name: value for name, value in document.items() if value is not ...}


def telemetry(name: str = "value", schema: Any = "double", **more: Any) -> dict[str, Any]:
    return {"@type": "Telemetry", "name": name, "schema": schema} | more


def component(name: str, schema: Any) -> dict[str, Any]:
    return {"@type": "Component", "name": name, "schema": schema}
