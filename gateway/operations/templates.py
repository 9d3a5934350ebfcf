"""Verbs on device templates: publish one from DTDL, and show what is published.

Publishing associates the devices that announced the model before anybody knew it: IoT Central's Unassociated
devices find their template without another connect.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

import orjson
from pydantic import Field

from gateway.catalog import TemplateCatalog
from gateway.errors import ConflictError, NotFoundError, OperationError, TemplateError
from gateway.log import get_logger
from gateway.operations.documents import refuse_changed, timestamp
from gateway.operations.verbs import DeviceId, DeviceName, Dtmi, Etag
from gateway.registry.device import Device
from gateway.registry.registry import Registry
from gateway.registry.store import DeviceQuery
from gateway.registry.twins import Twins
from gateway.telemetry.observations import MAX_FIELDS, Observations
from gateway.templates.dtdl import parse_interfaces
from gateway.templates.dtmi import is_dtmi, last_segment
from gateway.templates.inference import infer_model, properties_of
from gateway.templates.template import Capabilities, DeviceTemplate, build_template, missing_interfaces

__all__ = ["TemplateOperations"]

log = get_logger()

_PAGE: Final = 500
"""Devices associated at a time; they share a commit."""
Dtdl = Annotated[str, Field(max_length=3 * 1024 * 1024)]
"""What fits into a request of the control socket, escaped."""


class TemplateOperations:
    """`template.*`"""

    def __init__(
        self,
        *,
        registry: Registry,
        catalog: TemplateCatalog,
        twins: Twins,
        observations: Observations,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._twins = twins
        self._observations = observations
        self._clock = clock
        # Between looking and deleting there is an await; nobody may publish the template anew there.
        self._changing = asyncio.Lock()

    async def list(self) -> dict[str, Any]:
        """List the device templates, by id, each with how many devices have it."""
        used = await self._registry.count_by_template()
        templates = sorted(self._catalog.list(), key=lambda template: template.id)
        return {
            "templates": [
                _summary(template) | {"devices": used.get(template.id, 0)} for template in templates
            ]
        }

    async def versions(self, *, model: Dtmi) -> dict[str, Any]:
        """List the published versions of a model, oldest first. `model` is a DTMI of any version, or without one."""
        used = await self._registry.count_by_template()
        wanted = model.partition(";")[0]
        templates = [template for template in self._catalog.list() if template.id.partition(";")[0] == wanted]
        if not templates:
            raise NotFoundError(
                f"there is no device template of the model {wanted}", hint="see `gateway template list`"
            )
        return {
            "model": wanted,
            "versions": [
                _summary(template)
                | {"version": template.id.partition(";")[2], "devices": used.get(template.id, 0)}
                for template in sorted(templates, key=_version)
            ],
        }

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
        return {
            "id": template.id,
            "displayName": template.display_name,
            "document": list(template.documents),
            "etag": _etag(template),
        }

    async def import_(
        self, *, content: Dtdl, root: Dtmi | None = None, if_match: Etag | None = None
    ) -> dict[str, Any]:
        """Publish a template from DTDL text. `root` says which interface is the model, if several could be.

        Interfaces that the text lacks are taken from the templates that are published already.
        """
        template = self.build(content, root)
        async with self._changing:
            _refuse_changed(template.id, self._catalog.get(template.id), if_match)
            await self._catalog.publish(template)
        associated = await self._associate(template)
        return {**_summary(template), "associatedDevices": associated}

    def build(self, content: str, root: str | None) -> DeviceTemplate:
        """The template that `import_` publishes. Raises `TemplateError`."""
        documents = _parse(content)
        model_id = root or _only_root(documents)
        return build_template(_completed(documents, model_id, self._catalog), model_id, source="published")

    async def delete(self, *, template_id: Dtmi, if_match: Etag | None = None) -> dict[str, Any]:
        """Delete a device template that no device has."""
        users = 0

        async def is_used() -> bool:
            nonlocal users
            users = (await self._registry.count_by_template()).get(template_id, 0)
            return users > 0

        async with self._changing:
            _refuse_changed(template_id, self._get(template_id), if_match)
            if not await self._catalog.withdraw(template_id, unless=is_used):
                raise ConflictError(
                    f"{'1 device has' if users == 1 else f'{users} devices have'} the device template {template_id}",
                    hint=f"migrate them: gateway device migrate OTHER --template '{template_id}'",
                )
        return {"id": template_id}

    async def autogenerate(
        self, *, device_id: DeviceId, model_id: Dtmi | None = None, display_name: DeviceName | None = None
    ) -> dict[str, Any]:
        """Write a model from what an Unassociated device has sent since the gateway started, and from its twin.

        Nothing is published: `document` is DTDL for a person to review and for `template.import` to take, `notes` say what
        could not be modelled. The model gets the DTMI that the device announced, unless `model_id` says another.
        """
        entry = self._registry.peek(device_id) or await self._registry.fetch(device_id)
        device = entry.device
        if device is None:
            raise NotFoundError(f"there is no device {device_id}", hint="see `gateway device list`")
        if device.template_id is not None:
            raise ConflictError(
                f"{device_id} has a device template already: {device.template_id}",
                hint="only what an Unassociated device sends is remembered",
            )
        observed = self._observations.of(device_id)
        properties = properties_of((await self._twins.get(device_id)).reported, [MAX_FIELDS])
        if observed is None and not properties:
            raise NotFoundError(
                f"{device_id} has sent nothing since the gateway started",
                hint="wait for its next message; see `gateway device list --unassociated`",
            )
        dtmi = model_id or _announced(device) or _made_up(device_id)
        if not is_dtmi(dtmi):
            raise OperationError(f"{dtmi[:128]!r} is not a DTMI", hint="write it as dtmi:com:example:Mill;1")
        inferred = infer_model(
            dtmi, display_name or last_segment(dtmi), observed.by_component if observed else {}, properties
        )
        build_template(inferred.documents, dtmi)  # what is shown for review can be published
        notes = list(inferred.notes)
        if observed is not None and observed.others:
            notes.append(f"{observed.others} messages were no JSON objects: their values have no names")
        return {
            "id": dtmi,
            "device": device_id,
            "messages": observed.messages if observed else 0,
            "firstAt": timestamp(observed.first_at if observed else None),
            "lastAt": timestamp(observed.last_at if observed else None),
            "document": inferred.documents,
            "notes": notes,
        }

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


def _etag(template: DeviceTemplate) -> str:
    """A template is what it says: its etag is made from that."""
    return hashlib.sha256(template.to_json().encode()).hexdigest()[:16]


def _refuse_changed(template_id: str, template: DeviceTemplate | None, if_match: str | None) -> None:
    if if_match is not None:
        etag = _etag(template) if template is not None else ""
        refuse_changed(f"the device template {template_id}", etag, if_match)


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


def _version(template: DeviceTemplate) -> tuple[int, ...]:
    return tuple(map(int, template.id.partition(";")[2].split(".")))


def _announced(device: Device) -> str | None:
    return device.model_id if device.model_id is not None and is_dtmi(device.model_id) else None


def _made_up(device_id: str) -> str:
    """A DTMI for a device that announced none: a person may choose a better one."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", device_id).strip("_")[:64].strip("_")
    return f"dtmi:autogenerated:{name if name[:1].isalpha() else f'd{name}'};1"


def _summary(template: DeviceTemplate) -> dict[str, Any]:
    return {"id": template.id, "displayName": template.display_name, "source": template.source}


def _capabilities(capabilities: Capabilities) -> dict[str, Any]:
    return {
        "telemetry": sorted(capabilities.telemetry),
        "properties": sorted(capabilities.properties),
        "commands": sorted(capabilities.commands),
    }
