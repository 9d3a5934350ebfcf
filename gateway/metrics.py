"""Prometheus metrics: what the rooms count in plain integers, read when somebody scrapes (docs/metrics.md)."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.admission import Admission
from gateway.counts import EdgeCounts, Histogram
from gateway.edge.connection import Edge
from gateway.refusals import Reason
from gateway.registry.registry import Registry
from gateway.session import CloseReason
from gateway.telemetry.envelope import DeadLetter
from gateway.telemetry.router import Sink, TelemetryRouter

__all__ = ["GatewayCollector", "Metrics", "Sources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the numbers are."""

    edge: Edge
    admission: Admission
    registry: Registry
    router: TelemetryRouter
    sinks: tuple[Sink, ...]


class Metrics:
    """What `/metrics` answers."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(GatewayCollector(sources))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)


class GatewayCollector(Collector):
    """Every label value that is known beforehand is there from the start, at 0, so that a rate has its first step."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "gateway_build", "What runs.", value={"version": __version__, "python": platform.python_version()}
        )
        yield from _edge(self._sources.edge)
        yield from _storm(self._sources.edge, self._sources.admission)
        yield from _registry(self._sources.registry, self._sources.admission)
        yield from _telemetry(self._sources.router, self._sources.sinks)


def _edge(edge: Edge) -> Iterator[Metric]:
    counts: EdgeCounts = edge.counts
    yield GaugeMetricFamily("gateway_connections", "Open device connections.", value=len(edge.connections))
    sessions = GaugeMetricFamily("gateway_sessions", "Live sessions.", labels=["dialect"])
    for dialect, count in edge.sessions.count_by_dialect().items():
        sessions.add_metric([dialect], count)
    yield sessions
    accepted = CounterMetricFamily(
        "gateway_connects_accepted", "CONNECTs answered with 0.", labels=["dialect", "mechanism", "tls"]
    )
    for (dialect, mechanism, tls), count in counts.accepted.items():
        accepted.add_metric([dialect, mechanism, tls or "none"], count)
    yield accepted
    yield _by("gateway_connects_refused", "CONNECTs refused.", "reason", counts.refused, Reason)
    yield _by("gateway_connections_closed", "Connections that ended.", "reason", counts.closed, CloseReason)
    yield CounterMetricFamily(
        "gateway_tls_handshakes_failed", "TLS handshakes that did not end well.", value=counts.tls_failed
    )
    yield _histogram(
        "gateway_tls_handshake_seconds", "From accept to the handshake's end.", counts.handshake_seconds
    )
    yield _histogram("gateway_admission_seconds", "From CONNECT to CONNACK 0.", counts.admission_seconds)


def _storm(edge: Edge, admission: Admission) -> Iterator[Metric]:
    storm, intake = edge.storm, admission.intake
    yield GaugeMetricFamily("gateway_handshakes", "Handshakes in flight.", value=storm.queue.handshakes)
    yield GaugeMetricFamily(
        "gateway_connections_waiting", "Accepted, and waiting for a handshake.", value=storm.queue.waiting
    )
    shed = CounterMetricFamily(
        "gateway_storm_shed", "What storm control kept out or put off.", labels=["cause"]
    )
    for cause, count in (
        ("turned_away", storm.turned_away), ("gave_up", storm.gave_up), ("delayed", storm.delayed),
        ("over_rate", intake.refused_rate), ("over_registrations", intake.refused_registrations),
    ):  # fmt: skip
        shed.add_metric([cause], count)
    yield shed


def _registry(registry: Registry, admission: Admission) -> Iterator[Metric]:
    registrar = registry.registrar
    yield CounterMetricFamily(
        "gateway_registrations_created", "Devices that registered themselves.", value=admission.created
    )
    yield GaugeMetricFamily(
        "gateway_registrar_queue", "Changes that wait for a commit.", value=registrar.waiting
    )
    yield GaugeMetricFamily(
        "gateway_registrar_queue_limit", "The most that may wait.", value=registrar.max_queue
    )
    yield _histogram("gateway_registrar_batch_changes", "Changes in one commit.", registrar.batch_changes)
    yield _histogram("gateway_registrar_commit_seconds", "How long a commit took.", registrar.commit_seconds)
    yield CounterMetricFamily(
        "gateway_registrar_commits_failed", "Commits that failed.", value=registrar.failed
    )
    yield GaugeMetricFamily(
        "gateway_registry_cached_devices", "Devices and enrollments in memory.", value=registry.cached
    )
    yield CounterMetricFamily("gateway_registry_lookups", "Queries for devices.", value=registry.lookups)


def _telemetry(router: TelemetryRouter, sinks: tuple[Sink, ...]) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "gateway_telemetry_routed", "Messages that went to a topic.", value=router.routed
    )
    yield _by(
        "gateway_telemetry_dead_lettered",
        "Messages that could not be decoded.",
        "reason",
        router.buried,
        DeadLetter,
    )
    dropped = CounterMetricFamily("gateway_telemetry_dropped", "Copies dropped.", labels=["sink", "cause"])
    backlog = GaugeMetricFamily("gateway_telemetry_backlog", "Copies not yet acknowledged.", labels=["sink"])
    for sink in sinks:
        name = type(sink).__name__
        for cause in ("no_room", "not_acknowledged"):
            dropped.add_metric([name, cause], router.drops[name, cause])
        backlog.add_metric([name], sink.backlog)
    yield dropped
    yield backlog


def _by(
    name: str,
    documentation: str,
    label: str,
    counted: Mapping[Reason, int] | Mapping[CloseReason, int] | Mapping[DeadLetter, int],
    known: type[Reason] | type[CloseReason] | type[DeadLetter],
) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value in known:
        family.add_metric([value], counted.get(value, 0))  # type: ignore[arg-type]
    return family


def _histogram(name: str, documentation: str, histogram: Histogram) -> Metric:
    running = list(accumulate(histogram.counts))
    bounds = [*(repr(bound) for bound in histogram.bounds), "+Inf"]
    return HistogramMetricFamily(
        name, documentation, buckets=list(zip(bounds, running, strict=True)), sum_value=histogram.total
    )
