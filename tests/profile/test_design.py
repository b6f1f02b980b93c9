"""Which point comes next, on an invented machine where measuring costs nothing."""

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.llama.gguf import read
from hotbunk.measure.probes import Probes
from hotbunk.measure.wire import Wire
from hotbunk.placement import Placement
from hotbunk.profile.design import AIMS, choose, cost, enough, grid, held_out, moving, worth
from hotbunk.worker.protocol import Opened
from tests.costs.test_model import LARGE, MACHINE, place

PLACED = {layers: place(LARGE, layers, slots=8) for layers in range(38)}
PRIOR = Costs.prior(LARGE, MACHINE)


def points() -> list:  # type: ignore[type-arg]
    return [point for _, group in grid(37, 8192, 8, PLACED.get) for point in group]


def test_the_grid_has_all_kinds_at_all_residencies_that_fit() -> None:
    groups = grid(37, 8192, 8, lambda layers: PLACED[layers] if layers < 30 else None)
    assert {place.layers for place, _ in groups} == {0, 9, 18, 28}
    assert {point.kind for _, group in groups for point in group} == set(AIMS) - {Kind.KV_IN}
    decode = [point for point in points() if point.kind is Kind.DECODE]
    assert {point.sequences for point in decode} == {1, 2, 4, 8}
    assert max(point.tokens for point in decode) < 8192


def test_the_grid_of_what_is_served_has_the_residency_that_fits_alone() -> None:
    [(fitting, group)] = grid(37, 8192, 8, lambda layers: PLACED[layers] if layers < 30 else None, resident=True)
    assert fitting.layers == 29
    assert {point.placement for point in group} == {fitting}
    assert [place.layers for place, _ in grid(37, 8192, 8, PLACED.get, resident=True)] == [37]


@pytest.mark.parametrize("context", [20, 64, 256, 300, 8192])
def test_the_grid_has_no_point_that_its_contexts_have_no_room_for(context: int, kquant: Path) -> None:
    class Begun(Exception):
        """The point was found to have room."""

    def start(*_: object) -> int:
        raise Begun

    wire = SimpleNamespace(ask=lambda *_: Opened("m", 37, context, 0, 0.0), start=start)
    probes = Probes(cast(Wire, wire), "m", read(kquant))
    probes.standing = Placement(37, context, 80)
    [(_, group)] = grid(37, context, 80, lambda _: probes.standing, resident=True)
    assert {point.kind for point in group} >= {Kind.LOAD, Kind.PREFILL}
    for point in group:
        with pytest.raises(Begun):
            if point.kind is Kind.DECODE:
                probes.decode(point.sequences, point.tokens)
            elif point.kind is Kind.KV_OUT:
                probes.carry(point.tokens)
            else:
                probes.prefill(point.tokens)
    assert max(point.sequences for point in group) == {20: 1, 64: 2, 256: 32, 300: 80, 8192: 80}[context]


def test_what_is_known_is_worth_less_than_what_is_not() -> None:
    known = place(LARGE, 37, slots=8)
    measured = [Record(Kind.DECODE, known, PRIOR.decode(known, [64]).seconds, 1, 64)] * 5
    fitted = Costs.fitted(LARGE, MACHINE, measured)
    near, far = (
        next(p for p in points() if p.kind is Kind.DECODE and (p.placement.layers, p.sequences) == where)
        for where in ((37, 1), (0, 8))
    )
    assert worth(fitted, near) < worth(PRIOR, near)
    assert worth(fitted, near) < worth(fitted, far)


def test_staying_is_cheaper_than_moving_and_nothing_is_begun_that_cannot_end() -> None:
    point = next(p for p in points() if p.kind is Kind.DECODE and p.placement.layers == 37)
    assert cost(PRIOR, point, point.placement) < cost(PRIOR, point, None)
    chosen = choose(PRIOR, points(), None, 1.0)
    assert chosen and cost(PRIOR, chosen, None) <= 1.0
    assert choose(PRIOR, points(), None, 0.001) is None


def test_a_move_costs_what_the_layers_take_that_it_moves() -> None:
    most, all_of_it = PLACED[33], PLACED[37]
    assert moving(PRIOR, most, all_of_it) < moving(PRIOR, None, all_of_it)
    assert moving(PRIOR, all_of_it, all_of_it) < moving(PRIOR, all_of_it, None) < moving(PRIOR, all_of_it, most)
    assert moving(PRIOR, None, None) == moving(PRIOR, most, most)


def test_what_is_held_out_is_drawn_at_random_but_the_same_for_the_same_dice() -> None:
    drawn = [held_out(PRIOR, points(), None, 60.0, Random(seed)) for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 2


@pytest.mark.parametrize("errors, done", [([0.04] * 3, True), ([0.04] * 2, False), ([0.04, 0.04, 0.2], False)])
def test_it_is_enough_once_each_kind_was_judged_and_is_known(errors: list[float], done: bool) -> None:
    assert enough({Kind.DECODE: errors}, [Kind.DECODE]) is done
