"""The log as server-sent events, over the operators' HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.integration.test_logs import refuse
from tests.support.api import Api
from tests.support.device import Fleet
from tests.support.gateway_process import GatewayProcess


def messages(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The messages' data; comments are left out."""
    assert response.status_code == 200, response.read()
    assert response.headers["content-type"].startswith("text/event-stream")
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_events_come_as_they_happen_and_only_those_that_are_wanted(
    gateway: GatewayProcess, fleet: Fleet
) -> None:
    refuse(gateway, "sse-1")
    params = {"device": "sse-1", "event": ["connect.refused", "session.*"]}
    with Api(gateway) as api, api.stream("GET", "/events/stream", params=params) as response:
        seen = messages(response)
        assert next(seen)["reason"] == "token_malformed"
        with fleet.hub("sse-2"), fleet.hub("sse-1"):
            opened = next(seen)
    assert (opened["event"], opened["device_id"], opened["level"]) == ("session.opened", "sse-1", "info")


def test_who_reconnects_goes_on_where_it_was(gateway: GatewayProcess) -> None:
    refuse(gateway, "sse-3")
    params = {"device": "sse-3"}
    with Api(gateway) as api:
        with api.stream("GET", "/events/stream", params=params) as response:
            lines = response.iter_lines()
            last = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
            first = json.loads(next(lines).removeprefix("data: "))
        refuse(gateway, "sse-3")
        with api.stream("GET", "/events/stream", params=params, headers={"Last-Event-ID": last}) as response:
            assert next(messages(response))["timestamp"] > first["timestamp"]


def test_a_wrong_wish_is_refused_before_the_stream_begins(gateway: GatewayProcess) -> None:
    with Api(gateway) as api:
        for params in ({"level": "loud"}, {"event": "DROP TABLE"}, {"recent": "-1"}):
            assert api.get("/events/stream", params=params).status_code in {400, 422}
    with Api(gateway, "Bearer nonsense") as stranger:
        assert stranger.get("/events/stream").status_code == 401


def test_a_stream_does_not_hold_up_a_gateway_that_stops(tmp_path_factory: Any) -> None:
    with (
        GatewayProcess(tmp_path_factory.mktemp("sse") / "gw") as own,
        Api(own) as api,
        api.stream("GET", "/events/stream") as response,
    ):
        seen = messages(response)
        next(seen)
        assert own.stop() == 0
        assert "gateway.stopped" not in [event["event"] for event in seen]
