"""Charts as HTML figures with inline SVG: no library, no network, and text that does not shrink on a phone.

The SVG is stretched over its figure and holds only shapes; whatever is text is HTML at percentages beside it.
"""

import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["Point", "Series", "bars", "chart", "compact", "outcome_bar", "seconds"]

_WIDTH: Final = 1000
_HEIGHT: Final = 300
"""Of the SVG's own coordinates; the style sheet decides about the real size."""
_TICKS: Final = 6
_HEADROOM: Final = 1.08
_NICE: Final = (1, 2, 2.5, 5, 10)
_DOTS_UP_TO: Final = 40
_NEAR_THE_END: Final = 0.96
_THOUSAND: Final = 1000
_MINUTE_S: Final = 60
_LONG_S: Final = 300

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`colour` is one of the style sheet's: `blue`, `green`, `amber`, `red`, `violet`, `grey`.

    `step`: a count over the time until the next point; `line`: a value at that time. None is a gap.
    """

    name: str
    colour: str
    points: Sequence[Point]
    kind: Literal["step", "line"] = "line"
    filled: bool = False


def compact(value: float) -> str:
    """`12`, `1.5k`, `20k`, `0.25`"""
    if value >= _THOUSAND:
        return f"{value / _THOUSAND:.3g}k"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """`12 s`, `12:05 min`"""
    if value < _LONG_S:
        return f"{value:g} s"
    return f"{int(value) // _MINUTE_S}:{int(value) % _MINUTE_S:02d} min"


def chart(
    title: str,
    note: str,
    series: Sequence[Series],
    *,
    until_s: float,
    logarithmic: bool = False,
    write: Callable[[float], str] = compact,
) -> str:
    """A figure over time from 0 to `until_s`. `write` makes a value's text, with its unit."""
    values = [value for each in series for _, value in each.points if value is not None]
    if not values:
        return ""
    scale = _Logarithmic.of(values) if logarithmic else _Linear.of(values)
    shapes = "".join(_shape(each, until_s, scale) for each in series)
    grid = "".join(
        f'<line x1="0" x2="{_WIDTH}" y1="{_y(scale.at(tick)):.1f}" y2="{_y(scale.at(tick)):.1f}"/>'
        for tick in scale.ticks
    )
    y_labels = "".join(
        f'<span style="bottom:{scale.at(tick) * 100:.2f}%">{html.escape(write(tick))}</span>'
        for tick in scale.ticks
    )
    x_labels = "".join(
        f'<span{_edge(tick / until_s)} style="left:{tick / until_s * 100:.2f}%">{html.escape(seconds(tick))}</span>'
        for tick in _x_ticks(until_s)
    )
    legend = "".join(f'<li class="{each.colour}"><i></i>{html.escape(each.name)}</li>' for each in series)
    return f"""
<figure class="chart" data-chart="{html.escape(_data(series, until_s, write))}">
<figcaption><h3>{html.escape(title)}</h3><p>{html.escape(note)}</p><ul class="legend">{legend}</ul></figcaption>
<div class="plot"><div class="y">{y_labels}</div>
<div class="area"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"
 aria-label="{html.escape(title)}"><g class="grid">{grid}</g>{shapes}</svg></div>
<div class="x">{x_labels}</div></div>
</figure>"""


def bars(title: str, note: str, rows: Sequence[tuple[str, int, str]]) -> str:
    """A figure with a bar for each (name, count, colour)."""
    if not rows:
        return ""
    most = max(count for _, count, _ in rows)
    body = "".join(
        f'<li class="{colour}"><span>{html.escape(name)}</span>'
        f'<b style="width:{count / most * 100:.2f}%"></b><em>{count:,}</em></li>'
        for name, count, colour in rows
    )
    return f"""
<figure class="bars"><figcaption><h3>{html.escape(title)}</h3><p>{html.escape(note)}</p></figcaption>
<ul>{body}</ul></figure>"""


def outcome_bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """One bar of (name, count, colour): each attempt is in exactly one part."""
    total = sum(count for _, count, _ in parts)
    if not total:
        return ""
    shown = [(name, count, colour) for name, count, colour in parts if count]
    body = "".join(
        f'<b class="{colour}" style="flex-grow:{max(count / total, 0.004):.5f}" title="{html.escape(name)}"></b>'
        for name, count, colour in shown
    )
    legend = "".join(
        f'<li class="{colour}"><i></i>{html.escape(name)} <em>{count:,}</em> '
        f"<small>{_percent(count, total)}</small></li>"
        for name, count, colour in shown
    )
    return f'<div class="outcome"><div>{body}</div><ul class="legend">{legend}</ul></div>'


