"""What a placement is foretold to cost is what it costs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotbunk.costs.dissect import dissect
from hotbunk.costs.price import price
from hotbunk.errors import EngineError
from hotbunk.llama.device import open_device
from hotbunk.llama.gguf import read
from hotbunk.llama.lib import captured
from hotbunk.llama.model import Model

from .answers import greedy


@pytest.mark.parametrize(("context", "slots"), [(512, 1), (700, 4)])
def test_foretold_bytes_are_the_reported_ones(path: Path, spec: str, context: int, slots: int) -> None:
    model = Model(path, open_device(spec), 1)
    for layers in (0, 1, model.layers // 2, model.layers):
        foretold = model.predict(layers, context, slots)
        model.promote(layers)
        made = model.context(context, slots)
        assert (foretold.layers, foretold.context, foretold.slots) == (layers, context, slots)
        assert foretold.device.weights == model.device_weights
        assert (foretold.device.kv, foretold.device.compute) == (made.device.kv, made.device.compute)
        assert foretold.host == made.host
        made.close()
    model.close()


def test_bytes_by_formula_are_those_of_a_dry_load(path: Path, rpc_device: str) -> None:
    model, anatomy = Model(path, open_device(rpc_device), 1), dissect(read(path))
    for layers in (0, 1, model.layers // 2, model.layers):
        for context, slots in ((512, 2), (2048, 1)):
            dry, made = model.predict(layers, context, slots), price(anatomy, layers, context, slots)
            assert (made.device.kv, made.host.kv) == (dry.device.kv, dry.host.kv)
            assert 0 <= dry.device.weights - made.device.weights <= 128 * layers  # tensors are aligned
    model.close()


def test_evaluation_takes_no_more_than_was_reserved(path: Path, spec: str) -> None:
    model = Model(path, open_device(spec), 1)
    model.promote(model.layers // 2)
    context = model.context(320, 3)
    greedy(context)
    context.prefill(1, 0, list(range(300, 300 + context.chunk)), output=False)
    context.prefill(2, 0, [1, 2, 3], output=True)
    context.decode([(9, len([1, 2, 3]), 2), (9, context.chunk, 1)])
    with captured() as lines:
        context.close()
    assert not [line for line in lines if "does not match expectation" in line]
    model.close()


def test_everything_on_the_cpu_counts(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    placement = model.predict(0, 512, 2)
    assert placement.device.weights == 0
    assert placement.device.kv > 0
    assert placement.device.compute > 0
    assert placement.host.total == 0
    model.close()


@pytest.fixture(scope="module")
def priced(kquant: Path, rpc_device: str) -> Model:
    return Model(kquant, open_device(rpc_device), 1)


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 1.2))
def test_fit_is_the_largest_residency_within_the_budget(priced: Model, share: float) -> None:
    prices = [priced.predict(layers, 512, 2).device.total for layers in range(priced.layers + 1)]
    budget = int(share * prices[-1])
    fit = priced.fit(budget, 512, 2)
    assert fit is not None  # without layers it takes nothing of this device
    assert prices[fit.layers] <= budget
    assert all(price > budget for price in prices[fit.layers + 1 :])


def test_nothing_fits_too_small_a_budget(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    least = model.predict(0, 512, 2).device.total
    assert model.fit(least - 1, 512, 2) is None
    fit = model.fit(least, 512, 2)
    assert fit is not None
    assert fit.layers == 0
    model.close()


def test_an_impossible_context_is_refused(kquant: Path) -> None:
    model = Model(kquant, open_device("cpu"), 1)
    with pytest.raises(EngineError, match="cannot make a context of 1000 slots"):
        model.context(256, 1000)
    model.close()
