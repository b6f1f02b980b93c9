"""The course of a study: what fails or cannot be had is noted for its model and experiment, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotbunk.cli.study import order
from hotbunk.errors import ConfigError, EngineError
from hotbunk.measure.wire import Wire
from hotbunk.study import concurrency, context, course, offload, preemption
from hotbunk.study.course import Extent, Study, shares
from hotbunk.study.described import described
from hotbunk.study.pace import Clock, Say
from hotbunk.study.preemption import Pair
from hotbunk.study.results import Results
from hotbunk.study.shapes import SHAPES
from hotbunk.study.stage import Impossible, Stage, Subject
from hotbunk.worker.protocol import Opened

ALL = ("offload", "concurrency", "context")
SUBJECT = Subject("m", Path("m.gguf"), described(SHAPES["1b"]))


class Course:
    """A study of one model on workers that do nothing, with experiments that end as they are told to."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.results = Results(folder)
        self.ends: dict[str, int | Exception] = dict.fromkeys(ALL, 0)
        self.workers = 0
        self.made: list[str] = []
        for name in ALL:
            patch.setattr(getattr(course, name), "measure", lambda *_, name=name, **more: self._end(name))
        patch.setattr(course, "stage", self._stage)
        patch.setattr(course, "check_in", lambda results, hello: None)
        patch.setattr(course, "fill", lambda *_: {})

    def run(self, *experiments: str, clock: Clock | None = None) -> Study:
        study = Study("CUDA0", 1, {"m": SUBJECT}, self.results)
        study.run(study.tasks(experiments), clock or Clock())
        return study

    @contextmanager
    def _stage(self, device: str, threads: int, subjects: Mapping[str, Subject], *options: str) -> Iterator[Any]:
        self.workers += 1
        yield SimpleNamespace(wire=SimpleNamespace(hello=None), subjects=subjects)

    def _end(self, name: str) -> int:
        self.made.append(name)
        if isinstance(end := self.ends[name], Exception):
            raise end
        return end


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    return Course(tmp_path, monkeypatch)


def test_an_experiment_that_fails_takes_no_other_with_it(made: Course) -> None:
    made.ends |= {"offload": EngineError("the worker hung"), "context": 3}
    study = made.run(*ALL)
    assert made.made == list(ALL) and made.workers == 2
    assert study.failed == ["m: offload: the worker hung"] and not study.omitted
    assert made.results.notes == {
        "m: offload": "could not be done: the worker hung",
        "m: context": "no time for 3 points; --resume goes on with them",
    }


def test_what_an_experiment_says_takes_the_place_of_what_it_said(made: Course) -> None:
    made.results.note("m: offload, concurrency, context", "no time for 96 points; --resume goes on with them")
    made.ends |= {"concurrency": 5, "context": 3}
    made.run(*ALL)
    made.ends["context"] = 0
    made.run("context")
    made.run("offload", "concurrency", clock=Clock(0))
    assert made.results.notes == dict.fromkeys(
        ("m: concurrency", "m: offload"), "no time for it; --resume goes on with it"
    )


def test_what_cannot_be_had_here_is_an_error_only_where_nothing_else_is_asked(made: Course) -> None:
    made.ends["offload"] = Impossible("nothing to offload to")
    several, alone = made.run(*ALL), made.run("offload")
    assert made.workers == 2
    assert (several.omitted, several.failed) == (["m: offload: nothing to offload to"], [])
    assert (alone.omitted, alone.failed) == ([], ["m: offload: nothing to offload to"])
    assert made.results.notes == {"m: offload": "could not be done: nothing to offload to"}


def test_another_model_of_the_same_name_is_refused(made: Course) -> None:
    made.results.add("models", [{"model": "m", "content": "01"}])
    with pytest.raises(ConfigError, match="its results of m come from another file of that name"):
        made.run("context")
    assert made.made == []


def test_a_model_of_short_contexts_is_left_out_in_a_sentence(tmp_path: Path) -> None:
    opened = Opened("m", 17, 256, 0, 0.0)
    wire = SimpleNamespace(ask=lambda *_: opened, hello=SimpleNamespace(device="CUDA0"))
    short, results, wanted = Stage(cast(Wire, wire), {"m": SUBJECT}), Results(tmp_path), Extent()
    to: tuple[Results, Clock, Say] = (results, Clock(), lambda line: None)
    with pytest.raises(Impossible, match="m was trained for 256 tokens, and this takes 512"):
        concurrency.measure(short, "m", *to)
    with pytest.raises(Impossible, match="and this takes 612"):
        preemption.measure(short, Pair("m", "m"), "fast", *to, wanted.points, wanted.run)
    short.trained["m"] = 32
    with pytest.raises(Impossible, match="and this takes 40"):
        offload.measure(short, "m", *to, wanted.lengths, 1)
    with pytest.raises(Impossible, match="and this takes 49"):
        context.measure(short, "m", *to)


def test_a_copy_has_a_name_that_no_other_model_has() -> None:
    assert order._pairs(["tiny,tiny"], ["tiny"]) == order._pairs([], ["tiny"]) == [Pair("tiny", "tiny-2")]
    assert order._pairs(["tiny,tiny", "tiny,tiny-2"], ["tiny", "tiny-2"]) == [
        Pair("tiny", "tiny-3"),
        Pair("tiny", "tiny-2"),
    ]


def test_pinned_memory_is_never_less_than_none() -> None:
    gib = 1 << 30
    assert shares(64 * gib, 10 * gib, gib) == (int(11.2 * gib), gib)
    assert shares(8 * gib, 10 * gib, 4 * gib) == (4 * gib, 2 * gib)
    assert shares(gib, 10 * gib, gib) == (0, gib // 4)
