"""``bench swap`` on a device without pinned memory: every step is there, with its limit; how fast is not for a test."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotbunk.cli import main
from hotbunk.cli.bench.rival import compare, find
from hotbunk.errors import ConfigError
from hotbunk.measure.steps import Limits, Step, break_down, summarise
from hotbunk.placement import Footprint, Placement
from hotbunk.worker.protocol import Loaded, Report, Resumed, Suspended, Unloaded

ROUTER = f"""#!{sys.executable}
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200), self.end_headers(), self.wfile.write(b"{{}}")

    def do_POST(self):
        self.send_response(200), self.end_headers(), self.wfile.write(b"data: {{}}\\n\\ndata: [DONE]\\n\\n")

assert sys.argv[sys.argv.index("--models-max") + 1] == "1"
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""A peer that answers at once."""
BUS = {"size": 100.0, "h2d_pinned": 50.0, "d2h_pinned": 40.0, "h2d_pageable": 10.0, "d2h_pageable": 8.0}
PLACE = Placement(3, 512, 1)


def swap(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hotbunk", "bench", "swap", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


@pytest.fixture(scope="module")
def outcome(kquant: Path, spare_device: str, environment: dict[str, str]) -> dict[str, Any]:
    """What ``--json`` prints of a model against itself."""
    options = "--context 512 --tokens 0 --tokens 20 --residency 1 --residency 0.5 --rounds 1 --threads 1 --json"
    command = [sys.executable, "-m", "hotbunk", "bench", "swap", str(kquant), str(kquant), "--device", spare_device]
    done = subprocess.run([*command, *options.split()], env=environment, capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_measures_all_moves_beside_their_limits(outcome: dict[str, Any]) -> None:
    a, b = "tied-q4_k_m", "tied-q4_k_m-2"
    made = [(each["move"], each["model"], each["other"], each["layers"], each["tokens"]) for each in outcome["swaps"]]
    at = [[("switch", b, a, n, 0), ("switch", a, b, n, 0)] for n in (5, 2)]
    out = [[("preempt", a, other, n, count) for count in (0, 20) for other in ("", b)] for n in (5, 2)]
    sizes = [
        (f"{move} 4 layers (context {how})", a, "", layers, 20)
        for how in ("kept", "made anew")
        for move, layers in (("give up", 1), ("take back", 5))
    ]
    assert made == [*at[0], *out[0], *at[1], *out[1], *sizes]
    for each in outcome["swaps"]:
        assert each["seconds"] > 0
        assert each["limit"] == pytest.approx(sum(step["limit"] or 0 for step in each["steps"]))
        for step in each["steps"]:
            assert (step["limit"] is not None) == (step["size"] > 0 or step["name"].startswith("promote")), step
            if step["limit"]:
                assert step["ratio"] == pytest.approx(step["seconds"] / step["limit"])
    assert outcome["rivals"] == []


def test_tells_the_steps_of_a_preemption(outcome: dict[str, Any]) -> None:
    (found,) = (each for each in outcome["swaps"] if each["other"] and each["layers"] == 5 and each["tokens"])
    names = [step["name"] for step in found["steps"]]
    a, b = found["model"], found["other"]
    order = ["kv_out", f"free {a}", f"promote {b}", f"free {b}", f"promote {a}", "kv_in", "between"]
    assert [name for name in names if name in order] == order
    kv_out, kv_in = (step for step in found["steps"] if step["name"] in ("kv_out", "kv_in"))
    assert kv_out["size"] == kv_in["size"] > 0
    weights = {step["size"] for step in found["steps"] if step["name"].startswith("promote")}
    assert len(weights) == 1
    assert weights.pop() > 1e6


def test_tells_the_truth_of_memory(outcome: dict[str, Any]) -> None:
    assert {each["layers"] for each in outcome["memory"]} == {2, 5}
    for each in outcome["memory"]:
        assert each["reported"] == pytest.approx(each["predicted"], rel=0.03)
    full = [each["predicted"] for each in outcome["memory"] if each["layers"] == 5]
    assert outcome["budget"] == max(full)
    assert outcome["excess"] > 0
    assert "no use for a host store" in outcome["trouble"]
    large, small = outcome["bus"]
    assert large["size"] > small["size"]
    for bus in (large, small):
        assert bus["h2d_pinned"] is bus["d2h_pinned"] is None
        assert bus["h2d_pageable"] > 0
        assert bus["d2h_pageable"] > 0


def test_a_limit_is_bytes_over_the_bandwidth_of_that_direction_and_memory() -> None:
    reports: list[Report] = [
        Suspended(1, 200, 9.0, "pinned"),
        Unloaded("a", 1000, 1.0),
        Loaded("a", PLACE, Footprint(), 500, 15.0, {"demote": 0.0, "promote": 12.0, "context": 3.0}, pinned=True),
        Resumed(1, 200, 30.0, "memory"),
    ]
    steps = break_down(reports, Limits(BUS), share=0.5, whole=60.0)
    assert steps == [
        Step("kv_out", 9.0, 100, 100 / 40),
        Step("free a", 1.0),
        Step("promote a", 12.0, 500, 500 / 50),
        Step("context a", 3.0),
        Step("kv_in", 30.0, 100, 100 / 10),
        Step("between", 5.0),
    ]
    assert steps[2].ratio == 1.2
    slow = Loaded("a", PLACE, Footprint(), 500, 15.0, {"promote": 12.0})
    assert break_down([slow], Limits(BUS), 1.0, 15.0)[0].limit == 500 / 10


def test_medians_are_taken_step_by_step() -> None:
    rounds = [[Step("free", float(n)), Step("promote", 10.0 - n, 5, 1.0), Step("free", 7.0)] for n in (1, 2, 6)]
    assert summarise(rounds) == (Step("free", 2.0), Step("promote", 8.0, 5, 1.0), Step("free", 7.0))


def test_refuses_what_cannot_be_measured(
    kquant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swap(monkeypatch, kquant, kquant, "--context", 1024, "--tokens", 1000) == 1
    assert "--tokens 1000: a context of 1024 has room for 768" in capsys.readouterr().err
    assert swap(monkeypatch, kquant, kquant, "--device", "absent") == 1
    assert "no device 'absent' here" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="the only peer is llama-server"):
        find("ollama")
    with pytest.raises(ConfigError, match="no such program"):
        find(f"llama-server={tmp_path}/absent")


def test_asks_hotbunk_and_its_peer_for_the_other_model(kquant: Path, spare_device: str, tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(ROUTER)
    program.chmod(0o755)
    models = {"one": kquant, "two": kquant}
    rivals = compare(models, find(f"llama-server={program}"), spare_device, 40 << 20, 512, 1, 1, rounds=1)
    assert [rival.model for rival in rivals] == ["one", "two"]
    for rival in rivals:
        assert rival.hotbunk > 0
        assert rival.ratio == pytest.approx(rival.router / rival.hotbunk)
