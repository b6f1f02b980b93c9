"""Plots made for reading: lines with bands from the least to the greatest of the repeats, axes with units, as SVG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotbunk.report.curves import Band

__all__ = ["COLOURS", "Axes", "Mark", "Series", "bars", "image", "legend", "plot", "styled"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#666666")
"""Told apart by those who do not see all colours (Okabe and Ito)."""
_SIZE = (6.2, 3.9)  # inches: text is as large as the page's on a phone
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # measured with this one, which is wider than those that browsers have
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "hotbunk",
    "path.simplify_threshold": 1.0,
}


_FAT = (
    (r"<metadata>.*?</metadata>", ""),
    (r"(\d\.\d\d)\d+(?!\d*</text>)", r"\1"),  # of places, not of what is written there
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"'DejaVu Sans', ", ""),
    (r"\s*\n\s*", " "),
)
"""What Matplotlib writes and no eye sees."""


@dataclass(frozen=True)
class Series:
    """A curve with its name (empty: not in the legend); ``line`` is a style of Matplotlib (``-``, ``--``)."""

    name: str
    curve: Band
    line: str = "-"
    colour: str | None = None


@dataclass(frozen=True)
class Mark:
    """A value to compare with: a point, or with no ``x`` a line across."""

    name: str
    y: float
    x: float | None = None
    colour: str = "#333333"


@dataclass(frozen=True)
class Axes:
    """Names with units; ``log`` names the axes that are logarithmic (``x``, ``y``, ``xy``)."""

    x: str
    y: str
    log: str = ""
    ticks: Sequence[float] = ()
    shaded: tuple[float, float] | None = None


def plot(series: Sequence[Series], axes: Axes, marks: Sequence[Mark] = ()) -> str:
    """Draw curves; the image as a data URI."""
    with styled() as (figure, area):
        for number, each in enumerate(series):
            _curve(area, each, each.colour or COLOURS[number % len(COLOURS)])
        for mark in marks:
            _mark(area, mark)
        _dress(area, axes)
        names = [each.name for each in series if each.name] + [mark.name for mark in marks]
        if len(names) > 1:
            legend(figure, len(names))
        return image(figure)


def bars(parts: Mapping[str, Sequence[float]], names: Sequence[str], axes: Axes) -> str:
    """Draw stacked bars, one for each name, lying; ``parts`` has the lengths of each part of the bars."""
    with styled((_SIZE[0], 1.6 + 0.42 * len(names))) as (figure, area):
        start = [0.0] * len(names)
        places = list(range(len(names)))[::-1]
        for number, (part, values) in enumerate(parts.items()):
            area.barh(places, values, 0.62, left=start, label=part, color=COLOURS[number % len(COLOURS)])
            start = [begin + value for begin, value in zip(start, values, strict=True)]
        area.set_yticks(places, names)
        area.set_xlabel(axes.x)
        area.grid(axis="y", visible=False)
        legend(figure, 4)
        return image(figure)


class styled:
    """A figure and its axes, in the report's style; with ``heights`` one below the other, over the same x."""

    def __init__(self, size: tuple[float, float] = _SIZE, heights: Sequence[float] = ()) -> None:
        # here and not above: who does not draw can do without
        import matplotlib
        from matplotlib.figure import Figure

        self._context = matplotlib.rc_context(_STYLE)
        self._figure, self._size, self._heights = Figure, size, heights

    def __enter__(self) -> tuple[Any, Any]:
        self._context.__enter__()
        figure = self._figure(figsize=self._size, layout="constrained")
        if not self._heights:
            return figure, figure.add_subplot()
        return figure, figure.subplots(len(self._heights), sharex=True, height_ratios=self._heights)

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)


def _curve(area: Any, series: Series, colour: str) -> None:
    curve, marker = series.curve, "o" if len(series.curve) < 25 and series.line == "-" else None
    area.plot(curve.x, curve.middle, series.line, color=colour, marker=marker, ms=3.2, lw=1.6, label=series.name or "_")
    if any(low < high for low, high in zip(curve.low, curve.high, strict=True)):
        area.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, lw=0)


def _mark(area: Any, mark: Mark) -> None:
    if mark.x is None:
        area.axhline(mark.y, color=mark.colour, lw=1, ls=":", label=mark.name)
    else:
        area.plot([mark.x], [mark.y], "D", color=mark.colour, ms=6, mfc="none", mew=1.5, label=mark.name)


def _dress(area: Any, axes: Axes) -> None:
    area.set_xlabel(axes.x)
    area.set_ylabel(axes.y)
    if axes.shaded:
        area.axhspan(*axes.shaded, color="#000000", alpha=0.07, lw=0)
    if "x" in axes.log:
        area.set_xscale("log", base=2)
    if "y" in axes.log:
        _logarithmic(area)
    else:
        area.set_ylim(min(0.0, area.get_ylim()[0]), 1.04 * area.get_ylim()[1])
    if axes.ticks:
        area.set_xticks(list(axes.ticks), [f"{tick:,g}" for tick in axes.ticks])
        area.minorticks_off()


def legend(figure: Any, entries: int, columns: int = 3) -> None:
    """Below the plot, where it hides nothing."""
    figure.legend(loc="outside lower center", ncols=min(entries, columns), handlelength=1.6, columnspacing=1.4)


def _logarithmic(area: Any) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    area.set_yscale("log")
    area.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    area.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    area.yaxis.set_minor_formatter(NullFormatter())


def image(figure: Any) -> str:
    """The figure as a data URI."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(_lean(out.getvalue().decode()).encode()).decode()


def _lean(svg: str) -> str:
    """Half the bytes, the same picture."""
    for pattern, instead in _FAT:
        svg = re.sub(pattern, instead, svg, flags=re.DOTALL)
    return svg
