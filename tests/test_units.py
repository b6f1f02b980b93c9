"""Sizes and durations, in and out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.units import brief_count, brief_size, exact_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("6GiB", 6 << 30), ("500MB", 500_000_000), ("1.5 kib", 1536), ("4096", 4096), ("0", 0), ("3tb", 3 * 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "6G", "six", "-1", "1e9", "6 GiB free", "GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 6GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400), ("3", 3), ("0.25", 0.25)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2 days", "2S", "-1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 2s"):
        parse_duration(text)


@given(st.integers(0, 1 << 50) | st.integers(0, 1 << 12).map(lambda n: n << 30))
def test_exact_sizes_come_back(size: int) -> None:
    assert parse_size(str(exact_size(size))) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (96_576_768, "92.1 MiB"),
        (6 << 30, "6 GiB"),
        (5 << 50, "5,120 TiB"),
    ],
)
def test_brief_sizes(size: int, text: str) -> None:
    assert brief_size(size) == text


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (134_515_008, "135M"), (8_030_000_000, "8.03B"), (10**12, "1T")])
def test_brief_counts(count: int, text: str) -> None:
    assert brief_count(count) == text
