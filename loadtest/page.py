"""The report as one HTML page that needs nothing else: no network, no library, light or dark, wide or narrow."""

import html
import itertools
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from loadtest.charts import Point, Series, bars, chart, compact, outcome_bar

__all__ = ["page"]

_MAX_POINTS: Final = 600
"""A long run is drawn in steps of several seconds."""
_GAP: Final = 2.5
"""So many times the usual distance between two samples."""
_MAX_ROWS: Final = 1000
_MIB: Final = 1024 * 1024
_PERCENTILES: Final = (("p50", "green"), ("p90", "blue"), ("p99", "amber"), ("max", "red"))


def page(document: Mapping[str, Any]) -> str:
    """The page of a report's document (`loadtest.report`)."""
    timeline = _Timeline(document)
    about_messages = document["delivery"] is not None
    sections = [
        _header(document),
        _tiles(document),
        _outcome(document),
        _messages(document, timeline) if about_messages else "",
        _connects(timeline),
        _latencies(timeline),
        f'<div class="pair">{_server(document, timeline)}</div>' if document["server"] else "",
        _causes(document),
        "" if about_messages else _messages(document, timeline),
        _checks(document),
        _facts(document),
        _table(document),
    ]
    style = files("loadtest").joinpath("page.css").read_text()
    script = files("loadtest").joinpath("page.js").read_text()
    title = html.escape(_title(document))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{"".join(sections)}
