"""Work on many devices over HTTP: files in and out, one verb on a list or a filter, as an operator's script does it."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess


@pytest.fixture(scope="module")
def api(gateway: GatewayProcess) -> Iterator[Api]:
    with Api(gateway) as api:
        yield api


def ended(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """The job as it is when it is over: each look is a request, and the job has its turns between them."""
    for _ in range(2000):
        job = api.ok("GET", f"/deviceJobs/{job['id']}")
        if job["state"] != "running":
            return job
    raise AssertionError(f"still running: {job}")


def imported(api: Api, text: str, **options: Any) -> dict[str, Any]:
    answer = api.post(
        "/deviceJobs/import", content=text.encode(), params={"api-version": "2022-07-31", **options}
    )
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/deviceJobs/{answer.json()['id']}"
    return ended(api, answer.json())


def rows(prefix: str, count: int) -> str:
    lines = [f"{prefix}{number:05d},Device {number}" for number in range(count)]
    return "\n".join(["IOTC_DEVICEID,IOTC_DEVICENAME", *lines, ""])


def test_a_file_of_devices_is_imported_and_a_second_time_changes_nothing(api: Api) -> None:
    job = imported(api, rows("jobs-a-", 1200))
    assert (job["state"], job["done"], job["total"], job["problemCount"]) == ("done", 1200, 1200, 0)
    assert job["counts"]["created"] == 1200
    assert job["startedBy"] == "token/administrator"
    assert api.ok("GET", "/devices/jobs-a-01199")["displayName"] == "Device 1199"
    again = imported(api, rows("jobs-a-", 1200))
    assert (again["counts"]["created"], again["counts"]["unchanged"]) == (0, 1200)


def test_rows_with_problems_are_counted_shown_and_downloaded(api: Api) -> None:
    bad = "".join(f"bad id {number},x\n" for number in range(30))
    job = imported(api, rows("jobs-b-", 3) + bad)
    assert (job["state"], job["counts"]["created"], job["problemCount"]) == ("done", 3, 30)
    assert len(job["problems"]) == 20
    answer = api.get(f"/deviceJobs/{job['id']}/problems")
    assert answer.headers["content-type"].startswith("text/csv")
    listed = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["line"] for row in listed] == [str(line) for line in range(5, 35)]
    assert all(row["problem"] for row in listed)


def test_all_or_nothing_writes_nothing_if_a_row_is_wrong(api: Api) -> None:
    job = imported(api, rows("jobs-c-", 3) + "not an id,x\n", atomic=True)
    assert job["problemCount"] == 1
    api.refused("GET", "/devices/jobs-c-00000", 404, "NotFound")
    assert imported(api, rows("jobs-c-", 3), dryRun=True)["state"] == "done"
    api.refused("GET", "/devices/jobs-c-00000", 404, "NotFound")


def test_what_is_no_list_of_devices_fails_with_the_reason(api: Api) -> None:
    job = imported(api, "hello\nworld\n")
    assert job["state"] == "failed"
    assert "IOTC_DEVICEID" in job["error"]


def test_devices_are_blocked_by_a_filter_and_lose_their_sessions(
    gateway: GatewayProcess, api: Api, fleet: Fleet
) -> None:
    imported(api, rows("jobs-d-", 700))
    with fleet.hub("jobs-d-00005") as device:
        started = api.ok("POST", "/deviceJobs/change", json={"action": "block", "id_prefix": "jobs-d-"})
        job = ended(api, started)
        assert device.is_closed()
    assert (job["total"], job["counts"]["changed"], job["counts"]["closedSessions"]) == (700, 700, 1)
    assert api.ok("GET", "/devices/jobs-d-00699")["enabled"] is False
    recorded = gateway.json("audit", "--verb", "device.change")
    assert any("jobs-d-" in json.dumps(record) for record in recorded)


def test_devices_are_changed_by_a_list_and_who_is_not_there_is_a_problem(api: Api) -> None:
    imported(api, rows("jobs-e-", 2))
    body = {"action": "delete", "device_ids": ["jobs-e-00000", "jobs-e-nobody"]}
    job = ended(api, api.ok("POST", "/deviceJobs/change", json=body))
    assert (job["counts"]["changed"], job["problemCount"]) == (1, 1)
    assert job["problems"][0]["id"] == "jobs-e-nobody"


def test_a_job_on_nothing_in_particular_is_refused(api: Api) -> None:
    assert "filter" in api.refused("POST", "/deviceJobs/change", 400, "BadRequest", json={"action": "delete"})
    assert "template" in api.refused(
        "POST", "/deviceJobs/change", 400, "BadRequest", json={"action": "assign", "id_prefix": "jobs-"}
    )


def test_an_export_can_be_imported_again_and_has_keys_only_for_those_who_may(
    api: Api, gateway: GatewayProcess
) -> None:
    imported(api, rows("jobs-f-", 600))
    answer = api.get("/deviceJobs/export", params={"idPrefix": "jobs-f-", "keys": True})
    listed = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(listed) == 600
    assert all(row["IOTC_SASKEY_PRIMARY"] for row in listed)
    assert imported(api, answer.text)["counts"]["unchanged"] == 600
    made = api.ok("PUT", "/apiTokens/jobs-viewer", json={"roles": [{"role": "viewer"}]})
    with Api(gateway, made["token"]) as viewer:
        plain = viewer.get("/deviceJobs/export", params={"idPrefix": "jobs-f-"})
        assert not any(row["IOTC_SASKEY_PRIMARY"] for row in csv.DictReader(io.StringIO(plain.text)))
        viewer.refused("GET", "/deviceJobs/export", 403, "Forbidden", params={"keys": True})
        viewer.refused("POST", "/deviceJobs/import", 403, "Forbidden", content=rows("jobs-g-", 1))
        viewer.refused(
            "POST", "/deviceJobs/change", 403, "Forbidden", json={"action": "block", "id_prefix": "jobs-f-"}
        )
        job = viewer.ok("GET", "/deviceJobs")["value"][0]
        viewer.refused("POST", f"/deviceJobs/{job['id']}/cancel", 403, "Forbidden")
    api.ok("DELETE", "/apiTokens/jobs-viewer")


def test_a_job_that_is_not_there_is_said_so(api: Api) -> None:
    assert "restart" in api.refused("GET", "/deviceJobs/no-such-job", 404, "NotFound")
