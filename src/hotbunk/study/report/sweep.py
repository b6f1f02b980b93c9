"""One model's sweep over the residencies, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from hotbunk.report.curves import Band, band, groups
from hotbunk.study.lines import Line, Sides, fit
from hotbunk.study.offload import LENGTHS
from hotbunk.study.results import Results, Row

__all__ = ["Model", "models", "reached"]

_LONG = 500  # tokens up to which a run counts for the curves: later ones are slower by their context
_STUDY = ",".join(map(str, LENGTHS))


@dataclass(frozen=True)
class Model:
    """A model's rows, and what follows from them."""

    name: str
    about: Row
    rows: Sequence[Row]

    @property
    def reached(self) -> int:
        """Tokens of the longest output."""
        return max(int(row["output"]) for row in self.rows)

    @cached_property
    def asked(self) -> list[int]:
        """Lengths of outputs that were asked for; where earlier versions noted none, the study's."""
        given = {row.get("lengths", _STUDY) for row in self.rows}
        return sorted({int(length) for each in given for length in each.split(",")})

    @property
    def unreached(self) -> list[int]:
        """Those that no run came to."""
        return [length for length in self.asked if length > self.reached]

    @cached_property
    def runs(self) -> list[Row]:
        """One row a run: the longest output of up to ``_LONG`` tokens, or the shortest there is."""
        runs = groups(self.rows, lambda row: (row["layers"], row["repeat"]))
        return [max(part, key=_suited) for part in runs.values()]

    @cached_property
    def time(self) -> Band:
        """Milliseconds a decode step, over the share of layers in per cent."""
        return self._over_residency(lambda row: 1e3 * row["step"])

    @cached_property
    def speed(self) -> Band:
        """Tokens a second, at that time for each."""
        return self._over_residency(lambda row: 1 / row["step"])

    @property
    def whole(self) -> float | None:
        """Tokens a second with all layers on the device; None if that was not measured."""
        return self.speed.middle[-1] if self.speed.x and self.speed.x[-1] == 100 else None

    @cached_property
    def kept(self) -> Band | None:
        """The share of the full speed, in per cent."""
        return self.speed.scaled(100 / self.whole) if self.whole else None

    @cached_property
    def sides(self) -> Sides:
        """What a token reads where."""
        each = {row["layers"]: (row["device_read"], row["host_read"]) for row in self.runs}
        layers = sorted(each)
        return Sides(layers, [each[n][0] for n in layers], [each[n][1] for n in layers], self.about["head"])

    @cached_property
    def line(self) -> Line | None:
        """The fitted line; None with fewer than four residencies."""
        if len(self.time) < 4:
            return None
        return fit(self.sides, [each / 1e3 for each in self.time.middle])

    def tokens(self, layers: int) -> float | None:
        """Median seconds a token with so many layers there; None if that was not measured."""
        share = 100 * layers / self.about["layers"]
        return next((t / 1e3 for at, t in zip(self.time.x, self.time.middle, strict=True) if at == share), None)

    def kept_at(self, share: float) -> tuple[float, float, float] | None:
        """Of the full speed, with that share of the layers there: measured, by the line, and by it with the head last.

        None if the full speed was not measured, or at too few residencies.
        """
        if not self.line or not self.kept:
            return None
        count = round(share * self.sides.all)
        first, last = (self.line.kept(self.sides, count, head_last) for head_last in (False, True))
        return (self.kept.at(100 * count / self.sides.all) or 0) / 100, first, last

    def saved(self) -> tuple[float, float] | None:
        """Seconds a token that the first layer (the head) and the second (a block) save; None if not measured."""
        none, one, two = (self.tokens(layers) for layers in range(3))
        return None if none is None or one is None or two is None else (none - one, one - two)

    def _over_residency(self, value: Callable[[Row], float]) -> Band:
        rows = ({**row, "share": 100 * row["layers"] / self.about["layers"]} for row in self.runs)
        return band(rows, "share", value)


def reached(models: Iterable[Model]) -> list[int]:
    """Lengths that runs came to: those that were asked for, or any if they came to none of these."""
    found = [(int(row["output"]), model) for model in models for row in model.rows]
    return sorted({output for output, model in found if output in model.asked} or {output for output, _ in found})


def _suited(row: Row) -> tuple[bool, int]:
    """How well a run suits the curves: those that are not too long by their length, the others against it."""
    output, short = int(row["output"]), row["output"] <= _LONG
    return short, output if short else -output


def models(results: Results) -> list[Model]:
    """All that were measured."""
    found = groups(results.rows("offload", alone=False), lambda row: str(row["model"]))
    return [Model(name, results.rows("models", model=name)[0], rows) for name, rows in found.items()]
