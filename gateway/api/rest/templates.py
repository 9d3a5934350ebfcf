"""`/deviceTemplates`: device templates in IoT Central's form, a model with its components in one document."""

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request, Response

from gateway.api.rest.calling import ApiVersion, Caller, IfMatch, Me, etag_meant, quoted
from gateway.api.rest.pages import Paging, cut, next_link
from gateway.api.rest.shapes import Collection, Object, TemplateBody
from gateway.errors import OperationError

__all__ = ["router"]

router = APIRouter(prefix="/deviceTemplates", tags=["deviceTemplates"], dependencies=[ApiVersion])

TemplateId = Annotated[str, Path(min_length=1, max_length=2048, description="The DTMI of its model.")]

_TYPES: Final = ["ModelDefinition", "DeviceModel"]
_CONTEXT: Final = ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"]
_MAX_DEPTH: Final = 32


@router.get("", response_model=Collection, response_model_exclude_unset=True)
async def list_templates(me: Me, request: Request, page: Paging) -> Object:
    templates = (await me.call("template.list"))["templates"]
    names, after = cut([template["id"] for template in templates], page, lambda name: name)
    return {"value": [await _shown(me, name) for name in names], **next_link(request, after)}


@router.get("/{template_id}")
async def get_template(me: Me, template_id: TemplateId, response: Response) -> Object:
    return await _answer(me, template_id, response)


@router.put("/{template_id}")
async def create_or_update_template(
    me: Me, template_id: TemplateId, body: TemplateBody, if_match: IfMatch, response: Response
) -> Object:
    """Publish a device template; an earlier one of the same id is replaced."""
    await _publish(me, template_id, body, etag_meant(if_match, body.etag))
    return await _answer(me, template_id, response)


@router.patch("/{template_id}")
async def update_template(
    me: Me, template_id: TemplateId, patch: Object, if_match: IfMatch, response: Response
) -> Object:
    """A JSON merge patch (RFC 7396) of what GET shows. Two at once: one of them is told 412."""
    known = await _shown(me, template_id)
    etag = patch.get("etag") if isinstance(patch.get("etag"), str) else None
    meant = etag_meant(if_match, etag) or known["etag"].strip('"')
    body = TemplateBody.model_validate(_patched(known, patch, _MAX_DEPTH) | {"etag": known["etag"]})
    await _publish(me, template_id, body, meant)
    return await _answer(me, template_id, response)


@router.delete("/{template_id}", status_code=204)
async def delete_template(me: Me, template_id: TemplateId, if_match: IfMatch) -> None:
    """A template that devices have can't be deleted."""
    await me.call("template.delete", template_id=template_id, if_match=if_match)


async def _publish(me: Caller, template_id: str, body: TemplateBody, if_match: str | None) -> None:
    model: Object = dict(body.capabilityModel)
    if model.setdefault("@id", template_id) != template_id:
        raise OperationError(
            f"the template's id is here its model's: {model['@id']!s:.200}",
            hint="use the capabilityModel's @id in the path",
        )
    model.setdefault("@context", _CONTEXT)
    if body.displayName is not None:
        model["displayName"] = body.displayName
    documents = _apart(model)
    try:
        content = orjson.dumps(documents).decode()
    except orjson.JSONEncodeError:
        raise OperationError("capabilityModel: nested too deep") from None
    await me.call("template.import", content=content, root=template_id, if_match=if_match)


def _apart(model: Object) -> list[Object]:
    """A model whose components and bases stand within it, as an array of interfaces that name each other."""
    documents: list[Object] = []

    def interface(document: Object, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise OperationError("capabilityModel: nested too deep")
        own = dict(document)
        own.setdefault("@context", model["@context"])
        contents = own.get("contents")
        if isinstance(contents, list):
            own["contents"] = [
                content | {"schema": named(content["schema"], depth)}
                if isinstance(content, dict) and _has_type(content, "Component") and "schema" in content
                else content
                for content in contents
            ]
        bases = own.get("extends")
        if bases is not None:
            own["extends"] = (
                [named(base, depth) for base in bases] if isinstance(bases, list) else named(bases, depth)
            )
        documents.append(own)

    def named(part: Any, depth: int) -> Any:
        """The name of an interface; one that stands here whole goes into `documents`."""
        if not isinstance(part, dict) or "@id" not in part or not _has_type(part, "Interface"):
            return part
        if all(document.get("@id") != part["@id"] for document in documents):
            interface(part, depth + 1)
        return part["@id"]

    interface(model, 0)
    documents.reverse()
    return documents


def _whole(documents: list[Object], root: str) -> Object:
    """The opposite of `_apart`: the model, with each interface that it needs where it is first named."""
    rest = {document["@id"]: document for document in documents if "@id" in document}

    def interface(dtmi: str) -> Object:
        own = dict(rest.pop(dtmi))
        contents = own.get("contents")
        if isinstance(contents, list):
            own["contents"] = [
                content | {"schema": placed(content["schema"])}
                if isinstance(content, dict) and _has_type(content, "Component") and "schema" in content
                else content
                for content in contents
            ]
        bases = own.get("extends")
        if bases is not None:
            own["extends"] = [placed(base) for base in bases] if isinstance(bases, list) else placed(bases)
        return own

    def placed(part: Any) -> Any:
        return interface(part) if isinstance(part, str) and part in rest else part

    return interface(root)


def _has_type(part: Object, name: str) -> bool:
    kinds = part.get("@type")
    return name in kinds if isinstance(kinds, list) else kinds == name


def _patched(document: Any, patch: Any, depth: int) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    if depth == 0:
        raise OperationError("the patch is nested too deep")
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _patched(result.get(name), value, depth - 1)
    return result


async def _shown(me: Caller, template_id: str) -> Object:
    exported = await me.call("template.export", template_id=template_id)
    return {
        "@id": exported["id"],
        "@type": _TYPES,
        "@context": _CONTEXT,
        "displayName": exported["displayName"],
        "capabilityModel": _whole(exported["document"], exported["id"]),
        "etag": quoted(exported["etag"]),
    }


async def _answer(me: Caller, template_id: str, response: Response) -> Object:
    shown = await _shown(me, template_id)
    response.headers["ETag"] = shown["etag"]
    return shown
