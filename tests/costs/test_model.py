"""What a model costs: by the roofline sensible, from measurements right, and never the wrong way round."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.anatomy import Anatomy, Layer
from hotbunk.costs.linear import Fit
from hotbunk.costs.model import Costs, errors
from hotbunk.costs.record import Kind, Record
from hotbunk.costs.roofline import STREAMED, Roofline, Side
from hotbunk.costs.steps import CHUNK
from hotbunk.llama import context, roofline
from hotbunk.placement import Footprint, Placement

GPU = Side({"F16": 2.75e12, "Q4_K": 2.0e12}, {"F16": 3e14, "Q4_K": 2e14}, 5e12, 2e-6, 30e-6)
CPU = Side({"F16": 8e10, "Q4_K": 6e10}, {"F16": 1.2e12, "Q4_K": 1e12}, 1e10, 1e-6, 20e-6)
MACHINE = Roofline(GPU, CPU, 54e9, 54e9, 7e9, 10e9, 40e9, True)


def llama(blocks: int, width: int, ffn: int, heads: int, kv: int, head: int, vocabulary: int) -> Anatomy:
    """A dense model in F16."""
    elements = 2 * width * heads * head + 2 * width * kv * head + 3 * width * ffn
    block = Layer({"F16": 2 * elements}, {}, elements, 0, 4 * kv * head, 2 * heads * head)
    output = Layer({"F16": 2 * width * vocabulary}, {}, width * vocabulary, 0)
    return Anatomy("llama", (*[block] * blocks, output))


LARGE = llama(36, 4096, 12288, 32, 8, 128, 151936)
SMALL = llama(36, 2048, 11008, 16, 2, 128, 151936)


def place(anatomy: Anatomy, layers: int, context: int = 8192, slots: int = 1) -> Placement:
    total = len(anatomy.layers)
    weights = sum(sum(layer.dense.values()) for layer in anatomy.layers[total - layers :])
    kv = [layer.row * context * slots for layer in anatomy.layers]
    device, host = sum(kv[total - layers :]), sum(kv[: total - layers])
    return Placement(layers, context, slots, Footprint(weights, device), Footprint(0, host))


@pytest.mark.parametrize(
    "anatomy, layers, speed",  # tokens/s of an H100: docs/measurements/probes-h100.txt
    [(LARGE, 37, 158.9), (LARGE, 30, 25.0), (LARGE, 20, 12.7), (SMALL, 37, 295), (SMALL, 30, 52.3)],
)
def test_the_roofline_alone_is_of_use(anatomy: Anatomy, layers: int, speed: float) -> None:
    costs = Costs.prior(anatomy, MACHINE)
    assert 1 / costs.decode(place(anatomy, layers), [64]).seconds == pytest.approx(speed, rel=0.3)


def test_attention_on_the_host_is_as_fast_as_its_cores_multiply() -> None:
    costs, half = Costs.prior(LARGE, MACHINE), place(LARGE, 19)
    more = costs.decode(half, [4096] * 4).seconds - costs.decode(half, [256] * 4).seconds
    assert more == pytest.approx(4 * (4096 - 256) * 18 * 2 * 32 * 128 / CPU.attend, rel=0.1)


def test_moves_take_their_bytes_over_the_bus() -> None:
    costs, full = Costs.prior(LARGE, MACHINE), place(LARGE, 37)
    assert costs.promote(full).seconds == pytest.approx(full.device.weights / 54e9, rel=0.2)
    assert costs.load(full, pinned=False).seconds > 5 * costs.load(full).seconds
    less = place(LARGE, 31)
    back = costs.promote(full, before=less).seconds
    assert 1 <= back / ((full.device.weights - less.device.weights) / 54e9) < 2
    assert costs.promote(less, before=full).seconds < back
    assert costs.state(6000) == 6000 * 36 * 4096
    assert costs.kv_out(full, 6000).seconds == pytest.approx(costs.state(6000) / 54e9, rel=0.2)


def test_a_promotion_waits_for_a_context_that_is_made_on_the_device_meanwhile() -> None:
    costs, full = Costs.prior(LARGE, MACHINE), place(LARGE, 37)
    longer = replace(full, device=replace(full.device, kv=4 * full.device.kv))
    more = costs.promote(longer).seconds - costs.promote(full).seconds
    # for the whole of it, however little is left to copy by then
    assert costs.promote(longer, before=place(LARGE, 35)).seconds > more


@pytest.mark.parametrize("layers", [37, 36])
def test_copies_that_are_over_before_a_context_takes_memory_do_not_wait_for_it(layers: int) -> None:
    costs, here = Costs.prior(LARGE, replace(MACHINE, pin=4e9)), place(LARGE, layers, slots=8)
    begun = 0.005 + here.host.kv / 4e9  # seconds: the host's part of the KV cache comes first

    def waits(share: float) -> float:
        load = Record(Kind.LOAD, here, 0.0, moved=round(share * begun * 54e9), pieces=1)
        return costs.estimate(load).seconds - costs.estimate(replace(load, anew=False)).seconds

    assert waits(0.9) == 0
    assert waits(1.1) == pytest.approx(waits(9)) and waits(9) > 0


def test_copies_wait_while_room_for_the_logits_of_all_slots_is_pinned() -> None:
    spoken = replace(LARGE, vocabulary=151936)

    def wait(slots: int) -> float:
        here = place(spoken, 37, slots=slots)
        load = Record(Kind.LOAD, here, 0.0, moved=50_000_000, pieces=1)  # over before the KV cache's memory is taken
        costs = Costs.prior(spoken, MACHINE)
        return costs.estimate(load).seconds - costs.estimate(replace(load, anew=False)).seconds

    assert wait(32) == pytest.approx(4 * wait(8)) and wait(8) > 0


def test_a_step_costs_what_the_tile_of_its_own_token_does() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    first, second = ({costs.decode(place(LARGE, 37), [c]).seconds for c in some} for some in ((1, 255), (256, 511)))
    assert (len(first), len(second)) == (1, 1)
    assert max(first) < min(second)


def test_a_device_takes_as_long_for_three_as_for_four_and_a_host_does_not() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    slow = replace(costs, fits={**costs.fits, Kind.DECODE: factors(costs, device4=2.0, host4=2.0)})

    def steps(layers: int) -> list[float]:
        return [slow.decode(place(LARGE, layers, slots=4), [64] * count).seconds for count in (2, 3, 4)]

    two, three, four = steps(37)
    assert three == pytest.approx(four, rel=0.1) and three > 1.5 * two
    two, three, four = steps(0)
    assert three == pytest.approx((two + four) / 2, rel=0.01)


def factors(costs: Costs, **changed: float) -> Fit:
    """The prior of decoding with other factors for some batches."""
    prior = costs.fits[Kind.DECODE]
    names = {f"{name[:-1]}@{name[-1]}": value for name, value in changed.items()}
    return replace(
        prior, factors=tuple(names.get(name, was) for name, was in zip(prior.names, prior.factors, strict=True))
    )


def test_a_large_batch_carries_the_hosts_share_of_the_cache_over_the_bus() -> None:
    costs = Costs.prior(LARGE, MACHINE)

    def carried(context: int) -> float:
        split, whole = (costs.decode(place(LARGE, n, context, 32), [64] * 32).seconds for n in (36, 37))
        return split - whole

    # all cells of the host's one layer, from the first slot to the last
    assert carried(4096) - carried(2048) == pytest.approx(31 * 2048 * 4096 / 7e9, rel=0.01)


def test_libllamas_own_figures_are_the_same_here_and_where_it_is_called() -> None:
    assert (CHUNK, STREAMED, STREAMED) == (context._CHUNK, context.OFFLOADED, roofline._STREAMED)


STANDS = Placement(20, 8192, 1)


@pytest.mark.parametrize(
    ("before", "stays"),
    [
        (STANDS, True),
        (Placement(20, 8192, 1, experts=3), True),
        (Placement(37, 8192, 1, cached=20), True),
        (Placement(37, 8192, 1), False),
        (Placement(20, 8192, 2), False),
    ],
)
def test_only_contexts_that_change_are_made_anew(before: Placement, stays: bool) -> None:
    costs = Costs.prior(LARGE, MACHINE)
    moved = costs.promote(STANDS, before, pinned=False).seconds
    made = 0.0 if stays else costs.context(STANDS).seconds
    assert costs.load(STANDS, before, pinned=False).seconds == pytest.approx(moved + made)


def test_a_resize_gives_back_before_the_context_is_made_and_copies_beside_it() -> None:
    costs, less, more = Costs.prior(LARGE, MACHINE), place(LARGE, 20), place(LARGE, 37)
    shrunk, grown = costs.load(less, more), costs.load(more, less)
    assert shrunk.seconds == pytest.approx(costs.promote(less, more).seconds + costs.context(less).seconds)
    begun = costs.calls(more, less).seconds + costs.context(more).seconds
    assert grown.seconds == pytest.approx(max(costs.promote(more, less).seconds, begun))
    little = costs.load(place(LARGE, 21), less).seconds  # one layer is there long before its context
    assert little == pytest.approx(
        costs.calls(place(LARGE, 21), less).seconds + costs.context(place(LARGE, 21)).seconds
    )


def test_of_a_mixture_the_active_experts_count() -> None:
    block = Layer({"Q4_K": 10 << 20}, {"Q4_K": 640 << 20}, 20 << 20, 1 << 30, 2048, 8192)
    mixture = Anatomy("mixture", (*[block] * 8, Layer({"Q4_K": 100 << 20}, {}, 200 << 20, 0)), experts=64, active=4)
    dense = replace(mixture, experts=0, active=0)
    one, all_of_it = (Costs.prior(each, MACHINE).decode(place(each, 9), [64]).seconds for each in (mixture, dense))
    assert one < 0.4 * all_of_it
    many = Costs.prior(mixture, MACHINE).decode(place(mixture, 9), [64] * 32).seconds
    assert many > 3 * one  # other sequences pick other experts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 36), st.integers(1, 40), st.integers(1, 8000), st.integers(1, 6000))
def test_more_work_never_takes_less(layers: int, sequences: int, tokens: int, prompt: int) -> None:
    costs, here = Costs.prior(LARGE, MACHINE), place(LARGE, layers)
    more = place(LARGE, layers + 1)
    for estimate in (costs.decode(here, [tokens] * sequences), costs.prefill(here, prompt), costs.load(here)):
        assert 0 < estimate.low <= estimate.seconds <= estimate.high
    step = costs.decode(here, [tokens] * sequences).seconds
    assert step <= costs.decode(here, [tokens + 300] * sequences).seconds
    assert costs.prefill(here, prompt).seconds < costs.prefill(here, prompt + 512).seconds
    assert costs.promote(here).seconds < costs.promote(more).seconds
    if layers:  # from nothing on the device to something there is a crossing more
        assert costs.decode(more, [tokens]).seconds < costs.decode(here, [tokens]).seconds * 1.001


def test_a_chunk_between_decode_steps_is_planned_anew() -> None:
    costs, here = Costs.prior(LARGE, MACHINE), place(LARGE, 37)
    alone, beside = (costs.chunk(here, 512, 512, others).seconds for others in (0, 3))
    assert beside > alone


def test_of_a_promotion_the_bus_does_the_most() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    for layers in (1, 37):
        here = place(LARGE, layers)
        assert 0 < costs.calls(here).seconds < costs.promote(here).seconds
    more, less = place(LARGE, 37), place(LARGE, 20)
    assert costs.calls(less, more).seconds == costs.promote(less, more).seconds  # nothing comes


def test_copies_wait_for_memory_given_back_and_for_that_of_a_context_made_meanwhile() -> None:
    costs, less, more = Costs.prior(LARGE, MACHINE), place(LARGE, 20), place(LARGE, 37)
    copied = Record(Kind.LOAD, more, 0.0, moved=more.device.weights - less.device.weights, pieces=17)
    made = costs.estimate(copied).seconds
    alone = costs.estimate(replace(copied, anew=False)).seconds
    assert costs.promote(more, less).seconds > made > alone
    less, more = replace(less, cached=37), replace(more, cached=37)  # the context stays
    assert costs.promote(more, less).seconds == alone


def test_a_batch_takes_longer_the_larger_it_is_as_long_as_the_same_side_does_it() -> None:
    costs, here = Costs.prior(LARGE, MACHINE), place(LARGE, 30)
    steps = [costs.decode(here, [500] * count).seconds for count in range(1, 32)]
    assert all(one <= other for one, other in pairwise(steps))


def invented(seed: int, count: int, noise: float) -> list[Record]:
    """Measurements of a machine that differs from its roofline, term by term."""
    random = np.random.default_rng(seed)
    costs = Costs.prior(LARGE, MACHINE)
    factors = {kind: np.random.default_rng(1).uniform(0.7, 2.0, len(fit.names)) for kind, fit in costs.fits.items()}
    records = []
    for _ in range(count):
        here = place(LARGE, int(random.choice([0, 10, 20, 30, 34, 37])))
        tokens, sequences = int(random.integers(1, 8000)), int(random.choice([1, 2, 3, 6, 12, 24, 32]))
        asked = [
            Record(Kind.DECODE, here, 1.0, sequences, tokens),
            Record(Kind.PREFILL, here, 1.0, tokens=tokens),
            Record(Kind.LOAD, here, 1.0, moved=here.device.weights, pieces=here.layers),
            Record(Kind.KV_OUT, here, 1.0, tokens=tokens, moved=costs.state(tokens)),
        ]
        for record in asked:
            seconds = float(costs.row(record) @ factors[record.kind] * np.exp(noise * random.standard_normal()))
            records.append(replace(record, seconds=seconds))
    return records


def test_fitted_to_measurements_it_foretells_others() -> None:
    costs = Costs.fitted(LARGE, MACHINE, invented(0, 40, 0.02))
    found = errors(costs, invented(1, 100, 0.0))
    assert found[Kind.DECODE] < 0.05
    assert all(error < 0.1 for error in found.values())
    assert errors(Costs.prior(LARGE, MACHINE), invented(1, 100, 0.0))[Kind.DECODE] > 0.1


def test_what_is_held_out_is_not_used() -> None:
    held = [replace(record, check=True) for record in invented(0, 10, 0.02)]
    assert Costs.fitted(LARGE, MACHINE, held).fits == Costs.prior(LARGE, MACHINE).fits


def test_measuring_makes_it_surer() -> None:
    prior, fitted = Costs.prior(LARGE, MACHINE), Costs.fitted(LARGE, MACHINE, invented(0, 20, 0.02))
    point = Record(Kind.DECODE, place(LARGE, 25), 0.0, 4, 3000)
    assert fitted.deviation(point) < prior.deviation(point) / 3
    assert len(fitted.parameters()) == sum(len(fit.names) for fit in fitted.fits.values())
