"""A timeline: who was where when, as bars in lanes, and below them what went on meanwhile, as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotbunk.report.draw import COLOURS, Series, image, legend, styled

__all__ = ["Bar", "timeline"]

_WIDTH = 12.6  # inches: text is as large as in plots of half the width
_LANE, _CURVES = 0.42, 2.1  # inches
_ABOVE = 0.87  # of a lane, where a line is above its bars
_COMING, _THERE, _WAITING = COLOURS[4], COLOURS[0], COLOURS[1]


@dataclass(frozen=True, slots=True)
class Bar:
    """From ``begin`` to ``end``, in place from ``ready`` on; as high as its ``share`` of the lane, from 0 to 1."""

    begin: float
    ready: float
    end: float
    share: float


def timeline(
    lanes: Mapping[str, Sequence[Bar]],
    waits: Mapping[str, Sequence[tuple[float, float]]],
    curves: Sequence[Series],
    window: tuple[float, float],
    names: tuple[str, str, str],
) -> str:
    """Draw it; the image as a data URI.

    Args:
        lanes: the bars by the lane's name, from the top.
        waits: from when to when there is a line above a lane, by its name.
        curves: steps; each holds its value until the next point.
        window: the seconds that are shown.
        names: of what is coming, of what is in place, and of the lines above, for the legend.
    """
    height = _LANE * max(len(lanes), 1)
    with styled((_WIDTH, height + _CURVES + 1.0), (height, _CURVES)) as (figure, (above, below)):
        for place, (name, bars) in enumerate(reversed(list(lanes.items()))):
            _lane(above, place, bars)
            above.hlines([place + _ABOVE] * len(waits.get(name, ())), *_ends(waits.get(name, ())), _WAITING, lw=2)
        above.set_yticks([place + 0.4 for place in range(len(lanes))], list(lanes)[::-1])
        above.set_ylim(-0.1, max(len(lanes), 1))
        above.tick_params(axis="y", length=0)
        above.grid(axis="y", visible=False)
        for name, colour in zip(names, (_COMING, _THERE, _WAITING), strict=True):
            above.bar([0], [0], color=colour, label=name)
        for number, each in enumerate(curves):
            colour = each.colour or COLOURS[(1, 2, 3)[number % 3]]
            below.step(each.curve.x, each.curve.middle, where="post", color=colour, lw=1.3, label=each.name)
        below.set_ylim(0, max(1.0, 1.08 * max((max(each.curve.middle, default=0) for each in curves), default=0)))
        below.set_xlim(*window)
        below.set_xlabel("seconds since the beginning")
        below.set_ylabel("requests")
        legend(figure, len(names) + len(curves), columns=6)
        return image(figure)


def _ends(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Where they begin, and where they end."""
    return [begin for begin, _ in pairs], [end for _, end in pairs]


def _lane(area: Any, place: int, bars: Sequence[Bar]) -> None:
    """A line where the lane stands, and its bars on it; what is coming lies before what is in place."""
    area.axhline(place, color="#cccccc", lw=0.7)
    _boxes(area, place, _COMING, [(bar.begin, min(bar.ready, bar.end), bar.share) for bar in bars])
    _boxes(area, place, _THERE, [(bar.ready, bar.end, bar.share) for bar in bars])


def _boxes(area: Any, place: int, colour: str, boxes: Sequence[tuple[float, float, float]]) -> None:
    """All in one shape, which takes a fraction of the bytes of many."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shown = [(begin, end, place + 0.8 * share) for begin, end, share in boxes if end > begin]
    corners = [
        corner
        for begin, end, top in shown
        for corner in ((begin, place), (begin, top), (end, top), (end, place), (begin, place))
    ]
    if shown:
        codes = [Path.MOVETO, *3 * [Path.LINETO], Path.CLOSEPOLY] * len(shown)
        area.add_patch(PathPatch(Path(corners, codes), color=colour, lw=0))
