"""Fitted factors as bandwidths and times."""

from dataclasses import asdict, replace

import pytest

from hotbunk.costs.fingerprint import Machine
from hotbunk.costs.model import Costs
from hotbunk.costs.record import Kind, Record
from hotbunk.profile.rows import machine, parameters
from hotbunk.profile.units import Quantity, meant
from tests.costs.test_model import LARGE, MACHINE, place


def told(costs: Costs, kind: Kind) -> dict[str, str]:
    return {p.term.name: str(meant(costs, p) or "") for p in costs.parameters() if p.kind is kind}


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
    assert meant(costs, replace(pinned, factor=2.0)) == Quantity(27e9, "B/s")


def test_what_the_machine_has_not_is_left_empty() -> None:
    costs = Costs.prior(LARGE, replace(MACHINE, h2d_pinned=None, d2h_pinned=None, pin=None, streams=False))
    load = told(costs, Kind.LOAD)
    assert load["pinned"] == load["beside"] == told(costs, Kind.PIN)["pin"] == ""
    assert told(costs, Kind.DECODE)["stream"] == told(costs, Kind.PREFILL)["stream"] == ""
    assert load["pageable"] and told(costs, Kind.DECODE)["host@32"]


def test_a_context_on_the_host_is_pinned_where_it_can_be() -> None:
    assert told(Costs.prior(LARGE, MACHINE), Kind.CONTEXT)["kv_host"] == "40 GB/s"
    assert told(Costs.prior(LARGE, replace(MACHINE, pin=None)), Kind.CONTEXT)["kv_host"] == "80 GB/s"


def test_rows_say_units_and_what_no_measurement_tells_of() -> None:
    line = replace(MACHINE, streams=False)
    point = Record(Kind.DECODE, place(LARGE, 37), 0.01, tokens=100)
    fitted = Costs.fitted(LARGE, line, [point, replace(point, seconds=0.011)])
    rows = {(row["kind"], row["term"]): row for row in parameters(fitted)}
    assert {key for key, row in rows.items() if row["measured"]} >= {("decode", "device@1")}
    assert not any(rows[key]["measured"] for key in rows if key[0] != "decode" or key[1].startswith("host"))
    device = rows["decode", "device@1"]
    assert (device["unit"], device["value"]) == ("B/s", pytest.approx(2.75e12 / device["factor"]))
    assert rows["decode", "step"]["unit"] == "s"
    assert (rows["decode", "stream"]["value"], rows["decode", "stream"]["unit"]) == (None, None)


def test_a_machines_row_has_its_rates_with_units() -> None:
    here = Machine("GPU", "580.1", "Xeon", 16, 15, "0.3.36")
    row = machine(here, MACHINE)
    assert {name: row[name] for name in ("device", "driver", "cpu", "cores", "threads", "libllama")} == asdict(here)
    assert (row["h2d_pinned_bytes_per_s"], row["pin_bytes_per_s"], row["quick"]) == (54e9, 40e9, False)
    assert row["device_read_Q4_K_bytes_per_s"] == 2e12 and row["host_attend_multiplications_per_s"] == 1e10
    assert row["host_overhead_s"] == 20e-6
    assert machine(here, None).keys() < row.keys()
