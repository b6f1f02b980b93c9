"""A job that is preempted, on a real worker, when things do not go as planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.measure.wire import Move, Outrun
from hotbunk.study import concurrency, context
from hotbunk.study.job import Job
from hotbunk.study.pace import Clock
from hotbunk.study.results import Results
from hotbunk.study.shapes import SHAPES
from hotbunk.study.stage import Subject, stage
from hotbunk.study.write import write
from hotbunk.worker.protocol import Report


def test_a_job_that_outran_the_study_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.gguf"
    write(path, SHAPES["1b"].scaled(0.1).cut(2))
    subjects = {name: Subject.of(path, name) for name in ("a", "b")}
    with stage("cpu", 1, subjects) as opened:
        job, move = Job(opened, "a", "b", 256), opened.wire.move
        job.begin()
        job.start(100)

        def late(*commands: Move) -> tuple[float, list[Report]]:
            monkeypatch.undo()
            opened.wire.finish(1 + max(opened.wire.ended))  # the job's, which goes on until its context is full
            return move(*commands)

        monkeypatch.setattr(opened.wire, "move", late)
        with pytest.raises(Outrun, match="filled its context"):
            job.preempt(4, 4, 4)
        job.start(100)
        row = job.preempt(4, 4, 4)
        assert row["run_tokens"] == 4 and row["kv_bytes"] > 0 and 104 < row["behind"] <= 256
        job.end()


def test_a_model_of_few_tokens_is_measured(tmp_path: Path) -> None:
    path, to = tmp_path / "few.gguf", (Results(tmp_path), Clock(), lambda line: None)
    write(path, replace(SHAPES["1b"].scaled(0.1).cut(2), vocabulary=300))
    with stage("cpu", 1, {"few": Subject.of(path, "few")}) as opened:
        assert not concurrency.measure(opened, "few", *to, (1, 2), (1.0,), 1)
        assert not context.measure(opened, "few", *to, (100,), (1.0,), 1)
