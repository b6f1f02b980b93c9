"""Detokenisation and stop strings: how a text is split never shows."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotbunk.gateway.text import Stops, Writer
from hotbunk.worker.protocol import Token

SMALL = st.text(alphabet="abß🏠", max_size=24)
STOPS = st.lists(st.text(alphabet="abß🏠", min_size=1, max_size=4), max_size=3)


def _write(pieces: Sequence[bytes], stops: Sequence[str] = (), group: int = 1) -> tuple[list[str], Writer]:
    writer = Writer(lambda token: pieces[token], stops)
    tokens = [Token(0, index) for index in range(len(pieces))]
    texts = [writer.feed(tokens[at : at + group]).text for at in range(0, len(tokens), group)]
    return [*texts, writer.close().text], writer


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def _cut(text: str, stops: Sequence[str]) -> str:
    """What the answer should be: cut before the stop string that is complete first, the longest of several."""
    for end in range(len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


@given(st.binary(max_size=40) | SMALL.map(str.encode), st.lists(st.integers(0, 99), max_size=10), st.integers(1, 3))
def test_any_split_of_any_bytes_gives_the_same_text(data: bytes, cuts: list[int], group: int) -> None:
    texts, _ = _write(_split(data, cuts), group=group)
    assert "".join(texts) == data.decode(errors="replace")


@given(SMALL, STOPS, st.lists(st.integers(0, 99), max_size=20), st.integers(1, 3))
def test_any_split_is_cut_at_the_same_stop(text: str, stops: list[str], cuts: list[int], group: int) -> None:
    texts, writer = _write(_split(text.encode(), cuts), stops, group)
    assert "".join(texts) == _cut(text, stops)
    assert writer.stopped == (any(stop in text for stop in stops))


@given(SMALL, STOPS, st.lists(st.integers(0, 99), max_size=20))
def test_nothing_is_held_back_that_cannot_be_part_of_a_stop(text: str, stops: list[str], cuts: list[int]) -> None:
    watch, seen, written = Stops(stops), "", ""
    for part in (piece.decode(errors="ignore") for piece in _split(text.encode(), cuts)):
        seen += part
        written += watch.feed(part)
        if any(stop in seen for stop in stops):
            return
        held = seen[len(written) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_incomplete_characters_wait_and_invalid_ones_are_replaced_at_the_end() -> None:
    texts, _ = _write([b"a\xf0\x9f", b"\x8f", b"\xa0b", b"\xe2\x82"])
    assert texts == ["a", "", "🏠b", "", "\ufffd"]


def test_stop_across_tokens_holds_back_its_beginning() -> None:
    texts, writer = _write([b"one ", b"<", b"en", b"tity> <e", b"nd> more"], ["<end>"])
    assert texts == ["one ", "", "", "<entity> ", "", ""]
    assert writer.stopped
    assert writer.count == 5


def test_what_looked_like_a_stop_is_given_at_the_end() -> None:
    assert "".join(_write([b"a <en"], ["<end>"])[0]) == "a <en"


def test_stop_made_of_the_replacement_at_the_very_end() -> None:
    texts, writer = _write([b"ab", b"\xe2"], ["b\ufffd"])
    assert "".join(texts) == "a"
    assert writer.stopped


def test_tokens_come_with_the_text_they_begin_and_not_after_a_stop() -> None:
    pieces = [b"ab", b"", b"c\xc3", b"\x9f", b"de", b"f"]
    writer = Writer(lambda token: pieces[token], ["ef"])
    deltas = [writer.feed([Token(0, index)]) for index in range(len(pieces))] + [writer.close()]
    assert [[(token.token, start) for token, start in delta.tokens] for delta in deltas] == [
        [(0, 0)],
        [],
        [(1, 2), (2, 2)],
        [(3, 3)],
        [(4, 4)],
        [],
        [],
    ]
    assert "".join(delta.text for delta in deltas) == "abcßd"


def test_tokens_of_no_text_are_given_at_the_end() -> None:
    writer = Writer(lambda _: b"")
    assert writer.feed([Token(0, 7)]).tokens == []
    assert writer.close().tokens == [(Token(0, 7), 0)]


@pytest.mark.parametrize("stops", [[], ["x"]])
def test_no_tokens_no_text(stops: list[str]) -> None:
    assert _write([], stops)[0] == [""]
