"""However many sequences are asked for, none fills its context before all was timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotbunk.measure.wire import Outrun
from hotbunk.study import concurrency
from hotbunk.study.described import described
from hotbunk.study.pace import Clock
from hotbunk.study.results import Results
from hotbunk.study.shapes import SHAPES
from hotbunk.study.stage import Stage, Subject


class Crowded:
    """A stage on which a sequence goes on by a token whenever another begins, and by a few before it can be ended."""

    def __init__(self) -> None:
        self.subjects = {"m": Subject("m", Path("m.gguf"), described(SHAPES["1b"]))}
        self.context = 0
        self.tokens: dict[int, int] = {}
        self.wire = SimpleNamespace(start=self._start, cancel=self.tokens.pop)

    def needs(self, model: str, context: int) -> None:
        assert model in self.subjects

    def place(self, model: str, layers: int, context: int, slots: int) -> Any:
        return SimpleNamespace(context=-(-context // 256) * 256, slots=slots)

    def stand(self, model: str, placement: Any) -> None:
        self.context = placement.context

    def prompt(self, model: str, tokens: int, seed: int) -> list[int]:
        return [seed] * tokens

    def steps(self, sequences: set[int], count: int, seconds: float) -> tuple[list[float], float]:
        self._go_on(1 + count)
        return [0.01] * count, 0.01

    def _start(self, model: str, prompt: Sequence[int], tokens: int) -> int:
        self._go_on(1)
        number = len(self.tokens)
        self.tokens[number] = len(prompt)
        return number

    def _go_on(self, steps: int) -> None:
        for number in self.tokens:
            self.tokens[number] += steps
        if max(self.tokens.values(), default=0) + 8 > self.context:
            raise Outrun


@pytest.mark.parametrize(
    ("counts", "context"), [(concurrency.COUNTS, 512), ((256,), 768), ((1, 2, 4, 8, 16, 32, 64, 128, 256), 1024)]
)
def test_every_number_of_sequences_is_measured(counts: Sequence[int], context: int, tmp_path: Path) -> None:
    stage, results = Crowded(), Results(tmp_path)
    concurrency.measure(cast(Stage, stage), "m", results, Clock(), lambda _: None, counts, (1.0,), 1)
    assert [row["sequences"] for row in results.rows("concurrency")] == [*counts]
    assert stage.context == context and not stage.tokens