def _percent(count: int, total: int) -> str:
    """Never rounded to what would be all, or nothing."""
    share = 100 * count / total
    if count < total and share > 99.9:  # noqa: PLR2004
        return "&gt;99.9%"
    return "&lt;0.1%" if 0 < share < 0.1 else f"{share:.3g}%"  # noqa: PLR2004


class _Linear:
    """From 0 to a little above the greatest value; `at` is the share of the height."""

    def __init__(self, top: float, step: float) -> None:
        self._top = top
        self.ticks = [step * n for n in range(int(top / step + 1e-9) + 1)]

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Linear":
        top = (max(values) or 1.0) * _HEADROOM
        return cls(top, _nice_step(top))

    def at(self, value: float) -> float:
        return value / self._top


class _Logarithmic:
    """Between powers of ten."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self.ticks = [10.0**power for power in range(low, high + 1)]

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Logarithmic":
        positive = [value for value in values if value > 0] or [1.0]
        low = math.floor(math.log10(min(positive)))
        return cls(low, max(low + 1, math.ceil(math.log10(max(positive)))))

    def at(self, value: float) -> float:
        power = math.log10(value) if value > 0 else self._low
        return (max(power, self._low) - self._low) / (self._high - self._low)


def _nice_step(top: float) -> float:
    rough = top / _TICKS
    magnitude = 10 ** math.floor(math.log10(rough))
    return float(next(nice * magnitude for nice in _NICE if nice * magnitude >= rough * 0.999))


def _x_ticks(until_s: float) -> list[float]:
    if until_s >= _LONG_S:
        minutes = max(1, round(_nice_step(until_s / _MINUTE_S)))
        step = float(minutes * _MINUTE_S)
    else:
        step = _nice_step(until_s)
    return [step * n for n in range(int(until_s / step + 1e-9) + 1)]


def _edge(share: float) -> str:
    """A label at an edge stays inside."""
    return ' class="end"' if share > _NEAR_THE_END else ""


def _y(share: float) -> float:
    return _HEIGHT * (1 - share)


def _shape(series: Series, until_s: float, scale: _Linear | _Logarithmic) -> str:
    def place(point: Point) -> tuple[float, float]:
        assert point[1] is not None
        return point[0] / until_s * _WIDTH, _y(scale.at(point[1]))

    drawn: list[str] = []
    for run in _runs(series.points):
        corners = [place(point) for point in run]
        if series.kind == "step":
            corners = _steps(corners, _width_of_a_step(series.points) / until_s * _WIDTH)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        if series.filled:
            first, last = corners[0][0], corners[-1][0]
            drawn.append(f'<polygon points="{first:.1f},{_HEIGHT} {line} {last:.1f},{_HEIGHT}"/>')
        drawn.append(f'<polyline points="{line}"/>')
        if series.kind == "line" and len(series.points) <= _DOTS_UP_TO:
            drawn += [f'<path d="M{x:.1f},{y:.1f}h0"/>' for x, y in corners]
    return f'<g class="{series.colour}">{"".join(drawn)}</g>'


def _width_of_a_step(points: Sequence[Point]) -> float:
    return points[1][0] - points[0][0] if len(points) > 1 else 1.0


def _steps(corners: Sequence[tuple[float, float]], width: float) -> list[tuple[float, float]]:
    return [corner for x, y in corners for corner in ((x, y), (x + width, y))]


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points without a gap between them."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point[1] is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _data(series: Sequence[Series], until_s: float, write: Callable[[float], str]) -> str:
    """What the page's script shows under the pointer."""
    data: dict[str, Any] = {
        "until": until_s,
        "x": [point[0] for point in series[0].points],
        "times": [seconds(point[0]) for point in series[0].points],
        "series": [
            {
                "name": each.name,
                "colour": each.colour,
                "values": [None if value is None else write(value) for _, value in each.points],
            }
            for each in series
        ],
    }
    return json.dumps(data, separators=(",", ":"))
