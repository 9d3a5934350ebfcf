import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import catalog as catalog_module
from gateway.catalog import TemplateCatalog
from gateway.errors import GatewayError, StoreUnavailable
from gateway.modelrepo import ModelRepository
from gateway.registry.store import SqlStore, TemplateRecord
from gateway.settings import ModelRepositorySettings
from gateway.templates.template import DeviceTemplate, build_template
from tests.unit.templates.models import ID, PART, component, interface, telemetry


class Repository(ModelRepository):
    """A model repository in memory that can be held up."""

    def __init__(self) -> None:
        super().__init__(())
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.failure: GatewayError | None = None
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, model_id: str) -> list[dict[str, Any]] | None:
        self.asked.append(model_id)
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return self.models.get(model_id)


class Bench:
    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = 1_000_000.0
        self.repository = Repository()
        self.catalog = self.restarted()

    def restarted(self) -> TemplateCatalog:
        settings = ModelRepositorySettings(retry_after_s=300)
        return TemplateCatalog(self.store, settings, clock=lambda: self.now, repository=self.repository)

    async def discover(self, model_id: str = ID, *, asked_by: str = "t-1") -> DeviceTemplate | None:
        found = self.catalog.discover(model_id, asked_by=asked_by)
        return await found if isinstance(found, asyncio.Future) else found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = SqlStore(f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}")
    await store.open()
    yield Bench(store)
    await store.close()


def template(*contents: dict[str, Any]) -> DeviceTemplate:
    return build_template([interface(ID, *contents, component("part", PART)), interface(PART)], ID)


async def test_a_published_template_is_in_force_and_survives_a_restart(bench: Bench) -> None:
    published = template(telemetry())
    await bench.catalog.publish(published)
    assert bench.catalog.get(ID) is published
    assert bench.catalog.list() == (published,)
    restarted = bench.restarted()
    assert restarted.get(ID) is None
    await restarted.load()
    assert restarted.list() == (published,)


async def test_importing_a_template_again_replaces_it(bench: Bench) -> None:
    await bench.catalog.publish(template(telemetry("old")))
    replacement = template(telemetry("new"))
    await bench.catalog.publish(replacement)
    assert bench.catalog.list() == (replacement,)
    restarted = bench.restarted()
    await restarted.load()
    assert restarted.list() == (replacement,)


async def test_a_template_that_is_published_again_keeps_the_time_it_was_created(bench: Bench) -> None:
    await bench.catalog.publish(template())
    bench.now += 10
    await bench.catalog.publish(template(telemetry("new")))
    restarted = bench.restarted()
    await restarted.load()
    bench.now += 10
    await restarted.publish(template())
    [record] = await bench.store.load_templates()
    assert (record.created_at, record.updated_at) == (1_000_000.0, 1_000_020.0)


async def test_a_template_that_nobody_uses_is_deleted_for_good(bench: Bench) -> None:
    async def unused() -> bool:
        assert bench.catalog.get(ID) is None  # so that nobody begins to use it meanwhile
        return False

    await bench.catalog.publish(template())
    assert await bench.catalog.withdraw(ID, unless=unused)
    assert bench.catalog.list() == ()
    assert await bench.store.load_templates() == []


