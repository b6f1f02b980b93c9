"""Fitted factors as bandwidths and times."""

from dataclasses import replace

from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind
from hotbunk.profile.units import meant
from tests.costs.test_model import LARGE, MACHINE


def told(costs: Costs, kind: Kind) -> dict[str, str]:
    return {p.term.name: meant(costs, p) for p in costs.parameters() if p.kind is kind}


def test_every_term_means_something() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    silent = [parameter.term.name for parameter in costs.parameters() if not meant(costs, parameter)]
    assert silent == []
    decode, load = told(costs, Kind.DECODE), told(costs, Kind.LOAD)
    assert (decode["device@1"], decode["host@1"]) == ("2,750 GB/s", "80 GB/s")
    assert (load["pinned"], load["pageable"]) == ("54 GB/s", "7 GB/s")
    assert told(costs, Kind.PREFILL)["multiply_device"] == "300,000 G/s"
    assert told(costs, Kind.KV_OUT)["host"] == "7 GB/s"


def test_a_factor_of_two_is_half_the_bandwidth() -> None:
    costs = Costs.prior(LARGE, MACHINE)
    [pinned] = [p for p in costs.parameters() if (p.kind, p.term.name) == (Kind.LOAD, "pinned")]
    assert meant(costs, replace(pinned, factor=2.0)) == "27 GB/s"


def test_what_the_machine_has_not_is_left_empty() -> None:
    costs = Costs.prior(LARGE, replace(MACHINE, h2d_pinned=None, d2h_pinned=None))
    assert told(costs, Kind.LOAD)["pinned"] == ""
