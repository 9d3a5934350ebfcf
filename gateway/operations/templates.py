"""Verbs on device templates: publish one from DTDL, and show what is published.

Publishing associates the devices that announced the model before anybody knew it: IoT Central's Unassociated
devices find their template without another connect.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from gateway.catalog import TemplateCatalog
from gateway.errors import NotFoundError, TemplateError
from gateway.log import get_logger
from gateway.operations.verbs import Dtmi
from gateway.registry.device import Device
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.templates.dtdl import parse_interfaces
from gateway.templates.template import Capabilities, DeviceTemplate, build_template, missing_interfaces

__all__ = ["TemplateOperations"]

log = get_logger()

_PAGE: Final = 500
"""Devices associated at a time; they share a commit."""
Dtdl = Annotated[str, Field(max_length=3 * 1024 * 1024)]
"""What fits into a request of the control socket, escaped."""


class TemplateOperations:
    """`template.*`"""

    def __init__(self, *, registry: Registry, catalog: TemplateCatalog, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._catalog = catalog
        self._clock = clock

    async def list(self) -> dict[str, Any]:
        """List the device templates, by id."""
        templates = sorted(self._catalog.list(), key=lambda template: template.id)
        return {"templates": [_summary(template) for template in templates]}

    async def show(self, *, template_id: Dtmi) -> dict[str, Any]:
        """Show what the devices of a template send and accept."""
        template = self._get(template_id)
        return {
            **_summary(template),
            **_capabilities(template.root),
            "components": {name: _capabilities(component) for name, component in template.components.items()},
        }

    async def export(self, *, template_id: Dtmi) -> dict[str, Any]:
        """A template's DTDL with all it depends on: what `import` takes."""
        template = self._get(template_id)
        return {"id": template.id, "document": list(template.documents)}

    async def import_(self, *, content: Dtdl, root: Dtmi | None = None) -> dict[str, Any]:
        """Publish a template from DTDL text. `root` says which interface is the model, if several could be.

        Interfaces that the text lacks are taken from the templates that are published already.
        """
        documents = _parse(content)
        model_id = root or _only_root(documents)
        template = build_template(
            _completed(documents, model_id, self._catalog), model_id, source="published"
        )
        await self._catalog.publish(template)
        associated = await self._associate(template)
        return {**_summary(template), "associatedDevices": associated}

    async def _associate(self, template: DeviceTemplate) -> int:
        """Give the template to every Unassociated device that announced its model. How many there were."""
        now = self._clock()

        def associated(device: Device) -> Device:
            # Since it was listed, an operator may have assigned another one, or it announced another model.
            if device.template_id is not None or device.model_id != template.model_id:
                return device
            return device.replace(now=now, template_id=template.id, template_assigned_by="association")

        query = DeviceQuery(model_id=template.model_id, unassociated=True)
        count, after = 0, None
        while page := await self._registry.list_devices(query, after=after, limit=_PAGE):
            outcomes = await asyncio.gather(
                *(self._registry.amend(device.id, associated) for device in page), return_exceptions=True
            )
            for device, outcome in zip(page, outcomes, strict=True):
                if isinstance(outcome, Device):
                    count += outcome.template_id == template.id
                    log.info(
                        "template.associated", device_id=device.id, template=template.id, by="publication"
                    )
                elif not isinstance(outcome, NotFoundError):  # deleted meanwhile: nothing to associate
                    raise outcome
            after = page[-1].id
        return count

    def _get(self, template_id: str) -> DeviceTemplate:
        template = self._catalog.get(template_id)
        if template is None:
            raise NotFoundError(
                f"there is no device template {template_id}", hint="see `gateway template list`"
            )
        return template


def _parse(content: str) -> list[Any]:
    try:
        document = orjson.loads(content.removeprefix("\ufeff"))
    except orjson.JSONDecodeError as error:
        raise TemplateError(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    return document if isinstance(document, list) else [document]


def _completed(documents: list[Any], model_id: str, catalog: TemplateCatalog) -> list[Any]:
    """`documents`, and what they depend on as far as published templates have it."""
    published: dict[str, Any] = {}
    while lacking := missing_interfaces(documents, model_id) - {model_id}:
        published = published or {
            document["@id"]: document for template in catalog.list() for document in template.documents
        }
        found = [published[dtmi] for dtmi in sorted(lacking) if dtmi in published]
        if not found:
            break  # `build_template` says what is missing
        documents = [*documents, *found]
    return documents


def _only_root(documents: list[Any]) -> str:
    """The one interface that no other one of the text depends on. Raises `TemplateError`."""
    interfaces = parse_interfaces(documents)
    needed = {dtmi for interface in interfaces.values() for dtmi in interface.needs}
    roots = sorted(interfaces.keys() - needed)
    match roots:
        case [root]:
            return root
        case []:
            raise TemplateError("no interface is the model: each is a part of another, or there is none")
        case _:
            raise TemplateError(
                f"{len(roots)} interfaces could be the model: {', '.join(roots[:5])}",
                hint="name it with --root",
            )


def _summary(template: DeviceTemplate) -> dict[str, Any]:
    return {"id": template.id, "displayName": template.display_name, "source": template.source}


def _capabilities(capabilities: Capabilities) -> dict[str, Any]:
    return {
        "telemetry": sorted(capabilities.telemetry),
        "properties": sorted(capabilities.properties),
        "commands": sorted(capabilities.commands),
    }
