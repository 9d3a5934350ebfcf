"""What a scrape sees, and whether the page, the dashboard and the alerts name what it sees."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.counts import EdgeCounts, Histogram
from gateway.metrics import Metrics, Sources
from gateway.refusals import Reason
from gateway.session import CloseReason, Dialect
from gateway.telemetry.envelope import DeadLetter

DOCS = Path(__file__).parents[2] / "docs"
FUNCTIONS = {
    "absent", "by", "histogram_quantile", "increase", "label_values", "le", "rate", "sum",
}  # fmt: skip


class AmqttSink:
    backlog = 4


def numbers() -> Any:
    """Everything that is counted, with a different number each."""
    registrar = SimpleNamespace(
        waiting=7, max_queue=20, failed=1, batch_changes=Histogram((1, 2)), commit_seconds=Histogram((0.1,))
    )
    return SimpleNamespace(
        edge=SimpleNamespace(
            counts=EdgeCounts(),
            connections={1, 2, 3},
            sessions=SimpleNamespace(count_by_dialect=lambda: {"dps": 1, "hub": 2}),
            storm=SimpleNamespace(
                queue=SimpleNamespace(handshakes=14, waiting=15), turned_away=16, gave_up=17, delayed=18
            ),
        ),
        admission=SimpleNamespace(
            created=5, intake=SimpleNamespace(refused_rate=19, refused_registrations=21)
        ),
        registry=SimpleNamespace(registrar=registrar, cached=11, lookups=12),
        router=SimpleNamespace(
            routed=13,
            buried=Counter({DeadLetter.BODY_NOT_JSON: 2}),
            drops=Counter({("AmqttSink", "no_room"): 3}),
        ),
        sinks=(AmqttSink(),),
    )


def scrape(counted: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Sample name and labels → value."""
    sources = Sources(**vars(counted))
    families = text_string_to_metric_families(Metrics(sources).render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(samples: dict[Any, float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_scrape_has_every_count() -> None:
    counted = numbers()
    counts = counted.edge.counts
    counts.accepted[Dialect.HUB, "symmetricKey", "TLSv1.3"] += 2
    counts.accepted[Dialect.DPS, "x509", None] += 1
    counts.refused[Reason.TOKEN_EXPIRED] += 6
    counts.closed[CloseReason.DISCONNECTED] += 8
    counts.tls_failed = 9
    for seconds in (0.0005, 0.3, 60.0):
        counts.admission_seconds.observe(seconds)
    samples = scrape(counted)
    assert of(samples, "gateway_connections") == 3
    assert of(samples, "gateway_sessions", dialect="hub") == 2
    accepted = {"dialect": "hub", "mechanism": "symmetricKey", "tls": "TLSv1.3"}
    assert of(samples, "gateway_connects_accepted_total", **accepted) == 2
    assert of(samples, "gateway_connects_accepted_total", dialect="dps", mechanism="x509", tls="none") == 1
    assert of(samples, "gateway_connects_refused_total", reason="token_expired") == 6
    assert of(samples, "gateway_connections_closed_total", reason="disconnected") == 8
    assert of(samples, "gateway_tls_handshakes_failed_total") == 9
    assert of(samples, "gateway_admission_seconds_bucket", le="0.0005") == 1
    assert of(samples, "gateway_admission_seconds_bucket", le="0.5") == 2
    assert of(samples, "gateway_admission_seconds_bucket", le="+Inf") == 3
    assert of(samples, "gateway_admission_seconds_count") == 3
    assert of(samples, "gateway_admission_seconds_sum") == 60.3005
    assert of(samples, "gateway_handshakes") == 14
    assert of(samples, "gateway_connections_waiting") == 15
    causes = {"turned_away": 16, "gave_up": 17, "delayed": 18, "over_rate": 19, "over_registrations": 21}
    assert {cause: of(samples, "gateway_storm_shed_total", cause=cause) for cause in causes} == causes
    assert of(samples, "gateway_registrations_created_total") == 5
    assert of(samples, "gateway_registrar_queue") == 7
    assert of(samples, "gateway_registrar_commits_failed_total") == 1
    assert of(samples, "gateway_registry_cached_devices") == 11
    assert of(samples, "gateway_telemetry_dead_lettered_total", reason="body_not_json") == 2
    assert of(samples, "gateway_telemetry_dropped_total", sink="AmqttSink", cause="no_room") == 3
    assert of(samples, "gateway_telemetry_backlog", sink="AmqttSink") == 4


def test_every_reason_is_there_before_it_ever_happened() -> None:
    samples = scrape(numbers())
    assert all(of(samples, "gateway_connects_refused_total", reason=reason) == 0 for reason in Reason)
    assert all(of(samples, "gateway_connections_closed_total", reason=reason) == 0 for reason in CloseReason)


def exposed() -> dict[str, set[str]]:
    """Sample name → its labels, of all that a scrape may have."""
    counted = numbers()
    counted.edge.counts.accepted[Dialect.HUB, "symmetricKey", None] += 1
    found: dict[str, set[str]] = {}
    for name, labels in scrape(counted):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_the_page_lists_every_metric_with_its_labels() -> None:
    rows = re.findall(
        r"^\| `(gateway_\w+)` \| (.*?) ?\| .+ \|$", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    expected: dict[str, set[str]] = {}
    for sample, labels in exposed().items():
        if sample.startswith("gateway_"):
            name = re.sub(r"_(bucket|count|sum)$", "", sample)
            expected.setdefault(name, set()).update(labels - {"le"})
    assert documented == expected


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DOCS / "grafana" / "gateway.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    variables = [
        variable["query"]["query"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    return queries + variables


def alert_queries() -> list[str]:
    document = yaml.safe_load((DOCS / "prometheus" / "alerts.yml").read_text())
    return [rule["expr"] for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("query", dashboard_queries() + alert_queries())
def test_a_query_of_the_dashboard_or_an_alert_names_only_what_exists(query: str) -> None:
    known = exposed()
    assert query.count("(") == query.count(")")
    bare = re.sub(r"\[[^\]]*\]|\{[^}]*\}", " ", query)
    names = set(re.findall(r"\b(?:gateway|process|python)_\w+", bare))
    assert names
    assert names <= known.keys()
    labels = {label for name in names for label in known[name]} | {"instance"}
    selected = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", " ".join(re.findall(r"\{([^}]*)\}", query))))
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    assert selected | grouped <= labels
    words = set(re.findall(r"\b[a-z_]+\b", re.sub(r"by \([^)]*\)", " by ", bare)))
    assert words - names - labels <= FUNCTIONS


def test_the_dashboard_s_panels_lie_side_by_side() -> None:
    panels = json.loads((DOCS / "grafana" / "gateway.json").read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
