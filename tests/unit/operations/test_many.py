"""One verb on many devices: `device.change`."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import NotFoundError, OperationError, StoreUnavailable
from gateway.registry.device import Status
from gateway.registry.store import Batch
from gateway.session import CloseReason
from tests.support.bench import Bench

THERMOSTAT = "dtmi:com:example:Thermostat;1"
NOTHING = {"changed": 0, "unchanged": 0, "failed": 0, "closedSessions": 0}
STATUSES = {"w": Status.WAITING, "r": Status.REGISTERED, "p": Status.PROVISIONED, "b": Status.BLOCKED}


async def fleet(bench: Bench) -> None:
    """One device of each status."""
    for device_id, status in STATUSES.items():
        await bench.device(device_id, status=status)


async def statuses(bench: Bench) -> dict[str, str]:
    return {device["id"]: device["status"] for device in (await bench.call("device.list"))["devices"]}


def counts(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in NOTHING}


@pytest.mark.parametrize(
    ("action", "changed", "unchanged", "problems", "after"),
    [
        ("approve", 1, 2, ["b is blocked: it can't be approved"], {"w": "registered"}),
        (
            "reject", 1, 1,
            [f"{id_} is {status}: only a device that waits can be rejected"
             for id_, status in (("r", "registered"), ("p", "provisioned"))],
            {"w": "blocked"},
        ),
        ("block", 3, 1, [], {"w": "blocked", "r": "blocked", "p": "blocked"}),
        ("unblock", 1, 3, [], {"b": "registered"}),
        ("delete", 4, 0, [], None),
    ],
)  # fmt: skip
async def test_an_action_on_a_list_of_devices(
    bench: Bench, action: str, changed: int, unchanged: int, problems: list[str], after: dict[str, str] | None
) -> None:
    await fleet(bench)
    result, reports = await bench.job(
        "device.change", ["w", "r", "p", "b", "nobody"], action=action, by="list"
    )
    assert counts(result) == NOTHING | {
        "changed": changed, "unchanged": unchanged, "failed": len(problems) + 1,
    }  # fmt: skip
    assert [problem["problem"] for problem in reports[0]["problems"]] == [
        *problems, "there is no device nobody",
    ]  # fmt: skip
    expected = {} if after is None else {id_: status.value for id_, status in STATUSES.items()} | after
    assert await statuses(bench) == expected


@pytest.mark.parametrize(
    ("action", "meant"),
    [("approve", ["w"]), ("reject", ["w"]), ("unblock", ["b"]), ("block", ["b", "p", "r", "w"])],
)
async def test_a_filter_without_a_status_means_the_devices_that_an_action_is_for(
    bench: Bench, action: str, meant: list[str]
) -> None:
    await fleet(bench)
    result, reports = await bench.job("device.change", action=action, by="filter")
    assert reports[0]["total"] == len(meant)
    assert result["failed"] == 0
    assert result["changed"] + result["unchanged"] == len(meant)


async def test_a_filter_chooses_by_what_devices_are(bench: Bench) -> None:
    await bench.device("a-1", enrollment_group="Plant", tags=("x",))
    await bench.device("a-2", enrollment_group="Plant")
    await bench.device("b-1", enrollment_group="Plant", tags=("x",))
    result, _ = await bench.job(
        "device.change", action="block", by="filter", id_prefix="a-", tag="x", group="Plant"
    )
    assert (result["changed"], result["sample"]) == (1, ["a-1"])


async def test_a_device_loses_its_session_with_its_own_commit_not_with_the_last_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"d-{number:04}" for number in range(600)]
    await bench.job(
        "device.import", *[[{"line": 1, "id": id_} for id_ in ids[at : at + 500]] for at in (0, 500)]
    )
    first, last = bench.sessions.open(ids[0]), bench.sessions.open(ids[-1])
    commit, blocked = bench.registry._store.commit, []

    async def watched(batch: Batch) -> None:
        if ids[-1] in batch.devices:
            blocked.append((first.closed, last.closed))
        await commit(batch)

    monkeypatch.setattr(bench.registry._store, "commit", watched)
    with capture_logs() as lines:
        result, _ = await bench.job("device.change", action="block", by="filter")
    assert blocked == [(CloseReason.DEVICE_BLOCKED, None)]
    assert last.closed is CloseReason.DEVICE_BLOCKED
    assert counts(result) == NOTHING | {"changed": 600, "closedSessions": 2}
    assert [line["closed_sessions"] for line in lines if line.get("device_id") == ids[0]] == [1]


async def test_a_job_that_is_ended_closes_the_sessions_of_what_it_has_blocked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.device("a")
    session = bench.sessions.open("a")
    commit, committing, may_commit = bench.registry._store.commit, asyncio.Event(), asyncio.Event()

    async def slow(batch: Batch) -> None:
        committing.set()
        await may_commit.wait()
        await commit(batch)

    monkeypatch.setattr(bench.registry._store, "commit", slow)
    job = asyncio.create_task(bench.job("device.change", ["a"], action="block", by="list"))
    await committing.wait()
    job.cancel()
    may_commit.set()
    await asyncio.wait([job])
    assert job.cancelled()
    assert session.closed is CloseReason.DEVICE_BLOCKED
    assert await statuses(bench) == {"a": "blocked"}


async def test_a_dry_run_counts_and_changes_nothing(bench: Bench) -> None:
    await fleet(bench)
    for action, changed in (("block", 3), ("delete", 4)):
        result, _ = await bench.job("device.change", action=action, by="filter", dry_run=True)
        assert (result["changed"], result["applied"]) == (changed, False)
    assert await statuses(bench) == {id_: status.value for id_, status in STATUSES.items()}


async def test_devices_are_migrated_to_a_template(bench: Bench) -> None:
    content = (
        f'{{"@context": "dtmi:dtdl:context;2", "@id": "{THERMOSTAT}", "@type": "Interface", "contents": []}}'
    )
    await bench.call("template.import", content=content)
    await bench.device("a")
    await bench.device("b", template_id=THERMOSTAT, template_assigned_by="association")
    await bench.device("c", template_id=THERMOSTAT, template_assigned_by="operator")
    result, _ = await bench.job("device.change", action="assign", assign_template=THERMOSTAT, by="filter")
    assert counts(result) == NOTHING | {"changed": 2, "unchanged": 1}
    assert all(device["template"] == THERMOSTAT for device in (await bench.call("device.list"))["devices"])
    with pytest.raises(NotFoundError, match="there is no device template dtmi:com:example:Mill;1"):
        await bench.job(
            "device.change", action="assign", assign_template="dtmi:com:example:Mill;1", by="filter"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "assign", "by": "list"}, "needs assign_template"),
        ({"action": "block", "by": "list", "assign_template": THERMOSTAT}, "needs assign_template"),
        ({"action": "block", "by": "list", "tag": "x"}, "by a list or by a filter, not both"),
        ({"action": "explode", "by": "list"}, "action: should be"),
    ],
)
async def test_a_choice_that_is_none_is_refused(
    bench: Bench, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        await bench.job("device.change", ["a"], **arguments)


async def test_what_is_no_list_of_ids_is_refused(bench: Bench) -> None:
    with pytest.raises(OperationError, match="a list of devices has device ids"):
        await bench.job("device.change", [7], action="block", by="list")


async def test_a_store_that_is_down_ends_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(_: Batch) -> None:
        raise StoreUnavailable("disk full")

    await bench.device("a")
    monkeypatch.setattr(bench.registry._store, "commit", down)
    with pytest.raises(StoreUnavailable, match="disk full"):
        await bench.job("device.change", ["a"], action="block", by="list")


async def test_a_rejected_device_waits_again_once_it_is_unblocked(bench: Bench) -> None:
    await bench.device("a", status=Status.WAITING)
    session = bench.sessions.open("a")
    assert (await bench.call("device.reject", device_id="a"))["closedSessions"] == 1
    assert session.closed is CloseReason.DEVICE_BLOCKED
    assert (await bench.call("device.unblock", device_id="a"))["status"] == "waiting"
