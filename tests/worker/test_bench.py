"""The benchmark runs both sides; how fast they are is not for a test to say."""

from pathlib import Path

from hotbunk.cli.bench.decode import measure


def test_measures_both_sides(smollm2: Path) -> None:
    rows = measure(smollm2, [1, 2], rounds=1, tokens=8, threads=1, device="cpu")
    assert [row.streams for row in rows] == [1, 2]
    for row in rows:
        assert row.bare > 0
        assert row.worker > 0
        assert abs(row.ratio - row.worker / row.bare) < 1e-9
    assert [row.aim for row in rows] == [0.95, None]
