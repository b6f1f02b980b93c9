"""Profiling an invented machine, where nothing takes time: what is measured, kept and held out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.store import Store
from hotbunk.errors import OutOfMemory
from hotbunk.measure.probes import Probes
from hotbunk.measure.wire import Outrun
from hotbunk.placement import Placement
from hotbunk.profile import Profiler, Progress
from hotbunk.profile.design import AIMS, HELD
from hotbunk.profile.profiler import Ended
from tests.costs.test_model import CPU, GPU, LARGE, MACHINE, place

HERE = Machine("GPU", "1", "CPU", 16, 15, "0.3.36")
TRUTH = Costs.prior(
    LARGE,
    replace(
        MACHINE,
        device=replace(GPU, read={"F16": 2.2e12}, multiply={"F16": 2e14}, launch=3e-6),
        host=replace(CPU, read={"F16": 5e10}, multiply={"F16": 7e11}),
        h2d_pinned=40e9,
        d2h_pinned=45e9,
    ),
)


class Invented:
    """Probes of a model whose costs are known; a device of ``room`` bytes."""

    layers, context = 37, 32768

    def __init__(self, room: int = 80 << 30) -> None:
        self.standing: Placement | None = None
        self.rounds: list[int] = []
        self._room = room

    def place(self, layers: int, context: int, slots: int) -> Placement:
        return place(LARGE, layers, context, slots)

    def stand(self, to: Placement, times: int = 1) -> list[Record]:
        if to == self.standing:
            return []
        if to.device.total > self._room:
            self.standing = None
            raise OutOfMemory("no room")
        before = self.standing.device.weights if self.standing else 0
        self.standing, more = to, to.device.weights - before
        load = self._timed(Record(Kind.LOAD, to, 0.0, moved=more, pieces=to.layers))
        return [*([load] if more > 0 else []), self._timed(Record(Kind.CONTEXT, to, 0.0))]

    def reload(self, to: Placement) -> list[Record]:
        return [*self.leave(), *self.stand(to)]

    def leave(self) -> list[Record]:
        self.standing = None
        return []

    def decode(self, sequences: int, tokens: int, rounds: int = 1) -> list[Record]:
        self.rounds.append(rounds)
        return [*[self.prefill(tokens)] * sequences, self._here(Kind.DECODE, sequences=sequences, tokens=tokens)]

    def prefill(self, tokens: int) -> Record:
        return self._here(Kind.PREFILL, tokens=tokens)

    def carry(self, tokens: int) -> list[Record]:
        size = TRUTH.state(tokens)
        return [self._here(kind, tokens=tokens, moved=size) for kind in (Kind.KV_OUT, Kind.KV_IN)]

    def _here(self, kind: Kind, **what: int) -> Record:
        assert self.standing
        return self._timed(Record(kind, self.standing, 0.0, **what))  # type: ignore[arg-type]

    def _timed(self, record: Record) -> Record:
        return replace(record, seconds=TRUTH.estimate(record).seconds)


def profiler(store: Store, probes: Invented) -> Profiler:
    return Profiler(cast(Probes, probes), store, HERE, "abc", LARGE, MACHINE)


def test_it_ends_when_enough_is_known_and_has_held_out_all_kinds(tmp_path: Path) -> None:
    said: list[Progress] = []
    with Store(tmp_path / "costs.sqlite") as store:
        profiled = profiler(store, Invented())
        assert profiled.run(1000, 8192, 8, 72 << 30, said.append) is Ended.KNOWN
        assert store.records(HERE, "abc") == profiled.records == [each.record for each in said]
        errors = profiled.errors()
        assert all(errors[kind] <= aim for kind, aim in AIMS.items())
        kinds = Counter(record.kind for record in profiled.records)
        held = Counter(record.kind for record in profiled.records if record.check)
        for kind in (Kind.LOAD, Kind.CONTEXT, Kind.KV_OUT, Kind.KV_IN):
            assert held[kind] == kinds[kind] // HELD
        again = profiler(store, Invented())
        assert again.run(1000, 8192, 8, 72 << 30) is Ended.KNOWN and len(again.records) == len(said)
        # longer contexts are another matter
        assert again.run(1000, 32768, 2, 72 << 30) is Ended.KNOWN and len(again.records) > len(said)


def test_what_is_known_already_counts_and_little_time_is_not_spent_on_one_point(tmp_path: Path) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        profiled, said = profiler(store, Invented()), list[Progress]()
        profiled.run(30, 32768, 8, 72 << 30, said.append)
        longest = max(record.sequences * record.tokens for record in profiled.records if record.kind is Kind.DECODE)
        assert longest < 8 * 29491
        assert profiler(store, Invented()).records == profiled.records


def test_decoding_that_judges_is_measured_several_times(tmp_path: Path) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        probes = Invented()
        profiled = profiler(store, probes)
        profiled.run(1000, 8192, 8, 72 << 30)
        held = sum(record.check for record in profiled.records if record.kind is Kind.DECODE)
        assert max(probes.rounds) == 3 and 0 < sum(rounds > 1 for rounds in probes.rounds) <= held


def test_a_placement_without_room_is_left_out_with_all_larger_ones(tmp_path: Path) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        profiled = profiler(store, Invented(room=place(LARGE, 20, 8192, 8).device.total))
        profiled.run(1000, 8192, 8, 72 << 30)
        assert profiled.refused and max(record.placement.layers for record in profiled.records) <= 20


def test_where_no_layer_fits_loads_need_not_be_known(tmp_path: Path) -> None:
    """There are few points then, so it takes a few profiles until enough of them were held out."""
    with Store(tmp_path / "costs.sqlite") as store:
        none = place(LARGE, 0, 2048, 2).device.total
        ends = [profiler(store, Invented()).run(1000, 2048, 2, none) for _ in range(4)]
        assert (ends[0], ends[-1]) == (Ended.MEASURED, Ended.KNOWN)
        assert Kind.LOAD not in {record.kind for record in store.records(HERE, "abc")}


def test_a_point_that_outran_the_profiler_is_left_out(tmp_path: Path) -> None:
    class Fleeting(Invented):
        def carry(self, tokens: int) -> list[Record]:
            raise Outrun("it is over")

    with Store(tmp_path / "costs.sqlite") as store:
        profiled = profiler(store, Fleeting())
        assert profiled.run(1000, 2048, 2, 72 << 30) is Ended.MEASURED
        assert {record.kind for record in profiled.records} == {Kind.DECODE, Kind.PREFILL, Kind.LOAD, Kind.CONTEXT}


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_no_time_is_no_points(tmp_path: Path, seconds: float) -> None:
    with Store(tmp_path / "costs.sqlite") as store:
        assert profiler(store, Invented()).run(seconds, 8192, 8, 72 << 30) is Ended.TIME
        assert store.known() == []
