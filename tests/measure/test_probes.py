"""Points measured on a real worker: each says truly what was done; how long it took is not for a test."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hotbunk.costs.dissect import dissect
from hotbunk.costs.model import Costs, errors
from hotbunk.costs.record import Kind, Record
from hotbunk.errors import EngineError
from hotbunk.llama.gguf import read
from hotbunk.measure.machine import machine, roofline
from hotbunk.measure.probes import LOADS, Probes, timing
from hotbunk.measure.wire import Outrun, Wire, worker
from hotbunk.study.shapes import SHAPES
from hotbunk.study.write import write
from hotbunk.worker.protocol import Resume, Resumed, Suspend, Suspended


@pytest.fixture(scope="module", params=["cpu", "rpc"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    device = "cpu" if request.param == "cpu" else str(request.getfixturevalue("spare_device"))
    with worker(device, 1) as wire:
        yield wire


@pytest.fixture(scope="module")
def probes(wire: Wire, smollm2: Path) -> Probes:
    return Probes(wire, "small", read(smollm2))


def kinds(records: list[Record]) -> list[Kind]:
    return [record.kind for record in records]


def test_moves_tell_their_bytes_and_pieces(probes: Probes, smollm2: Path) -> None:
    probes.leave()
    half, full = probes.place(15, 512, 2), probes.place(31, 512, 2)
    came = probes.stand(half)
    assert kinds(came) == [Kind.LOAD, Kind.CONTEXT]
    assert came[0].pieces == 15 and 0 < came[0].moved <= half.device.weights
    more, less = probes.stand(full), probes.stand(half)
    assert more[0].kind is Kind.LOAD and more[0].pieces == 16
    assert less[0].kind is Kind.UNLOAD and less[0].pieces == 16
    assert probes.stand(half) == []
    again, *_ = probes.stand(full, 2)
    assert (again.kind, again.pieces, again.repeats) == (Kind.LOAD, 16, 2)
    anew = Kind.CONTEXT in kinds(more)  # a CPU's layers come and go without
    assert (came[0].freed, more[0].freed, again.freed) == (0, 0, half.device.kv if anew else 0)
    assert (more[0].anew, again.anew) == (anew, anew)
    probes.stand(half)
    [left] = probes.leave()
    # the layers' memory is kept, as a server keeps it
    assert left.kind is Kind.UNLOAD and left.moved > 0 and left.pieces == 0
    assert probes.leave() == []
    after, *_ = probes.stand(half)
    assert after.freed in (0, half.device.total)  # 0 where a shell was opened
    gone, later, *_ = probes.reload(half)
    assert (gone.kind, later.repeats, later.freed) == (Kind.UNLOAD, LOADS, half.device.total)
    probes.leave()
    whole = sum(record.moved for record in (came[0], more[0]))
    assert whole == pytest.approx(read(smollm2).weights, rel=0.01)


def test_steps_of_several_sequences_and_prompts(probes: Probes) -> None:
    probes.stand(probes.place(31, 256, 3))
    records = probes.decode(3, 160)
    assert kinds(records) == [Kind.PREFILL] * 3 + [Kind.DECODE] * 2
    assert [each.sequences for each in records[:3]] == [1, 2, 3]  # the later ones beside those that decode
    assert [record.sequences for record in records[3:]] == [3, 1]
    [start] = {record.tokens for record in records[:3]}
    assert start < records[3].tokens < records[4].tokens <= 256
    thrice = probes.decode(2, 160, rounds=3)
    assert kinds(thrice) == [Kind.PREFILL] * 6 + [Kind.DECODE] * 2
    assert [(record.sequences, record.repeats) for record in thrice[6:]] == [(2, 3), (1, 3)]
    prompt = probes.prefill(100)
    assert (prompt.kind, prompt.tokens) == (Kind.PREFILL, 100)
    assert all(record.seconds > 0 for record in [*records, prompt])


def test_fast_steps_are_timed_for_a_moment_and_slow_ones_a_few_times() -> None:
    steps = [1.2**power / 1e4 for power in range(60)]  # to seconds
    lasting = [timing(step) for step in steps]
    assert lasting == sorted(lasting)
    assert all(3 * step <= seconds <= max(1.0, 6 * step) for step, seconds in zip(steps, lasting, strict=True))
    assert [timing(step) for step in (0.008, 0.016)] == pytest.approx([0.25, 0.25], rel=0.2)


def test_states_go_out_and_come_back(probes: Probes) -> None:
    probes.stand(probes.place(31, 256, 3))
    out, back = probes.carry(100)
    assert (out.kind, back.kind) == (Kind.KV_OUT, Kind.KV_IN)
    assert out.moved == back.moved > 100 * 30 * 192 * 2 * 2 * 0.9
    assert out.repeats > 1


def test_a_sequence_that_outran_this_process_is_told(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "tiny.gguf", SHAPES["1b"].scaled(0.1).cut(2))
    probes = Probes(wire, "tiny", read(tmp_path / "tiny.gguf"))
    probes.stand(probes.place(3, 256, 3))
    with monkeypatch.context() as patch, pytest.raises(Outrun, match="filled its context"):
        patch.setattr(wire, "cancel", wire.finish)  # too late for it: they have all filled theirs
        probes.decode(3, 160)
    number = wire.start("tiny", [100, 200, 300], 4)
    wire.finish(number)
    with pytest.raises(Outrun, match=f"sequence {number} filled its context"):
        wire.move(Suspend(number))
    assert kinds(probes.decode(1, 160)) == [Kind.PREFILL, Kind.DECODE]
    probes.leave()


def test_a_model_of_few_tokens_is_measured(wire: Wire, tmp_path: Path) -> None:
    path = tmp_path / "few.gguf"
    write(path, replace(SHAPES["1b"].scaled(0.1).cut(2), vocabulary=300))
    probes = Probes(wire, "few", read(path))
    probes.stand(probes.place(3, 256, 2))
    assert kinds(probes.decode(2, 100))[-2:] == [Kind.DECODE] * 2
    assert kinds([probes.prefill(50), *probes.carry(50)]) == [Kind.PREFILL, Kind.KV_OUT, Kind.KV_IN]
    probes.leave()


def test_what_does_not_fit_is_said(probes: Probes) -> None:
    probes.stand(probes.place(31, 256, 3))
    with pytest.raises(EngineError, match="3 slots of 256 tokens, which is too little for 1 of 1001"):
        probes.prefill(1000)
    with pytest.raises(EngineError, match="too little for 5 of"):
        probes.decode(5, 10)
    probes.leave()
    with pytest.raises(EngineError, match="no place on the device"):
        probes.decode(1, 10)


def test_points_and_roofline_make_costs(probes: Probes, wire: Wire, smollm2: Path) -> None:
    """From end to end: a machine's roofline, a model's points, a fit that explains them better than the prior does."""
    rates = roofline("cpu", 1, quick=True)
    assert rates.quick
    assert min(*rates.host.read.values(), *rates.host.multiply.values(), rates.host.launch) > 0
    anatomy = dissect(read(smollm2), "small")
    probes.stand(probes.place(31, 256, 2))
    records = probes.decode(2, 60)
    fitted = Costs.fitted(anatomy, rates, records)
    assert fitted.fits[Kind.DECODE].count == 2
    assert errors(fitted, records)[Kind.DECODE] <= errors(Costs.prior(anatomy, rates), records)[Kind.DECODE]
    here = machine(wire.hello)
    assert here.threads == 1 and here.cores >= 1 and here.libllama


def test_a_device_that_is_not_there_is_said_in_a_sentence() -> None:
    with pytest.raises(EngineError, match=r"the speed of CUDA9 could not be measured: .*CUDA9"):
        roofline("CUDA9", 1)


def test_an_ordinary_load_gives_the_same_answer_across_a_preemption(own_rpc_device: str, smollm2: Path) -> None:
    def answers(*options: str) -> list[list[int]]:
        """Without and with an interruption."""
        with worker(own_rpc_device, 1, *options) as wire:
            probes, found = Probes(wire, "small", read(smollm2)), []
            assert wire.hello.moves is not bool(options)
            for interrupted in (False, True):
                probes.stand(probes.place(31, 256, 1))
                number = wire.start("small", [100, 200, 300], 12)
                wire.tokens(number, 1)
                if interrupted:
                    wire.ask(Suspend(number), Suspended)
                    probes.leave()
                    [load, *_] = probes.stand(probes.place(31, 256, 1))
                    assert load.moved > 0.9 * read(smollm2).weights
                    wire.ask(Resume(number), Resumed)
                wire.finish(number)
                found.append([token.token for token in wire.produced[number]])
        return found

    whole, broken = answers("--ordinary")
    assert whole == broken == answers()[0]
