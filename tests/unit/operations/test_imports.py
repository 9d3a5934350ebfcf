"""Devices in and out by the chunk: `device.import` and `device.export`."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConflictError, OperationError, StoreUnavailable
from gateway.operations import imports
from gateway.registry.device import Device, Status
from gateway.registry.store import Batch
from tests.support.bench import Bench

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
THERMOSTAT = "dtmi:com:example:Thermostat;1"
COUNTS = {"rows": 0, "created": 0, "updated": 0, "unchanged": 0, "failed": 0, "applied": True}


def row(device_id: str, line: int = 2, **more: Any) -> dict[str, Any]:
    return {"line": line, "id": device_id, **more}


async def publish(bench: Bench) -> None:
    content = (
        f'{{"@context": "dtmi:dtdl:context;2", "@id": "{THERMOSTAT}", "@type": "Interface", "contents": []}}'
    )
    await bench.call("template.import", content=content)


async def shown(bench: Bench, device_id: str) -> tuple[str, str, str | None, list[str]]:
    device = await bench.call("device.show", device_id=device_id)
    return device["status"], device["name"], device["template"], device["tags"]


async def test_a_files_devices_are_registered_as_it_says(bench: Bench) -> None:
    await publish(bench)
    with capture_logs() as lines:
        result, reports = await bench.job(
            "device.import",
            [row("a", name="Mill", template=THERMOSTAT, tags=["hall-3", "berlin"])],
            [row("b", 3)],
        )
    assert result == COUNTS | {"rows": 2, "created": 2}
    assert [report["rows"] for report in reports] == [1, 2]
    assert await shown(bench, "a") == ("registered", "Mill", THERMOSTAT, ["berlin", "hall-3"])
    assert await shown(bench, "b") == ("registered", "b", None, [])
    assert [line["event"] for line in lines] == ["devices.imported"]


async def test_the_same_file_again_changes_nothing(bench: Bench) -> None:
    rows = [row("a", name="Mill", tags=["x"]), row("b", 3)]
    await bench.job("device.import", rows)
    await bench.registry.amend("b", lambda device: device.replace(now=1.0, status=Status.PROVISIONED))
    before = [await bench.call("device.show", device_id=id_) for id_ in "ab"]
    result, _ = await bench.job("device.import", rows)
    assert result == COUNTS | {"rows": 2, "unchanged": 2}
    assert [await bench.call("device.show", device_id=id_) for id_ in "ab"] == before


async def test_a_device_that_is_there_otherwise_is_a_problem_unless_updating_was_asked_for(
    bench: Bench,
) -> None:
    await bench.device("a", name="Old", tags=("x",))
    result, reports = await bench.job("device.import", [row("a", 7, name="New", tags=["y"]), row("b", 8)])
    assert result == COUNTS | {"rows": 2, "created": 1, "failed": 1}
    [problem] = reports[0]["problems"]
    assert (problem["line"], problem["id"]) == (7, "a")
    assert problem["problem"] == "the device is there already, with name Old, tags x"
    assert "--update" in problem["hint"]
    assert await shown(bench, "a") == ("provisioned", "Old", None, ["x"])
    result, _ = await bench.job("device.import", [row("a", 7, name="New", tags=["y"])], update=True)
    assert result == COUNTS | {"rows": 1, "updated": 1}
    assert await shown(bench, "a") == ("provisioned", "New", None, ["y"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("a b"), "'a b' is not a device id"),
        (row("a", name="x\ny"), "'x\\ny' can't be a device's name"),
        (row("a", template=THERMOSTAT), f"there is no device template {THERMOSTAT}"),
        (row("a", tags=["x y"]), "'x y' is not a tag"),
        ({"line": 2, "problem": "not CSV", "hint": "quotes"}, "not CSV"),
    ],
)
async def test_a_row_that_can_not_be_taken_leaves_the_others_alone(
    bench: Bench, bad: dict[str, Any], message: str
) -> None:
    result, reports = await bench.job("device.import", [bad, row("good", 3)])
    assert result == COUNTS | {"rows": 2, "created": 1, "failed": 1}
    [problem] = reports[0]["problems"]
    assert (problem["line"], problem["problem"]) == (2, message)
    assert problem["hint"]


async def test_a_dry_run_counts_and_writes_nothing(bench: Bench) -> None:
    await bench.device("old")
    result, _ = await bench.job(
        "device.import", [row("a"), row("old"), row("b c")], dry_run=True, update=True
    )
    assert result == COUNTS | {"rows": 3, "created": 1, "unchanged": 1, "failed": 1, "applied": False}
    assert [device["id"] for device in (await bench.call("device.list"))["devices"]] == ["old"]


@pytest.mark.parametrize("bad", [row("b c"), {"line": 3, "problem": "not CSV"}], ids=["no id", "unreadable"])
async def test_one_problem_and_an_atomic_import_writes_nothing(bench: Bench, bad: dict[str, Any]) -> None:
    result, reports = await bench.job("device.import", [row("a")], [bad], [row("d", 4)], atomic=True)
    assert result == COUNTS | {"rows": 3, "created": 2, "failed": 1, "applied": False}
    assert [len(report["problems"]) for report in reports] == [0, 1, 0]
    assert (await bench.call("device.list"))["devices"] == []


async def test_an_atomic_import_is_one_commit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[Batch] = []
    commit = bench.registry._store.commit

    async def counted(batch: Batch) -> None:
        batches.append(batch)
        await commit(batch)

    await bench.device("old")
    monkeypatch.setattr(bench.registry._store, "commit", counted)
    chunks = [[row(f"d-{chunk}-{number}") for number in range(500)] for chunk in range(3)]
    result, _ = await bench.job("device.import", *chunks, [row("old", name="New")], atomic=True, update=True)
    assert result == COUNTS | {"rows": 1501, "created": 1500, "updated": 1}
    assert [len(batch.devices) for batch in batches] == [1501]
    assert await shown(bench, "d-2-499") == ("registered", "d-2-499", None, [])
    assert await shown(bench, "old") == ("provisioned", "New", None, [])


async def test_an_atomic_import_that_the_store_refuses_wrote_nothing_and_can_be_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bench.registry._store
    commit = store.commit
    rows = [[row(f"d-{chunk}-{number}") for number in range(500)] for chunk in range(2)]

    async def full(_: Batch) -> None:
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(store, "commit", full)
    with pytest.raises(StoreUnavailable, match="disk full"):
        await bench.job("device.import", *rows, atomic=True)
    monkeypatch.setattr(store, "commit", commit)
    assert (await bench.call("device.list"))["devices"] == []
    assert (await bench.job("device.import", *rows, atomic=True))[0]["created"] == 1000


async def test_a_device_that_comes_between_check_and_commit_undoes_an_atomic_import(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = bench.registry.change_together

    async def a_moment_later(changes: Any) -> int:
        await bench.registry.register(Device.new("b", status=Status.PROVISIONED, now=1.0))
        return await together(changes)

    monkeypatch.setattr(bench.registry, "change_together", a_moment_later)
    with pytest.raises(ConflictError, match="nothing was imported: the device is there already, with name b"):
        await bench.job("device.import", [row("a"), row("b", 3, name="Mill")], atomic=True)
    assert [device["id"] for device in (await bench.call("device.list"))["devices"]] == ["b"]


async def test_an_atomic_import_has_a_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAX_ATOMIC_ROWS", 2)
    with pytest.raises(OperationError, match="at most 2 rows"):
        await bench.job("device.import", [row("a"), row("b")], [row("c")], atomic=True)
    assert (await bench.call("device.list"))["devices"] == []


async def test_a_store_that_is_down_ends_an_import(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(_: Batch) -> None:
        raise StoreUnavailable("disk full")

    monkeypatch.setattr(bench.registry._store, "commit", down)
    with pytest.raises(StoreUnavailable, match="disk full"):
        await bench.job("device.import", [row("a")])


@pytest.mark.parametrize("junk", [7, {}, {"line": "x", "id": "a"}, row("a", colour="red")])
async def test_what_is_no_row_ends_an_import_in_one_line(bench: Bench, junk: Any) -> None:
    with pytest.raises(OperationError, match="not a row of an import"):
        await bench.job("device.import", [junk])


async def test_an_import_leaves_devices_that_connect_meanwhile_as_they_are(bench: Bench) -> None:
    rows = [row(f"d-{number}", number, name="Imported") for number in range(200)]
    connecting = [
        bench.registry.register(Device.new(f"d-{number}", status=Status.PROVISIONED, now=1.0))
        for number in range(0, 200, 2)
    ]
    (result, _), *devices = await asyncio.gather(bench.job("device.import", rows, update=True), *connecting)
    assert result["created"] + result["updated"] == 200
    for device in devices:
        status, name, *_ = await shown(bench, device.id)
        assert name == "Imported"
        assert status == device.status


# Export


async def exported(bench: Bench, **arguments: Any) -> dict[str, dict[str, Any]]:
    return {device["id"]: device for device in (await bench.call("device.export", **arguments))["devices"]}


async def test_keys_are_exported_only_when_asked_for_and_are_those_that_the_device_has(bench: Bench) -> None:
    await bench.call("group.create", name="SAS-IoT-Devices", attestation="symmetricKey", primary_key=KEY)
    await bench.call("group.create", name="Other", attestation="symmetricKey")
    await bench.call("enrollment.create", device_id="own", attestation="symmetricKey", primary_key=KEY)
    await bench.call("enrollment.create", device_id="cert", attestation="x509", primary_thumbprint="AB" * 32)
    await bench.device("thermostat-001", status=Status.REGISTERED)
    await bench.device("other", enrollment_group="Other")
    await bench.device("own")
    await bench.device("cert")
    for device in (await exported(bench)).values():
        assert not {"primaryKey", "secondaryKey"} & device.keys()
    devices = await exported(bench, keys=True)
    assert devices["thermostat-001"]["primaryKey"] == "aQpAiAZrJbAmQOJePbtIhddrHcjLagLwGpnPkZyejRY="
    assert devices["own"]["primaryKey"] == KEY
    assert devices["cert"]["primaryThumbprint"] == "AB" * 32
    assert "primaryKey" not in devices["cert"]
    computed = await bench.call("device.compute_key", device_id="other", group="Other")
    assert devices["other"]["primaryKey"] == computed["primaryKey"]
    chosen = await exported(bench, keys=True, keys_of="Other")
    computed = await bench.call("device.compute_key", device_id="thermostat-001", group="Other")
    assert chosen["thermostat-001"]["primaryKey"] == computed["primaryKey"]


async def test_a_device_with_a_certificate_of_a_group_has_no_key(bench: Bench) -> None:
    from gateway import pki

    ca = pki.create_ca("Factory").certificate_pem.decode()
    await bench.call("group.create", name="Factory", attestation="x509", primary_certificate=ca)
    await bench.device("a", enrollment_group="Factory")
    assert "primaryKey" not in (await exported(bench, keys=True))["a"]


async def test_an_export_is_filtered_and_goes_by_the_page(bench: Bench) -> None:
    await bench.device("b-1", tags=("hall-3", "x"), status=Status.WAITING)
    await bench.device("b-2", tags=("hall-33",))
    await bench.device("c-1", tags=("Hall-3",))
    assert set(await exported(bench, tag="hall-3")) == {"b-1", "c-1"}
    assert set(await exported(bench, id_prefix="b-")) == {"b-1", "b-2"}
    assert set(await exported(bench, status="waiting")) == {"b-1"}
    first = await bench.call("device.export", limit=2)
    assert [device["id"] for device in first["devices"]] == ["b-1", "b-2"]
    rest = await bench.call("device.export", limit=2, after=first["next"])
    assert ([device["id"] for device in rest["devices"]], rest["next"]) == (["c-1"], None)


# Names and tags


async def test_names_and_tags_are_changed_and_found(bench: Bench) -> None:
    await bench.call("device.register", device_id="a", name="Mill", tags=["x", "y"])
    updated = await bench.call("device.update", device_id="a", name="Pump", add_tags=["z"], remove_tags=["x"])
    assert (updated["name"], updated["tags"]) == ("Pump", ["y", "z"])
    assert [device["id"] for device in (await bench.call("device.list", tag="z"))["devices"]] == ["a"]
    assert (await bench.call("device.list", tag="x"))["devices"] == []
    assert await bench.call("device.update", device_id="a", name="Pump") == updated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "two\nlines"}, "can't be a device's name"),
        ({"name": "  "}, "can't be a device's name"),
        ({"add_tags": ["a b"]}, "'a b' is not a tag"),
        ({"add_tags": [f"t{number}" for number in range(32)]}, "at most 32 tags"),
    ],
)
async def test_a_name_or_tag_that_is_none_is_refused(
    bench: Bench, arguments: dict[str, Any], message: str
) -> None:
    await bench.device("a", tags=("old",))
    with pytest.raises(OperationError, match=message):
        await bench.call("device.update", device_id="a", **arguments)
