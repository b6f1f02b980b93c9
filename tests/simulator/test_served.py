"""What the policy that prices makes of cases on which it once did badly."""

from hotbunk.costs.dissect import dissect
from hotbunk.costs.rates import Promise
from hotbunk.outcomes.metrics import summarise
from hotbunk.outcomes.slo import Slo, Slos
from hotbunk.simulator import profile
from hotbunk.simulator.contest import Setting
from hotbunk.study.described import described
from hotbunk.study.shapes import SHAPES
from hotbunk.traces import Request, Trace
from hotbunk.traces.arrivals import Arrivals
from hotbunk.traces.draw import LogNormal, Popularity, Recipe, draw

GIB = 1 << 30
ANATOMIES = {
    shape: dissect(described(SHAPES[shape], "Q4_K_M"), shape) for shape in ("qwen3-8b", "qwen3-32b", "qwen3-30b-a3b")
}


def test_two_do_not_take_turns_in_one_slot_from_step_to_step() -> None:
    habit = [Request(0.5 * n, "m", 200, 20) for n in range(100)]  # short answers, from which others are foretold
    trace = Trace.of("twelve at once", [*habit, *(Request(60 + 0.05 * n, "m", 200, 600) for n in range(12))])
    promises = {"m": Promise(10.0, 0.1)}
    setting = Setting(profile.read("h100"), {"m": ANATOMIES["qwen3-32b"]}, 40 * GIB, promises=promises)
    assert setting.run("priced", trace).outcomes.preemptions.sum() < 50


def test_a_looser_promise_is_not_served_worse() -> None:
    models = {
        "a": ANATOMIES["qwen3-8b"],
        "b": ANATOMIES["qwen3-30b-a3b"],
    }  # nearly fit together, where a switch is dear
    lengths = LogNormal(500, 1.0, 8192), LogNormal(150, 0.8, 2048)
    trace = draw(Recipe(Arrivals(0.37), Popularity(tuple(models), 0.5), lengths, requests=300), seed=8)

    def attained(ttft: float, tpot: float) -> float:
        promises = dict.fromkeys(models, Promise(ttft, tpot))
        setting = Setting(profile.read("a6000"), models, 22 * GIB, promises=promises)
        return summarise(setting.run("priced+restart", trace), Slos(Slo(ttft, tpot))).all.attainment

    assert attained(5.0, 0.2) >= attained(2.0, 0.1)
