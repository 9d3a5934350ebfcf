"""The device templates in force: published ones, and those generated from a model repository.

`get` and `discover` answer from memory for every model that was published, generated, or lately not found; only a
model nobody has asked for goes to the repository, once however many devices announce it at the same time.
"""

import asyncio
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import GatewayError, TemplateError
from gateway.log import get_logger
from gateway.modelrepo import ModelRepository, make_repository
from gateway.registry.store import Store, TemplateRecord
from gateway.settings import ModelRepositorySettings
from gateway.templates.dtmi import is_dtmi
from gateway.templates.template import DeviceTemplate, Source, build_template, template_from_json

__all__ = ["TemplateCatalog"]

log = get_logger()

_MAX_UNKNOWN_MODELS: Final = 10_000
_MAX_LOOKUPS: Final = 32
_MAX_LOOKUPS_OF_DEVICE: Final = 2
"""One device that announces ever new models, on however many connections, takes nobody else's place in the line."""


class TemplateCatalog:
    """Templates by id. The store is written first, the memory after it."""

    def __init__(
        self,
        store: Store,
        settings: ModelRepositorySettings,
        *,
        clock: Callable[[], float] = time.time,
        repository: ModelRepository | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._repository = repository or make_repository(settings)
        self._templates: dict[str, DeviceTemplate] = {}
        self._created_at: dict[str, float] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[DeviceTemplate | None]] = {}
        self._begun_by: Counter[str] = Counter()

    async def load(self) -> None:
        """Read every template from the store. Raises `StoreError`.

        One that can't be read is logged and left out: its devices go on sending, unchecked.
        """
        for record in await self._store.load_templates():
            self._created_at[record.id] = record.created_at
            source: Source = "repository" if record.source == "repository" else "published"
            try:
                self._templates[record.id] = template_from_json(record.document, record.id, source=source)
            except TemplateError as error:
                log.error("template.refused", model_id=record.id, reason=str(error), hint=error.hint)

    def get(self, template_id: str) -> DeviceTemplate | None:
        return self._templates.get(template_id)

    def list(self) -> tuple[DeviceTemplate, ...]:
        return tuple(self._templates.values())

    async def publish(self, template: DeviceTemplate) -> None:
        """Store a template and put it in force; an earlier one of the same id is replaced.

        Raises `StoreError`, and `TemplateError` for a document that can't be stored.
        """
        now = self._clock()
        record = TemplateRecord(
            id=template.id,
            display_name=template.display_name,
            source=template.source,
            document=template.to_json(),
            created_at=self._created_at.get(template.id, now),
            updated_at=now,
            etag=secrets.token_hex(8),
        )
        await self._store.save_template(record)
        self._templates[template.id] = template
        self._created_at[template.id] = record.created_at
        self._unknown.pop(template.id, None)
        log.info(
            "template.published", template=template.id, source=template.source, name=template.display_name
        )

    async def withdraw(self, template_id: str, *, unless: Callable[[], Awaitable[bool]]) -> bool:
        """Delete a template, `unless` that finds it in use once no more devices can be associated with it.

        False if it is in use, and then it stays in force. Raises `StoreError`.
        """
        template = self._templates.pop(template_id)
        try:
            if await unless():
                self._templates.setdefault(template_id, template)
                return False
            await self._store.delete_template(template_id)
        except BaseException:
            self._templates.setdefault(template_id, template)
            raise
        self._created_at.pop(template_id, None)
        log.info("template.deleted", template=template_id)
        return True

    def discover(
        self, model_id: str, *, asked_by: str
    ) -> "DeviceTemplate | asyncio.Future[DeviceTemplate | None] | None":
        """The template of a model: published, else generated from the repository, else None (Unassociated).

        `asked_by` is the device that announces the model: it may have begun two look-ups at a time, and wait for others'.
        Those who wait for the same look-up each get a future of their own, so one that gives up cancels nobody else's.
        """
        template = self._templates.get(model_id)
        if template is not None or self._repository is None or not is_dtmi(model_id):
            return template
        looked_at = self._unknown.get(model_id)
        if looked_at is not None and self._clock() - looked_at < self._settings.retry_after_s:
            return None
        lookup = self._lookups.get(model_id)
        if lookup is None:
            if len(self._lookups) >= _MAX_LOOKUPS or self._begun_by[asked_by] >= _MAX_LOOKUPS_OF_DEVICE:
                return None  # Unassociated for now; the device's next connect asks again
            lookup = self._begin(model_id, self._repository, asked_by)
        return asyncio.shield(lookup)

    def _begin(
        self, model_id: str, repository: ModelRepository, asked_by: str
    ) -> "asyncio.Task[DeviceTemplate | None]":
        lookup = asyncio.create_task(self._generate(model_id, repository), name=f"model {model_id}")

        def done(_: "asyncio.Task[DeviceTemplate | None]") -> None:
            del self._lookups[model_id]
            self._begun_by[asked_by] -= 1
            if not self._begun_by[asked_by]:
                del self._begun_by[asked_by]

        self._lookups[model_id] = lookup
        self._begun_by[asked_by] += 1
        lookup.add_done_callback(done)
        return lookup

    async def _generate(self, model_id: str, repository: ModelRepository) -> DeviceTemplate | None:
        """Build a basic template from the repository and keep it. Any failure is the device's *Unassociated*.

        A failure is remembered like a model that is not there: a repository that can't be reached is not asked again by
        every device that connects.
        """
        try:
            documents = await repository.fetch(model_id)
            published = self._templates.get(model_id)
            if published is not None:
                return published  # by an operator, meanwhile
            if documents is not None:
                template = build_template(documents, model_id, source="repository")
                await self.publish(template)
                return template
        except TemplateError as error:
            log.warning("template.refused", model_id=model_id, reason=str(error), hint=error.hint)
        except GatewayError as error:
            log.error("template.refused", model_id=model_id, reason=str(error), hint=error.hint)
        self._remember_unknown(model_id)
        return None

    def _remember_unknown(self, model_id: str) -> None:
        self._unknown[model_id] = self._clock()
        self._unknown.move_to_end(model_id)
        while len(self._unknown) > _MAX_UNKNOWN_MODELS:
            self._unknown.popitem(last=False)
