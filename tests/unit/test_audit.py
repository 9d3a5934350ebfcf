"""The audit log: who changed what, when, and how it looked before and after."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConflictError, ForbiddenError, NotFoundError, StoreUnavailable, TemplateError
from gateway.operations import VERBS
from gateway.registry.operators import AuditQuery, SqlOperatorStore
from gateway.registry.store import Batch
from gateway.roles import Actor, Role
from tests.support.bench import NOW, Bench, open_bench

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
MODEL = {"@context": "dtmi:dtdl:context;2", "@id": "dtmi:x:Y;1", "@type": "Interface", "contents": []}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as bench:
        yield bench


async def records(bench: Bench, **filters: Any) -> list[dict[str, Any]]:
    return (await bench.call("audit.list", **filters))["records"]


async def test_a_change_says_who_when_what_and_how_it_was_before_and_after(bench: Bench) -> None:
    await bench.device("mill-1")
    operator = dataclasses.replace(bench, by=Actor(name="token/shift-2", role=Role.OPERATOR))
    await operator.call("device.block", device_id="mill-1")
    (record,) = await records(bench)
    assert (record["actor"], record["verb"], record["target"], record["outcome"], record["at"]) == (
        "token/shift-2", "device.block", "mill-1", "done", "2027-01-15T08:00:00.000Z",
    )  # fmt: skip
    assert (record["before"]["status"], record["after"]["status"]) == ("provisioned", "blocked")
    assert record["arguments"] == {"device_id": "mill-1"}


async def test_what_is_made_has_no_before_and_what_is_deleted_no_after(bench: Bench) -> None:
    await bench.call("device.register", device_id="mill-1")
    await bench.call("device.delete", device_id="mill-1")
    deleted, made = await records(bench)
    assert (made["before"], made["after"]["status"]) == (None, "registered")
    assert (deleted["before"]["status"], deleted["after"]) == ("registered", None)


async def test_a_target_that_is_known_only_afterwards_is_named(bench: Bench) -> None:
    await bench.call("template.import", content=json.dumps(MODEL))
    (record,) = await records(bench, target="dtmi:x:Y;1")
    assert record["after"]["source"] == "published"


async def test_a_job_on_many_devices_is_one_record_with_its_counts(bench: Bench) -> None:
    await bench.device("mill-1")
    await bench.device("mill-2")
    await bench.job("device.change", ["mill-1", "mill-2"], action="block", by="list")
    (record,) = await records(bench)
    assert (record["verb"], record["target"], record["arguments"]["action"]) == (
        "device.change",
        None,
        "block",
    )
    assert record["after"]["changed"] == 2


async def test_reading_leaves_no_record(bench: Bench) -> None:
    await bench.call("group.create", name="G", attestation="symmetricKey")
    for verb in ("group.list", "status", "device.list", "token.list"):
        await bench.call(verb)
    await bench.call("group.show", name="G", keys=True)
    await bench.call("device.compute_key", device_id="d")
    assert len(await records(bench)) == 1


def test_whatever_changes_something_is_audited() -> None:
    """Named by hand, so that a new verb is looked at: what only reads is listed here, all else must be audited."""
    only_read = {
        "status", "device.compute_key", "device.connection", "device.export", "template.autogenerate", "template.export",
        "template.versions", "log.follow", "device.telemetry",
    }  # fmt: skip
    for name, verb in VERBS.items():
        reads = name in only_read or name.endswith((".list", ".show", ".show_ca", ".why", ".follow"))
        assert verb.writes != reads, name
        assert verb.of is None or verb.of in verb.arguments.model_fields, name


async def test_a_change_that_was_refused_is_told_as_such(bench: Bench) -> None:
    await bench.device("mill-1")
    await bench.call("device.block", device_id="mill-1")
    with pytest.raises(ConflictError):
        await bench.call("device.block", device_id="mill-1")
    with pytest.raises(TemplateError):
        await bench.call("template.import", content="[}")
    with pytest.raises(NotFoundError):
        await bench.call("group.delete", name="none")
    assert [record["outcome"] for record in await records(bench)] == ["refused", "refused", "refused", "done"]


async def test_who_has_no_right_to_a_change_leaves_no_record(bench: Bench) -> None:
    viewer = dataclasses.replace(bench, by=Actor(name="token/v", role=Role.VIEWER))
    with pytest.raises(ForbiddenError):
        await viewer.call("device.register", device_id="mill-1")
    assert await records(bench) == []


async def test_a_store_that_can_t_take_the_record_refuses_the_change(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> int:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SqlOperatorStore, "append_audit", full)
        with pytest.raises(StoreUnavailable):
            await bench.call("group.create", name="G", attestation="symmetricKey")
    assert await bench.call("group.list") == {"groups": []}


async def test_a_change_whose_end_can_t_be_recorded_is_made_and_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(SqlOperatorStore, "finish_audit", full)
        await bench.call("group.create", name="G", attestation="symmetricKey")
    assert [line["event"] for line in logs] == ["group.changed", "audit.failed"]
    (record,) = await records(bench)
    assert (record["outcome"], record["target"]) == ("begun", "G")


async def test_a_job_that_was_cut_off_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, started, may_go_on = bench.store.commit, asyncio.Event(), asyncio.Event()

    async def held(batch: Batch) -> None:
        started.set()
        await may_go_on.wait()
        await commit(batch)

    await bench.device("mill-1")
    monkeypatch.setattr(bench.store, "commit", held)
    asking = asyncio.create_task(bench.job("device.change", ["mill-1"], action="block", by="list"))
    await started.wait()
    asking.cancel()
    may_go_on.set()  # a job waits for what it has begun
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [record["outcome"] for record in await records(bench)] == ["cancelled"]


@pytest.mark.parametrize(
    ("verb", "target", "method"),
    [
        ("group.disable", {"name": "G"}, "save_group"),
        ("group.delete", {"name": "G"}, "delete_group"),
        ("enrollment.disable", {"device_id": "mill-1"}, "save_individual"),
        ("enrollment.delete", {"device_id": "mill-1"}, "delete_individual"),
        ("device.block", {"device_id": "mill-1"}, "commit"),
    ],
)
async def test_a_change_whose_asker_goes_away_is_stored_in_force_and_recorded_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str, target: dict[str, str], method: str
) -> None:
    await bench.call("group.create", name="G", attestation="symmetricKey")
    await bench.device("mill-1", enrollment_group="G")
    await bench.call("enrollment.create", device_id="mill-1", attestation="symmetricKey")
    session = bench.sessions.open("mill-1", "G")
    write, is_written, may_go_on = getattr(bench.store, method), asyncio.Event(), asyncio.Event()

    async def slow(*given: object) -> None:
        await write(*given)
        is_written.set()
        await may_go_on.wait()

    monkeypatch.setattr(bench.store, method, slow)
    asking = asyncio.create_task(bench.call(verb, **target))
    await is_written.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert session.closed is None
    may_go_on.set()
    await bench.operations.finish()
    assert session.closed is not None
    last = (await records(bench))[0]
    assert (last["verb"], last["outcome"]) == (verb, "done")
    in_force = bench.groups.get("G")
    if verb.startswith("group"):
        assert in_force is None or not in_force.enabled


async def test_a_fault_midway_is_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(bench.groups, "save", broken)
        with pytest.raises(StoreUnavailable):
            await bench.call("group.create", name="G", attestation="symmetricKey")
    assert [record["outcome"] for record in await records(bench)] == ["failed"]


async def test_no_secret_is_in_the_log_nor_in_the_file(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        await bench.call("group.create", name="G", attestation="symmetricKey", primary_key=KEY)
        await bench.call("enrollment.create", device_id="d", attestation="symmetricKey", secondary_key=KEY)
        token = (await bench.call("token.create", name="t", role="viewer"))["token"]
        text = json.dumps(await records(bench))
        stored = await bench.store.operators.list_audit(AuditQuery(), before=None, limit=100)
    assert KEY not in text
    assert KEY not in str(stored)
    assert token.partition("sig=")[2][:43] not in text
    assert text.count("[redacted]") == 2


async def test_what_is_long_is_told_by_its_size(bench: Bench) -> None:
    content = json.dumps(MODEL | {"description": "x" * 5000})
    await bench.call("template.import", content=content, root="dtmi:x:Y;1")
    (record,) = await records(bench)
    assert record["arguments"]["content"] == f"({len(content)} characters)"


async def test_a_document_over_the_limit_is_told_by_its_hash(tmp_path: Path) -> None:
    async with open_bench(tmp_path, audit={"max_document_bytes": 256}) as bench:
        contents = [{"@type": "Telemetry", "name": f"t{n}", "schema": "double"} for n in range(60)]
        await bench.call("template.import", content=json.dumps(MODEL | {"contents": contents}))
        (record,) = await records(bench)
    assert record["after"].keys() == {"omittedBytes", "sha256"}


async def test_the_log_is_listed_by_the_page_and_by_who_what_and_whom(bench: Bench) -> None:
    someone = dataclasses.replace(bench, by=Actor(name="token/a", role=Role.ADMINISTRATOR))
    for number in range(5):
        await (someone if number % 2 else bench).call("device.register", device_id=f"d{number}")
    await bench.call("device.block", device_id="d0")
    seen, cursor = [], None
    while True:
        page = await bench.call("audit.list", before=cursor, limit=2)
        seen += [record["target"] for record in page["records"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["d0", "d4", "d3", "d2", "d1", "d0"]
    assert [record["target"] for record in await records(bench, actor="token/a")] == ["d3", "d1"]
    assert [record["verb"] for record in await records(bench, target="d0")] == [
        "device.block", "device.register",
    ]  # fmt: skip
    assert len(await records(bench, verb="device.register", target="d0")) == 1


async def test_only_so_many_records_are_kept(tmp_path: Path) -> None:
    async with open_bench(tmp_path, audit={"max_records": 100}) as bench:
        for number in range(103):
            await bench.call("token.create", name=f"t{number}", role="viewer")
        kept = await records(bench, limit=1000)
        assert [record["target"] for record in kept] == [f"t{number}" for number in range(102, 2, -1)]


async def test_records_are_kept_only_so_long(tmp_path: Path) -> None:
    now = NOW
    async with open_bench(tmp_path, clock=lambda: now, audit={"max_age_days": 30}) as bench:
        await bench.call("device.register", device_id="old")
        now += 29 * 86_400
        await bench.call("device.register", device_id="middle")
        now += 2 * 86_400
        await bench.call("device.register", device_id="new")
        assert [record["target"] for record in await records(bench)] == ["new", "middle"]