async def test_a_template_that_is_in_use_or_can_not_be_deleted_stays_in_force(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def used() -> bool:
        return True

    async def unused() -> bool:
        return False

    async def down(_: str) -> None:
        raise StoreUnavailable("the disk is full")

    published = template()
    await bench.catalog.publish(published)
    assert not await bench.catalog.withdraw(ID, unless=used)
    monkeypatch.setattr(bench.store, "delete_template", down)
    with pytest.raises(StoreUnavailable):
        await bench.catalog.withdraw(ID, unless=unused)
    assert bench.catalog.get(ID) is published


async def test_a_template_that_can_not_be_stored_is_not_in_force(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(record: TemplateRecord) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(bench.store, "save_template", full)
    with pytest.raises(StoreUnavailable):
        await bench.catalog.publish(template())
    assert bench.catalog.list() == ()


async def test_a_stored_template_that_is_damaged_is_told_and_the_others_are_in_force(bench: Bench) -> None:
    await bench.catalog.publish(template())
    damaged = TemplateRecord(
        id=PART, display_name="Part", source="published", document="[{", created_at=0, updated_at=0, etag="1"
    )
    await bench.store.save_template(damaged)
    restarted = bench.restarted()
    with capture_logs() as lines:
        await restarted.load()
    assert [known.id for known in restarted.list()] == [ID]
    assert [(line["event"], line["log_level"], line["model_id"]) for line in lines] == [
        ("template.refused", "error", PART)
    ]


async def test_a_published_model_is_discovered_at_once(bench: Bench) -> None:
    await bench.catalog.publish(template())
    assert bench.catalog.discover(ID, asked_by="t-1") is bench.catalog.get(ID)
    assert bench.repository.asked == []


async def test_without_a_repository_an_unpublished_model_is_unassociated_at_once(bench: Bench) -> None:
    assert TemplateCatalog(bench.store, ModelRepositorySettings()).discover(ID, asked_by="t-1") is None


async def test_what_is_no_dtmi_is_never_looked_for(bench: Bench) -> None:
    assert bench.catalog.discover("../../etc/passwd", asked_by="t-1") is None
    assert bench.repository.asked == []


async def test_a_model_of_the_repository_becomes_a_template_that_survives_a_restart(bench: Bench) -> None:
    bench.repository.models[ID] = [interface(ID, telemetry("temperature"))]
    generated = await bench.discover()
    assert generated is not None
    assert (generated.id, generated.source) == (ID, "repository")
    assert bench.catalog.discover(ID, asked_by="t-1") is generated
    restarted = bench.restarted()
    await restarted.load()
    assert restarted.get(ID) == generated


async def test_many_devices_that_announce_a_model_at_once_make_one_look_up(bench: Bench) -> None:
    bench.repository.models[ID] = [interface(ID)]
    bench.repository.open.clear()
    with capture_logs() as lines:
        waiting = [asyncio.ensure_future(bench.discover()) for _ in range(100)]
        await asyncio.sleep(0)
        bench.repository.open.set()
        found = await asyncio.gather(*waiting)
    assert bench.repository.asked == [ID]
    assert {id(one) for one in found} == {id(bench.catalog.get(ID))}
    assert [line["event"] for line in lines] == ["template.published"]


async def test_a_device_that_hangs_up_meanwhile_takes_the_template_from_nobody_else(bench: Bench) -> None:
    bench.repository.models[ID] = [interface(ID)]
    bench.repository.open.clear()
    gone, patient = asyncio.ensure_future(bench.discover()), asyncio.ensure_future(bench.discover())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    bench.repository.open.set()
    assert await patient is bench.catalog.get(ID)
    assert bench.catalog.get(ID) is not None


async def test_an_unknown_model_is_asked_for_again_only_after_a_while(bench: Bench) -> None:
    assert await bench.discover() is None
    bench.repository.models[ID] = [interface(ID)]
    bench.now += 299.9
    assert bench.catalog.discover(ID, asked_by="t-1") is None
    assert bench.repository.asked == [ID]
    bench.now += 0.1
    assert await bench.discover() is not None
    assert bench.repository.asked == [ID, ID]


async def test_an_unknown_model_is_known_as_soon_as_it_is_published(bench: Bench) -> None:
    assert await bench.discover() is None
    await bench.catalog.publish(template())
    assert bench.catalog.discover(ID, asked_by="t-1") is bench.catalog.get(ID)


async def test_a_repository_that_can_not_be_reached_is_not_asked_by_every_device(bench: Bench) -> None:
    bench.repository.failure = GatewayError(
        "model repository: no route", hint="look at `model_repository.url`"
    )
    with capture_logs() as lines:
        assert await bench.discover() is None
        assert await bench.discover() is None
    assert bench.repository.asked == [ID]
    assert lines == [
        {
            "event": "template.refused", "log_level": "error", "model_id": ID, "reason": "model repository: no route",
            "hint": "look at `model_repository.url`",
        }
    ]  # fmt: skip
    bench.now += 300
    bench.repository.failure = None
    bench.repository.models[ID] = [interface(ID)]
    assert await bench.discover() is not None


async def test_a_broken_model_is_told_once_and_its_devices_are_unassociated(bench: Bench) -> None:
    bench.repository.models[ID] = [interface(ID, telemetry(schema="nonsense"))]
    with capture_logs() as lines:
        assert await bench.discover() is None
        assert await bench.discover() is None
    assert [(line["event"], line["log_level"], line["reason"]) for line in lines] == [
        ("template.refused", "warning", f"{ID}, telemetry value: the schema 'nonsense' is unknown")
    ]


async def test_a_store_that_fails_leaves_the_device_unassociated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(record: TemplateRecord) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(bench.store, "save_template", full)
    bench.repository.models[ID] = [interface(ID)]
    with capture_logs() as lines:
        assert await bench.discover() is None
    assert [(line["event"], line["reason"]) for line in lines] == [("template.refused", "the disk is full")]


async def test_what_an_operator_publishes_during_the_look_up_wins(bench: Bench) -> None:
    bench.repository.models[ID] = [interface(ID, telemetry("generated"))]
    bench.repository.open.clear()
    waiting = asyncio.ensure_future(bench.discover())
    await asyncio.sleep(0)
    published = template(telemetry("published"))
    await bench.catalog.publish(published)
    bench.repository.open.set()
    assert await waiting is published
    assert bench.catalog.get(ID) is published


async def test_only_so_many_models_are_looked_up_at_a_time(bench: Bench) -> None:
    bench.repository.open.clear()
    ids = [f"dtmi:com:example:M{number};1" for number in range(33)]
    found = [bench.catalog.discover(model_id, asked_by=f"t-{n}") for n, model_id in enumerate(ids)]
    assert [isinstance(one, asyncio.Future) for one in found] == [True] * 32 + [False]
    assert isinstance(
        bench.catalog.discover(ids[0], asked_by="t-1"), asyncio.Future
    )  # one that is under way can still be joined
    bench.repository.open.set()
    await asyncio.gather(*(one for one in found if isinstance(one, asyncio.Future)))
    assert await bench.discover(ids[32]) is None
    assert bench.repository.asked == ids  # the last was not taken for unknown, only put off


async def test_a_device_that_announces_ever_new_models_keeps_nobody_else_s_from_being_looked_up(
    bench: Bench,
) -> None:
    bench.repository.open.clear()
    ids = [f"dtmi:com:example:M{number};1" for number in range(40)]
    greedy = [bench.catalog.discover(model_id, asked_by="greedy") for model_id in ids]
    assert [isinstance(one, asyncio.Future) for one in greedy] == [True] * 2 + [False] * 38
    assert isinstance(bench.catalog.discover(ID, asked_by="other"), asyncio.Future)
    assert isinstance(bench.catalog.discover(ID, asked_by="greedy"), asyncio.Future)  # it may wait for theirs
    bench.repository.open.set()
    await asyncio.gather(*(one for one in greedy if isinstance(one, asyncio.Future)))
    assert await bench.discover(ids[2], asked_by="greedy") is None
    assert bench.repository.asked == [
        ids[0],
        ids[1],
        ID,
        ids[2],
    ]  # what was put off is looked up when it is its turn
    assert not bench.catalog._begun_by


async def test_only_so_many_unknown_models_are_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_MAX_UNKNOWN_MODELS", 2)
    ids = [f"dtmi:com:example:M{number};1" for number in range(3)]
    for model_id in ids:
        assert await bench.discover(model_id) is None
    assert list(bench.catalog._unknown) == ids[1:]
