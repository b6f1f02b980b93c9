"""A long sequence is begun only if its prefill is likely to end in time."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from hotbunk.study import context
from hotbunk.study.described import described
from hotbunk.study.pace import Clock
from hotbunk.study.results import Results
from hotbunk.study.shapes import SHAPES
from hotbunk.study.stage import Run, Stage, Subject


class Begun(Exception):
    """A sequence was started."""


class Slow:
    """A stage that prefills 51 tokens a second."""

    def __init__(self) -> None:
        self.subjects = {"m": Subject("m", Path("m.gguf"), described(SHAPES["1b"]))}
        self.trained = {"m": 32768}
        self.wire = self

    def needs(self, model: str, context: int) -> None:
        assert context < self.trained[model]

    def place(self, *_: object) -> None:
        pass

    def stand(self, *_: object) -> None:
        pass

    def prompt(self, model: str, tokens: int) -> list[int]:
        return [0] * tokens

    def run(self, model: str, prefix: int, tokens: int) -> Run:
        return Run(prefill=prefix / 51)

    def start(self, *_: object) -> int:
        raise Begun


def test_the_first_point_of_a_residency_keeps_to_the_time_too(tmp_path: Path) -> None:
    stage, results = cast(Stage, Slow()), Results(tmp_path)

    def measure(seconds: float, *lengths: int) -> int:
        return context.measure(stage, "m", results, Clock(seconds), lambda _: None, lengths, (1.0,), 1)

    assert measure(60, 32768) == 1  # it takes eleven minutes
    with pytest.raises(Begun):
        measure(6000, 32768)
    with pytest.raises(Begun):
        measure(60, 256)