<footer>Made by the gateway's load tester. Latencies count from when a device was due, so what had to wait is charged for
its wait; percentiles are by nearest rank.</footer>
</main>
<script>
{script}</script>
</body>
</html>
"""


class _Timeline:
    """The seconds of a run, without holes, in at most `_MAX_POINTS` steps."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        rows = {row["second"]: row for row in document["timeline"]}
        server = [sample["second"] for sample in document["server"]]
        self.length = max([*rows, *(int(at) for at in server)], default=0) + 1
        self.step = -(-self.length // _MAX_POINTS)
        self._rows = rows

    def counts(self, count: Callable[[Mapping[str, Any]], float]) -> list[Point]:
        """A second's mean over each step."""
        return [
            (float(start), sum(map(count, self._in_step(start))) / self.step)
            for start in range(0, self.length, self.step)
        ]

    def worst(self, value: Callable[[Mapping[str, Any]], float | None]) -> list[Point]:
        """The worst second of each step, in its middle; None if nothing happened."""
        points: list[Point] = []
        for start in range(0, self.length, self.step):
            values = [v for v in map(value, self._in_step(start)) if v is not None]
            points.append((start + self.step / 2, max(values, default=None)))
        return points

    def _in_step(self, start: int) -> list[Mapping[str, Any]]:
        return [self._rows[s] for s in range(start, start + self.step) if s in self._rows]

    @property
    def note(self) -> str:
        return "" if self.step == 1 else f"; each step is {self.step} seconds, of latencies the worst one"


def _title(document: Mapping[str, Any]) -> str:
    return f"{document['scenario'].capitalize()}: {document['facts'].get('devices', '?')} devices"


def _header(document: Mapping[str, Any]) -> str:
    good = document["succeeded"]
    verdict = "as it should be" if good else "not as it should be"
    return f"""
<header><h1>{html.escape(_title(document))}</h1>
<span class="verdict {"good" if good else "bad"}">{verdict}</span>
{_problems(document)}<p>{html.escape(document["facts"].get("server", ""))} · {html.escape(document["startedAt"])} · tester on
{html.escape(document["machine"])}</p></header>"""


def _problems(document: Mapping[str, Any]) -> str:
    items = "".join(f"<li>{html.escape(problem)}</li>" for problem in document["problems"])
    items += "".join(f'<li class="caution">{html.escape(text)}</li>' for text in document["cautions"])
    return f'<ul class="problems">{items}</ul>' if items else ""


def _tiles(document: Mapping[str, Any]) -> str:
    latency = document["latencyMs"] or {}
    tiles = [
        ("offered", f"{document['offered']:,}"),
        ("admitted", f"{document['admitted']:,}"),
        ("not admitted", f"{document['offered'] - document['admitted']:,}"),
        ("lost again", f"{document['lost']:,}"),
        ("admitted a second", f"{document['admittedPerSecond']:,.0f}"),
        ("latency p50", _milliseconds(latency.get("p50"))),
        ("latency p99", _milliseconds(latency.get("p99"))),
        ("took", f"{document['elapsedSeconds']:,.2f} <small>s</small>"),
    ]
    if document["offered"] - document["badCredentials"]["offered"] != document["devicesIn"]:
        tiles += [
            ("devices that came in", f"{document['devicesIn']:,}"),
            ("the last one after", f"{document['everybodyInSeconds']:,.1f} <small>s</small>"),
            ("since the offer ended", f"{_since_the_offer(document):,.1f} <small>s</small>"),
            ("admitted a second until then", _rate(document["admittedPerSecondMeanwhile"])),
        ]
    tiles += _message_tiles(document)
    body = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    columns = " five" if len(tiles) % 5 in {0, 4} else ""
    return f'\n<dl class="tiles{columns}">{body}</dl>'


def _message_tiles(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    messages, delivery = document["messages"], document["delivery"]
    if messages is None:
        return []
    tiles = [("messages published", f"{messages['published']:,}")]
    if messages["acknowledged"] is not None:
        tiles.append(("acknowledged", f"{messages['acknowledged']:,}"))
        tiles.append(("PUBACK p99", _milliseconds((messages["pubackMs"] or {}).get("p99"))))
    if delivery is not None:
        tiles.append(("delivered once", f"{delivery['once']:,}"))
        tiles.append(("missing", f"{delivery['missing']['count']:,}"))
        tiles.append(("delivered p99", _milliseconds((delivery["latencyMs"] or {}).get("p99"))))
    return tiles


def _since_the_offer(document: Mapping[str, Any]) -> float:
    return float(max(0.0, document["everybodyInSeconds"] - document["offeredUntilSeconds"]))


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} <small>ms</small>"


def _outcome(document: Mapping[str, Any]) -> str:
    bar = outcome_bar(
        [
            ("admitted", document["admitted"], "green"),
            ("refused", sum(document["refused"].values()), "amber"),
            ("timed out", document["timedOut"], "violet"),
            ("failed", sum(document["failed"].values()), "red"),
        ]
    )
    return f'\n<div class="card"><h3>What became of each attempt</h3>{bar}</div>' if bar else ""


def _connects(timeline: _Timeline) -> str:
    series = [
        Series(
            name="offered",
            colour="grey",
            points=timeline.counts(lambda row: float(row["offered"])),
            kind="step",
        ),
        Series(
            name="admitted",
            colour="green",
            points=timeline.counts(lambda row: float(row["admitted"])),
            kind="step",
            filled=True,
        ),
    ]
    turned_away = timeline.counts(
        lambda row: float(sum(row["refused"].values()) + row["timedOut"] + sum(row["failed"].values()))
    )
    if any(value for _, value in turned_away):
        series.append(Series(name="not admitted", colour="amber", points=turned_away, kind="step"))
    lost = timeline.counts(lambda row: float(row["lost"]))
    if any(value for _, value in lost):
        series.append(Series(name="lost again", colour="red", points=lost, kind="step"))
    return chart(
        "Connects", f"Attempts a second{timeline.note}", series, until_s=timeline.length, write=_per_second
    )


def _latencies(timeline: _Timeline, key: str = "latencyMs", title: str = "Latency of the admitted") -> str:
    series = [
        Series(name=name, colour=colour, points=timeline.worst(_percentile(key, name)))
        for name, colour in reversed(_PERCENTILES)
    ]
    values = [value for each in series for _, value in each.points if value]
    wide = bool(values) and max(values) > 50 * min(values)
    scale = ", on a logarithmic scale" if wide else ""
    return chart(
        title,
        f"By second of admission{scale}{timeline.note}"
        if key == "latencyMs"
        else f"By second of PUBACK{scale}{timeline.note}",
        series,
        until_s=timeline.length,
        logarithmic=wide,
        write=_duration,
    )


def _percentile(key: str, name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda row: row[key] and row[key][name]


def _server(document: Mapping[str, Any], timeline: _Timeline) -> str:
    samples = _thinned(document["server"])
    cpu = _with_gaps([(sample["second"], sample["cpuPercent"]) for sample in samples])
    rss = _with_gaps([(sample["second"], sample["rssBytes"] / _MIB) for sample in samples])
    return chart(
        "Server CPU",
        "Of one core, over the second before",
        [Series(name="user and system", colour="blue", points=cpu, filled=True)],
        until_s=timeline.length,
        write=lambda value: f"{value:.3g}%",
    ) + chart(
        "Server memory",
        "Resident",
        [Series(name="RSS", colour="violet", points=rss, filled=True)],
        until_s=timeline.length,
        write=lambda value: f"{value:.4g} MiB",
    )


def _with_gaps(points: Sequence[tuple[float, float]]) -> list[Point]:
    """A server that was down in between has no value then."""
    usual = sorted(later[0] - earlier[0] for earlier, later in itertools.pairwise(points))
    longest = _GAP * usual[len(usual) // 2] if usual else 0.0
    drawn: list[Point] = []
    for point in points:
        if drawn and point[0] - drawn[-1][0] > longest:
            drawn.append(((drawn[-1][0] + point[0]) / 2, None))
        drawn.append(point)
    return drawn


def _thinned(samples: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return samples[:: -(-len(samples) // _MAX_POINTS) or 1]


def _causes(document: Mapping[str, Any]) -> str:
    rows = [(f"refused: {_explained(code)}", count, "amber") for code, count in document["refused"].items()]
    rows += [("timed out", document["timedOut"], "violet")] if document["timedOut"] else []
    rows += [(f"failed: {cause}", count, "red") for cause, count in document["failed"].items()]
    rows.sort(key=lambda row: -row[1])
    bad = document["badCredentials"]["offered"]
    note = "By what the server answered, or what went wrong"
    if bad:
        note += f"; {bad:,} attempts had somebody else's credential, and are refused as they should be"
    return bars("Why attempts were not admitted", note, rows)


def _explained(code: str) -> str:
    """The codes that a reader need not know by heart: MQTT 3.1.1, table 3.1."""
    known = {
        "connack 1": "protocol version",
        "connack 2": "client id",
        "connack 3": "server unavailable",
        "connack 4": "user name or password",
        "connack 5": "not authorized",
    }
    return f"{code}, {known[code]}" if code in known else code


def _messages(document: Mapping[str, Any], timeline: _Timeline) -> str:
    if document["messages"] is None:
        return ""
    series = [
        Series(
            name="published",
            colour="blue",
            points=timeline.counts(lambda row: float(row["published"])),
            kind="step",
        )
    ]
    if document["messages"]["acknowledged"] is not None:
        acknowledged = timeline.counts(lambda row: float(row["acknowledged"]))
        series.append(
            Series(name="acknowledged", colour="green", points=acknowledged, kind="step", filled=True)
        )
    if document["delivery"] is not None:
        delivered = timeline.counts(lambda row: float(row["delivered"]))
        series.append(
            Series(name="delivered to the application", colour="violet", points=delivered, kind="step")
        )
    rates = chart("Messages", f"A second{timeline.note}", series, until_s=timeline.length, write=_per_second)
    return rates + _latencies(timeline, "pubackMs", "From due to PUBACK")


def _checks(document: Mapping[str, Any]) -> str:
    return _registry(document["registry"]) + _delivery(document["delivery"])


def _registry(registry: Mapping[str, Any] | None) -> str:
    if registry is None:
        return _check(
            "Registry: not checked", "--config names the gateway whose registry is to be read", None
        )
    if registry["holds"]:
        told = f"Each of the {registry['acknowledged']:,} devices that were told so is in the gateway's registry, once"
        return _check("Registry: holds what was promised", told, good=True)
    wrong = [
        f"{registry[name]['count']:,} {words} ({', '.join(registry[name]['devices'][:10])})"
        for name, words in (
            ("missing", "told so, and not there"),
            ("unexpected", "refused, and there"),
            ("twice", "there more than once"),
        )
        if registry[name]["count"]
    ]
    return _check("Registry: does not hold what was promised", "; ".join(wrong), good=False)


def _delivery(delivery: Mapping[str, Any] | None) -> str:
    if delivery is None:
        return ""
    missing = delivery["missing"]
    good = not missing["count"] and not delivery["unexpected"]
    told = (
        f"The application received {delivery['copies']:,} copies: {delivery['once']:,} messages once, "
        f"{delivery['repeated']:,} more often, {missing['count']:,} not at all"
    )
    if missing["count"]:
        told += f" ({', '.join(missing['messages'][:10])})"
    latency = delivery["latencyMs"]
    if latency:
        told += f"; from due to delivered p50 {latency['p50']} ms, p99 {latency['p99']} ms"
    return _check(
        "Delivery: every message is accounted for" if good else "Delivery: messages are missing", told, good
    )


def _check(title: str, told: str, good: bool | None) -> str:
    kind = {True: "card check", False: "card check bad", None: "card"}[good]
    return f'\n<div class="{kind}"><h3>{html.escape(title)}</h3><p>{html.escape(told)}</p></div>'


def _facts(document: Mapping[str, Any]) -> str:
    tester = document["tester"]
    facts = dict(document["facts"]) | {
        "tester's CPU": f"{tester['cpuSeconds']:g} s",
        "tester's latest start": f"{tester['latestStartMs']:g} ms",
    }
    body = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'\n<div class="card"><h3>What was asked for</h3><dl class="facts">{body}</dl></div>'


def _table(document: Mapping[str, Any]) -> str:
    rows = document["timeline"][:_MAX_ROWS]
    cells = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell}</td>"
            for cell in (
                row["second"],
                row["offered"],
                row["admitted"],
                sum(row["refused"].values()),
                row["timedOut"],
                sum(row["failed"].values()),
                row["lost"],
                *((row["latencyMs"] or {}).get(name, "-") for name, _ in _PERCENTILES),
            )
        )
        + "</tr>"
        for row in rows
    )
    names = (
        "second",
        "offered",
        "admitted",
        "refused",
        "timed out",
        "failed",
        "lost",
        "p50 ms",
        "p90",
        "p99",
        "max",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    left_out = len(document["timeline"]) - len(rows)
    more = f"<p>and {left_out:,} more seconds</p>" if left_out else ""
    return f"""
<details class="card"><summary>Second by second</summary><div class="scroll">
<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></div>{more}</details>"""


def _per_second(value: float) -> str:
    return f"{compact(value)}/s"


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"  # noqa: PLR2004
