"""The HTML report: one file that needs nothing else, and says what the run was."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OperationError
from loadtest.charts import Series, chart
from loadtest.page import page
from loadtest.registry_check import RegistryCheck
from loadtest.report import Report, to_text, write_file
from loadtest.result import StormResult
from loadtest.server_usage import Sample
from loadtest.tally import Tally

VOID = {"meta", "line", "polyline", "polygon", "path", "br"}


class Outline(HTMLParser):
    """Fails on a tag that is not closed; keeps the text and what would be fetched."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self.charts: list[dict[str, Any]] = []
        self.feed(document)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.fetched += [str(given[name]) for name in ("src", "href") if name in given]
        if "data-chart" in given:
            self.charts.append(json.loads(given["data-chart"] or ""))
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"h1", "h3"}:
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"script", "style"}:
            return
        self.text += data
        if self.open and self.open[-1] in {"h1", "h3"}:
            self.headings[-1] += data


def report(tally: Tally, **fields: Any) -> Report:
    return Report(
        scenario="storm",
        started_at=1_795_000_000,
        facts={"devices": "3", "server": "gateway.example:8883, TLS 1.3"},
        result=StormResult.of(tally, qos=1),
        tally=tally,
        **{"problems": (), "cautions": (), **fields},
    )


def counted() -> Tally:
    tally = Tally(finished_s=4.0, sessions=2)
    tally.at(0).offered = 3
    tally.at(0).admitted = 1
    tally.at(0).latencies_s.append(0.002)
    tally.at(3).admitted = 1
    tally.at(3).latencies_s.append(0.9)
    tally.at(3).refused.update(["connack 3"])
    tally.at(3).failed.update(["<script>alert(1)</script>"])
    tally.at(3).published = tally.at(3).acknowledged = 5
    tally.at(3).pubacks.record(0.004)
    return tally


def test_it_fetches_nothing_and_every_tag_is_closed() -> None:
    outline = Outline(page(report(counted()).document()))
    assert outline.fetched == []
    assert "url(" not in page(report(counted()).document())


def test_it_plots_connects_latencies_messages_the_server_and_says_why_devices_stayed_outside() -> None:
    usage = (Sample(1.0, 42.0, 2**20 * 100), Sample(2.0, 80.0, 2**20 * 120))
    outline = Outline(page(report(counted(), usage=usage).document()))
    assert outline.headings == [
        "Storm: 3 devices", "What became of each attempt", "Connects", "Latency of the admitted", "Server CPU",
        "Server memory", "Why attempts were not admitted", "Messages", "From due to PUBACK", "Registry: not checked",
        "What was asked for",
    ]  # fmt: skip
    assert "connack 3, server unavailable" in outline.text
    connects = outline.charts[0]
    assert connects["x"] == [0, 1, 2, 3]
    assert connects["series"][1]["values"] == ["1/s", "0/s", "0/s", "1/s"]
    assert outline.charts[2]["series"][0]["values"] == ["42%", "80%"]


def test_copies_that_an_application_received_are_plotted_beside_the_messages() -> None:
    delivery = {
        "copies": 5, "once": 5, "repeated": 0, "missing": {"count": 0, "messages": []}, "unanswered": 0, "unexpected": 0,
        "ofOthers": 0, "validation": {}, "latencyMs": None, "timeline": {"3": 2, "5": 3},
    }  # fmt: skip
    outline = Outline(page(report(counted(), delivery=delivery).document()))
    messages = next(chart for chart in outline.charts if chart["series"][0]["name"] == "published")
    assert messages["series"][2]["values"] == ["0/s", "0/s", "0/s", "2/s", "0/s", "3/s"]
    assert "Delivery: every message is accounted for" in outline.headings
    assert "delivered once" in outline.text
    assert outline.headings.index("Messages") < outline.headings.index("Connects"), (
        "what it is about comes first"
    )


def test_what_a_server_says_is_text_and_never_markup() -> None:
    outline = Outline(page(report(counted()).document()))
    assert "<script>alert(1)</script>" in outline.text
    assert outline.text.count("alert(1)") == 1


def test_a_registry_that_does_not_hold_what_was_promised_is_named_with_its_devices() -> None:
    registry = RegistryCheck(acknowledged=2, unsure=0, missing=("storm-000002",), unexpected=(), twice=())
    outline = Outline(page(report(counted(), registry=registry, problems=("1 device <missing>",)).document()))
    assert "not as it should be" in outline.text
    assert "1 device <missing>" in outline.text
    assert "Registry: does not hold what was promised" in outline.headings
    assert "1 told so, and not there (storm-000002)" in outline.text


def test_while_the_server_was_down_no_line_is_drawn() -> None:
    usage = tuple(Sample(float(second), 50.0, 2**20) for second in (1, 2, 3, 9, 10))
    cpu = Outline(page(report(counted(), usage=usage).document())).charts[2]
    assert cpu["series"][0]["values"] == ["50%", "50%", "50%", None, "50%", "50%"]


def test_a_tester_that_was_too_slow_says_so() -> None:
    assert (
        "the tester was slow"
        in Outline(page(report(counted(), cautions=("the tester was slow",)).document())).text
    )


def test_a_run_in_which_nothing_happened_is_a_page_too() -> None:
    assert "Storm: 3 devices" in Outline(page(report(Tally()).document())).text


def test_a_day_is_drawn_in_steps_and_no_peak_of_the_latency_is_lost() -> None:
    tally = Tally()
    for second in range(0, 86_400, 60):
        tally.at(second).offered = tally.at(second).admitted = 60
        tally.at(second).latencies_s.append(5.0 if second == 43_200 else 0.01)
    document = page(report(tally).document())
    outline = Outline(document)
    assert len(outline.charts[0]["x"]) <= 600
    assert "5 s" in outline.charts[1]["series"][0]["values"]
    assert len(document) < 1_000_000


def test_the_json_report_has_each_second_and_the_summary(tmp_path: Path) -> None:
    write_file(tmp_path / "r.json", to_text(report(counted()).document()))
    told = json.loads((tmp_path / "r.json").read_text())
    assert [row["second"] for row in told["timeline"]] == [0, 3]
    assert told["timeline"][1]["refused"] == {"connack 3": 1}
    assert (told["offered"], told["admitted"], told["startedAt"]) == (3, 2, "2026-11-18T11:06:40Z")


def test_a_report_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"r\.html: No such file or directory"):
        write_file(tmp_path / "no" / "r.html", "")


@pytest.mark.parametrize("value", [0.0, 0.3, 7.0, 99_999.0])
def test_a_curve_stays_inside_its_plot(value: float) -> None:
    for logarithmic in (False, True):
        series = [Series(name="x", colour="blue", points=[(0, value), (1, value / 2)], kind="step")]
        figure = chart("title", "", series, until_s=2, logarithmic=logarithmic)
        points = re.search(r'<polyline points="([^"]*)"', figure)
        assert points is not None
        heights = [float(pair.partition(",")[2]) for pair in points[1].split()]
        assert all(0 <= height <= 300 for height in heights)


def test_a_gap_is_not_bridged() -> None:
    series = [Series(name="x", colour="blue", points=[(0, 1.0), (1, None), (2, 1.0)])]
    assert chart("title", "", series, until_s=3).count("<polyline") == 2
