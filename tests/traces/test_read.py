"""Traces from files of every form, and back; bad rows are named, or left out with all that follows them."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from hotbunk.errors import ConfigError
from hotbunk.traces import Request, Trace
from hotbunk.traces.read import read, read_all
from hotbunk.traces.write import write

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:06.4799610,110,27
"""
OWN = """arrival_s,model,prompt_tokens,output_tokens,after
0.5,a,10,5,
1.5,b,20,6,0
2.0,a,30,7,
0.25,a,40,8,1
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118.5,GPT-4,417,276,693,API log
"""
SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log
19440161.0,d5983bf9,2,ChatGPT,36,29,65,Conversation log
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}
"""


def put(folder: Path, text: str, name: str = "some.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), "FILE")


# ---------------------------------------------------------------- forms


def test_azure(tmp_path: Path) -> None:
    found = read(put(tmp_path, AZURE, "code.csv"))
    assert (found.skipped, found.told) == (0, "")
    assert list(found.trace) == [
        Request(0.0, "code", 4808, 10),
        Request(0.052, "code", 3180, 8),
        Request(2.500001, "code", 110, 27),
    ]
    assert read(put(tmp_path, AZURE), model="big").trace.models == ("big",)


def test_azure_with_time_zones(tmp_path: Path) -> None:
    rows = "2024-05-10 00:00:00.009930+00:00,10,1\n2024-05-10 02:00:01.009930+02:00,20,2\n2024-05-10T00:00:02.5Z,30,3\n"
    trace = read(put(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)).trace
    assert trace.arrival.tolist() == [0.0, 1.0, 2.49007]


def test_hotbunks_own(tmp_path: Path) -> None:
    trace = read(put(tmp_path, OWN)).trace
    assert list(trace) == [
        Request(0.5, "a", 10, 5),
        Request(1.5, "b", 20, 6, after=0),
        Request(2.0, "a", 30, 7),
        Request(0.25, "a", 40, 8, after=1),
    ]
    without = "arrival_s,model,prompt_tokens,output_tokens\n3,m,1,2\n"
    assert list(read(put(tmp_path, without)).trace) == [Request(3.0, "m", 1, 2)]  # not moved to 0


def test_burstgpt(tmp_path: Path) -> None:
    assert list(read(put(tmp_path, BURSTGPT)).trace) == [
        Request(0.0, "ChatGPT", 472, 18),
        Request(40.0, "ChatGPT", 1087, 230),
        Request(113.5, "GPT-4", 417, 276),
    ]
    assert list(read(put(tmp_path, SESSIONS)).trace) == [
        Request(0.0, "GPT-4", 906, 446),
        Request(51.0, "ChatGPT", 36, 29),
    ]


def test_mooncake(tmp_path: Path) -> None:
    assert list(read(put(tmp_path, MOONCAKE, "agents.jsonl")).trace) == [
        Request(0.0, "agents", 6955, 52),
        Request(3.053, "agents", 6472, 26),
    ]


@pytest.mark.parametrize("text", [AZURE, OWN, BURSTGPT, SESSIONS, MOONCAKE])
def test_files_from_elsewhere(tmp_path: Path, text: str) -> None:
    """Line ends of Windows, a mark of the byte order, blank lines, and zipped."""
    plain = read(put(tmp_path, text)).trace
    strange = ("\ufeff" + text + "\n").replace("\n", "\r\n").encode()
    zipped = tmp_path / "some.csv.gz"
    zipped.write_bytes(gzip.compress(strange))
    assert list(read(put(tmp_path, strange.decode())).trace) == list(plain)
    assert list(read(zipped).trace) == list(plain)


def test_rows_out_of_order_are_sorted_and_stay_with_what_they_follow(tmp_path: Path) -> None:
    rows = "9,late,1,1,\n1,follows,2,1,0\n4,early,3,1,\n4,too,4,1,\n2,follows,5,1,2\n"
    trace = read(put(tmp_path, "arrival_s,model,prompt_tokens,output_tokens,after\n" + rows)).trace
    assert [row.prompt for row in trace if row.after is None] == [3, 4, 1]
    assert [(row.prompt, trace[row.after].prompt) for row in trace if row.after is not None] == [(5, 3), (2, 1)]
    first, *others = AZURE.splitlines()
    assert list(read(put(tmp_path, "\n".join([first, *others[::-1]]))).trace) == list(read(put(tmp_path, AZURE)).trace)


def test_several_files_are_one_trace(tmp_path: Path) -> None:
    found = read_all([put(tmp_path, AZURE, "code.csv"), put(tmp_path, OWN, "own.csv")])
    assert found.trace.name == "code + own"
    assert found.trace.models == ("code", "a", "b")
    assert len(found.trace) == 7
    assert read_all([put(tmp_path, OWN)]).trace.name == "some"


# ---------------------------------------------------------------- bad rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,m,0,5,", "prompt_tokens is '0', which is no number of tokens from 1 on"),
        ("1,m,5,-3,", "output_tokens is '-3', which is no number from 0 to 1e+18"),
        ("1,m,5.5,3,", "prompt_tokens is '5.5', which is no number of tokens from 1 on"),
        ("1,m,9999999999,3,", "prompt_tokens is '9999999999', which is no number of tokens from 1 on"),
        ("1,m,many,3,", "prompt_tokens is 'many', which is no number from 0 to 1e+18"),
        ("1,m,,3,", "prompt_tokens is missing"),
        ("1,,3,3,", "model is missing"),
        ("soon,m,3,3,", "arrival_s is 'soon', which is no number from 0 to 1e+18"),
        ("-1,m,3,3,", "arrival_s is '-1', which is no number from 0 to 1e+18"),
        ("1e308,m,3,3,", "arrival_s is '1e308', which is no number from 0 to 1e+18"),
        ("nan,m,3,3,", "arrival_s is 'nan', which is no number from 0 to 1e+18"),
        ("1,m,3,3,1", "after is '1'; it must be 0 to 0, the rows above"),
        ("1,m,3,3,-1", "after is '-1'; it must be 0 to 0, the rows above"),
        ("1,m,3,3,x", "after is 'x'; it must be 0 to 0, the rows above"),
        ("1,m,3", "'1,m,3' has 3 cells, but the header has 5"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, said: str) -> None:
    path = put(tmp_path, f"arrival_s,model,prompt_tokens,output_tokens,after\n0,m,1,1,\n{row}\n2,m,2,2,\n")
    assert refused(path) == f"FILE, line 3: {said}; --skip-bad leaves such rows out"
    found = read(path, bad="skip")
    assert found.skipped == 1
    assert found.told == f"1 row was left out: some.csv, line 3: {said}"
    assert [row.prompt for row in found.trace] == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (AZURE + "yesterday,1,1\n", "line 5: TIMESTAMP is 'yesterday', which is no date with a time;"),
        (BURSTGPT + "130,GPT-4,55,0,55,API log\n", "line 5: Response tokens is '0', which is no number of tokens"),
        (MOONCAKE + "[1, 2]\n", "line 3: '[1, 2]' is no object of JSON"),
        (MOONCAKE + '{"timestamp": 1, "input_le', 'line 3: \'{"timestamp": 1, "input_le\' is no object of JSON'),
        (MOONCAKE + '{"timestamp": 1, "input_length": 3}\n', "line 3: output_length is missing;"),
        (MOONCAKE + '{"timestamp": 1, "input_length": true}\n', "line 3: input_length is True, which is no number"),
        (MOONCAKE + '{"timestamp": null, "input_length": 3}\n', "line 3: timestamp is missing;"),
    ],
)
def test_bad_rows_of_others(tmp_path: Path, text: str, said: str) -> None:
    assert refused(put(tmp_path, text)).startswith(f"FILE, {said}")
    assert read(put(tmp_path, text), bad="skip").skipped == 1


def test_what_follows_a_bad_row_is_left_out_too(tmp_path: Path) -> None:
    rows = "0,a,1,1,\n1,a,0,1,\n1,a,2,1,1\n1,a,3,1,2\n2,a,4,1,\n1,a,5,1,4\n1,a,6,1,0\n"
    found = read(put(tmp_path, "arrival_s,model,prompt_tokens,output_tokens,after\n" + rows), bad="skip")
    assert found.skipped == 3
    assert found.reasons[1:] == (
        "some.csv, line 4: it follows row 1, which is left out",
        "some.csv, line 5: it follows row 2, which is left out",
    )
    assert [(row.prompt, row.after) for row in found.trace] == [(1, None), (4, None), (5, 1), (6, 0)]


def test_only_the_first_bad_rows_are_named(tmp_path: Path) -> None:
    found = read(put(tmp_path, AZURE + "x,1,1\n" * 5), bad="skip")
    assert found.skipped == 5
    assert found.told.startswith("5 rows were left out: some.csv, line 5: TIMESTAMP is 'x', which")
    assert found.told.endswith("line 7: TIMESTAMP is 'x', which is no date with a time; ...")


# ---------------------------------------------------------------- no traces


def test_what_is_no_trace(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.csv") == "FILE: cannot be read: No such file or directory"
    assert refused(tmp_path) == "FILE: cannot be read: Is a directory"
    assert "FILE: not a trace that hotbunk knows: it begins with 'time,tokens'; it must be" in refused(
        put(tmp_path, "time,tokens\n1,2\n")
    )
    assert "it is empty" in refused(put(tmp_path, ""))
    assert refused(put(tmp_path, AZURE.splitlines()[0])) == "FILE: there is no request in it"
    binary, broken = tmp_path / "model.gguf", tmp_path / "broken.csv.gz"
    binary.write_bytes(b"GGUF\xff\xfe\x00\n")
    assert refused(binary).startswith("FILE: not text in UTF-8")
    broken.write_bytes(gzip.compress(AZURE.encode())[:-20])
    assert refused(broken).startswith("FILE: cannot be unzipped")


def test_nothing_left(tmp_path: Path) -> None:
    path = put(tmp_path, AZURE.splitlines()[0] + "\nx,1,1\n")
    with pytest.raises(ConfigError, match=r"there is no request in it; some\.csv, line 2: TIMESTAMP is 'x'"):
        read(path, bad="skip")


# ---------------------------------------------------------------- and back

NAMES = some.text(some.characters(codec="utf-8", exclude_characters="\r"), min_size=1).filter(lambda s: s == s.strip())
TIMES = some.floats(0, 1e9, allow_subnormal=False)
TOKENS = some.integers(1, 2**31 - 1)


@some.composite
def traces(draw: some.DrawFn) -> Trace:
    """Of any kind, as long as requests stand where they may."""
    size = draw(some.integers(1, 12))
    after = [draw(some.none() | some.integers(0, row - 1)) if row else None for row in range(size)]
    times = iter(sorted(draw(some.lists(TIMES, min_size=size, max_size=size))))
    arrivals = [next(times) if row is None else draw(TIMES) for row in after]
    rows = [Request(at, draw(NAMES), draw(TOKENS), draw(TOKENS), row) for at, row in zip(arrivals, after, strict=True)]
    return Trace.of("any", rows)


@pytest.mark.parametrize("name", ["any.csv", "any.csv.gz"])
@given(trace=traces())
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, name: str, trace: Trace) -> None:
    path = tmp_path_factory.mktemp("back") / name
    write(trace, path)
    again = read(path).trace
    assert list(again) == list(trace)
    assert (again.name, again.models) == (trace.name, trace.models)
    write(again, path.with_name(f"again-{name}"))
    assert path.read_bytes() == path.with_name(f"again-{name}").read_bytes()


def test_after_is_written_only_if_it_is_needed(tmp_path: Path) -> None:
    write(Trace.of("plain", [Request(0.1, "a,b", 1, 2)]), tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text() == 'arrival_s,model,prompt_tokens,output_tokens\n0.1,"a,b",1,2\n'
    write(read(put(tmp_path, OWN)).trace, tmp_path / "own.csv")
    assert (tmp_path / "own.csv").read_text() == OWN


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    path, trace = put(tmp_path, "precious"), Trace.of("plain", [Request(0.0, "a", 1, 2)])
    with pytest.raises(ConfigError, match="it is there already; --force replaces it"):
        write(trace, path)
    assert path.read_text() == "precious"
    write(trace, path, force=True)
    assert list(read(path).trace) == list(trace)
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        write(trace, tmp_path / "absent" / "x.csv")


def test_half_a_trace_is_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, trace = tmp_path / "made.csv", Trace.of("plain", [Request(0.0, "a", 1, 2)])

    def interrupted(trace: Trace, out: io.BufferedIOBase) -> None:
        out.write(b"arrival_s,model,prompt_tokens,output_tokens\n0.1,")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hotbunk.traces.write._write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(trace, path)
    assert not list(tmp_path.iterdir())
    write(trace, path)
    with monkeypatch.context() as patch:
        patch.setattr("hotbunk.traces.write._write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(trace, path, force=True)
    assert list(read(path).trace) == list(trace)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    link, trace = tmp_path / "link.csv", Trace.of("plain", [Request(0.0, "a", 1, 2)])
    link.symlink_to(tmp_path / "made.csv")
    write(trace, link)
    assert link.is_symlink()
    assert list(read(tmp_path / "made.csv").trace) == list(trace)
    write(trace, Path("/dev/null"), force=True)
    assert Path("/dev/null").is_char_device()


def test_many_rows(tmp_path: Path) -> None:
    """Columns are put together right beyond the first few."""
    count = 50_000
    trace = Trace(
        "many",
        ("a", "b"),
        np.arange(count) / 7,
        (np.arange(count) % 2).astype(np.int32),
        (np.arange(count) % 99 + 1).astype(np.int32),
        (np.arange(count) % 7 + 1).astype(np.int32),
        np.full(count, -1, np.int32),
    )
    write(trace, tmp_path / "many.csv")
    again = read(tmp_path / "many.csv").trace
    for column in ("arrival", "model", "prompt", "output", "after"):
        assert np.array_equal(getattr(again, column), getattr(trace, column))
