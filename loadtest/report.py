"""The report of a run as one JSON document, which the HTML page is drawn from too."""

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.errors import OperationError
from loadtest.registry_check import RegistryCheck
from loadtest.result import Latency, StormResult
from loadtest.server_usage import Sample
from loadtest.tally import Second, Tally

__all__ = ["Report", "write_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that is told about a run."""

    scenario: str
    started_at: float
    """Unix seconds."""
    problems: tuple[str, ...]
    """What is not as it should be."""
    cautions: tuple[str, ...]
    """What a reader has to know before believing the rest."""
    facts: dict[str, str]
    """What was asked for, in words: `devices: 10,000`."""
    result: StormResult
    tally: Tally
    usage: tuple[Sample, ...] = ()
    registry: RegistryCheck | None = None
    delivery: dict[str, Any] | None = None
    """Of the messages that a subscriber received."""

    @property
    def succeeded(self) -> bool:
        return not self.problems

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            **self.result.to_json(),
            "succeeded": self.succeeded,
            "problems": list(self.problems),
            "cautions": list(self.cautions),
            "registry": self.registry and self.registry.to_json(),
            "delivery": self.delivery,
        }

    def document(self) -> dict[str, Any]:
        """What `--report-json` writes: the summary, and how it came to be, second by second."""
        delivered = {int(second): n for second, n in (self.delivery or {}).get("timeline", {}).items()}
        seconds = sorted({*self.tally.seconds, *(second for second in delivered if second >= 0)})
        started = datetime.fromtimestamp(self.started_at, UTC)
        return {
            "scenario": self.scenario,
            "startedAt": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}",
            "facts": self.facts,
            **self.summary(),
            "timeline": [
                _second(n, self.tally.seconds.get(n) or Second()) | {"delivered": delivered.get(n, 0)}
                for n in seconds
            ],
            "server": [
                {
                    "second": round(sample.elapsed_s, 2),
                    "cpuPercent": round(sample.cpu_percent, 1),
                    "rssBytes": sample.rss_bytes,
                }
                for sample in self.usage
            ],
        }


def _second(number: int, second: Second) -> dict[str, Any]:
    latency = Latency.of(second.latencies_s)
    puback = Latency.of_histogram(second.pubacks)
    return {
        "second": number,
        "offered": second.offered,
        "admitted": second.admitted,
        "refused": dict(second.refused),
        "timedOut": second.timed_out,
        "failed": dict(second.failed),
        "lost": second.lost,
        "deferred": second.deferred,
        "latencyMs": latency and latency.to_json(),
        "published": second.published,
        "acknowledged": second.acknowledged,
        "pubackMs": puback and puback.to_json(),
    }


def write_file(file: Path, content: str) -> None:
    """Raises `OperationError`."""
    try:
        file.write_text(content)
    except OSError as error:
        raise OperationError(f"{file}: {error.strerror}") from None


def to_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
