"""JSON schemas as grammars that libllama takes, and those that would be too much for it."""

import itertools
import json
from typing import Any

import pytest

from hotbunk.errors import BadRequest
from hotbunk.gateway import grammar
from hotbunk.llama.grammar import Grammar
from hotbunk.llama.vocab import Vocab

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 500},
        "kind": {"enum": ['"sunny"', "back\\slash", "trüb"]},
        "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "maxItems": 7},
    },
    "required": ["city", "kind"],
    "additionalProperties": False,
    "$defs": {"day": {"type": "object", "properties": {"high": {"type": "number"}}}},
}


_THOUSAND = {"type": "array", "items": {"type": "null"}, "minItems": 1000}
_NAMES = ["date", "time", "uuid", "char", "value", "object"]
_AGAIN: dict[str, Any] = {  # the converter writes definitions of these names again at every use
    name: {"properties": {f"p{number}": {"$ref": f"#/$defs/{used}"} for number in range(30)}}
    for name, used in itertools.pairwise(_NAMES)
} | {"object": {"const": 1}}


@pytest.mark.parametrize(
    "schema",
    [
        WEATHER,
        {"type": "object"},
        {},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "string", "pattern": "^a{1,5}(b|c)+$"},
        {"type": "string", "minLength": 1000},
        {"type": "string", "maxLength": 1000},
        {"type": "array", "items": {"type": "number"}, "maxItems": 1000},
        {"properties": {f"p{number}": {"type": "boolean"} for number in range(400)}},
        {"properties": {f"p{number}": {"type": "string", "maxLength": 1000} for number in range(20)}},
        {"enum": [str(number) for number in range(6000)]},
    ],
)
def test_libllama_takes_the_grammar_of_a_schema(schema: dict[str, Any], vocab: Vocab) -> None:
    text = grammar.from_schema(schema, "p")
    grammar.check(text, "p")
    assert vocab.accepts(text)


def test_constants_are_escaped_and_strings_hold_no_control_characters() -> None:
    text = grammar.from_schema(WEATHER, "p")
    for value in WEATHER["properties"]["kind"]["enum"]:  # type: ignore[index]
        written = json.dumps(value, ensure_ascii=False)
        assert '"' + written.replace("\\", "\\\\").replace('"', '\\"') + '"' in text
    assert r"[^\"\\\x7F\x00-\x1F]".replace(r"\"", '"') in text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "thing"},
        {"properties": 3},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/nowhere"},
        {"type": "string", "pattern": "open("},
        {"type": "string", "pattern": "^open($"},
        {"type": "string", "pattern": "^shut)$"},
        {"type": "string", "pattern": "^[a$"},
        {"type": "string", "pattern": "^" + "[" * 64_000 + "$"},
        {"type": "string", "pattern": "^a\\$"},
        {"type": "string", "pattern": "^a$|^b$"},
        {"type": "string", "pattern": "^\\bword$"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {}, "minItems": 10**9},
        {"type": "string", "pattern": "^a{1,99999999999999999999}$"},
        {"properties": {f"p{number}": {} for number in range(2000)}},
        {"enum": ["x" * 100_000]},
        {"properties": {"x" * 30_000: {"properties": {f"p{number}": _THOUSAND for number in range(500)}}}},
        {"$ref": "#/$defs/date", "$defs": _AGAIN},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="schema") as caught:
        grammar.from_schema(schema, "response_format")
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("anything", [{}, True, {"title": "X", "description": "what it is"}])
def test_a_schema_that_says_nothing_allows_anything(anything: Any, vocab: Vocab) -> None:
    one = {"type": "object", "properties": {"x": anything}, "required": ["x"]}
    some = {"type": "array", "items": anything, "minItems": 1, "maxItems": 2}
    more = {"type": "object", "properties": {}, "additionalProperties": anything}
    for value in ("3", '"a"', "null", "[true]", '{"b": []}'):
        assert _fits(f'{{"x": {value}}}', one, vocab)
        assert _fits(f"[{value}]", some, vocab) and _fits(f"[{value}, {value}]", some, vocab)
        assert _fits(f'{{"any": {value}}}', more, vocab)
        assert _fits(value, {"title": "Root"}, vocab)
    assert not _fits("[]", some, vocab) and not _fits("[1, 2, 3]", some, vocab) and not _fits("{}", one, vocab)
    assert _fits("[1, 2]", {"type": "array"}, vocab) and not _fits("[1]", {"type": "array", "minItems": 2}, vocab)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"^\[[0-9]+]$", "[12]", "12"),
        (r"^a}b{$", "a}b{", "ab"),
        (r"^a{,2}$", "a{,2}", "aa"),
        (r"^a\.{3}$", "a...", "a.a.a."),
        (r"^\d+\.\w{2,}\s\$$", "3.ab $", "3xab $"),
        (r"^[^\s,\]]+?$", "ab", "a,b"),
        (r"^[\w.+-]+@[a-z]+\.[a-z]{2,}$", "a.b+c@d.de", "a@d,de"),
        (r"^[\u00e0-\u00ff]\x41$", "éA", "eA"),
        ("^a|b$", "b", "ab"),
        ('^"a\\\\$', '"a\\', "a"),
        ("^.[^a]$", "xy", "ya"),
    ],
)
def test_a_pattern_allows_the_strings_that_it_describes(pattern: str, yes: str, no: str, vocab: Vocab) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert _fits(json.dumps(yes, ensure_ascii=False), schema, vocab)
    assert not _fits(json.dumps(no, ensure_ascii=False), schema, vocab)


@pytest.mark.parametrize("pattern", ["^..$", "^[^a][^a]$"])
def test_a_pattern_never_breaks_the_string(pattern: str, vocab: Vocab) -> None:
    assert not any(_fits(f'"{text}"', {"type": "string", "pattern": pattern}, vocab) for text in ('x"', "x\\", "x\n"))


@pytest.mark.parametrize("definitions", ["$defs", "definitions"])
def test_the_root_may_be_a_reference_to_what_refers_to_itself(definitions: str, vocab: Vocab) -> None:
    reference = {"$ref": f"#/{definitions}/Node"}
    node = {"type": "object", "properties": {"next": {"anyOf": [reference, {"type": "null"}]}}, "required": ["next"]}
    schema = {definitions: {"Node": node}, **reference}
    assert _fits('{"next": {"next": null}}', schema, vocab)
    assert not _fits('{"next": {}}', schema, vocab)


def _fits(text: str, schema: dict[str, Any], vocab: Vocab) -> bool:
    """Whether a model held to the schema could say exactly this."""
    written = grammar.from_schema(schema, "p")
    grammar.check(written, "p")
    held = Grammar(vocab._vocab, written, [])
    try:
        for token in vocab.tokenize(text, special=False, bos=False):
            if not held.allows(token):
                return False
            held.accept(token)
        return held.allows(vocab.eos)
    finally:
        held.close()


@pytest.mark.parametrize("text", ["root ::= " + "(" * 100_000, "x" * (grammar.LARGEST + 1)])
def test_grammars_that_would_crash_the_parser_never_reach_it(text: str) -> None:
    with pytest.raises(BadRequest, match="at most"):
        grammar.check(text, "grammar")


def test_brackets_in_literals_classes_and_comments_do_not_nest(vocab: Vocab) -> None:
    text = f'root ::= "{"(" * 2000}\\"" [({"(" * 2000}] ("a")  # {"(" * 2000}\n'
    grammar.check(text, "grammar")
    assert vocab.accepts(text)


def test_the_longest_chain_of_rules_is_parsed_without_harm(vocab: Vocab) -> None:
    rules = ["root ::= a0", *(f"a{number} ::= a{number + 1}" for number in range(14_000)), 'a14000 ::= "x"']
    text = "\n".join(rules)
    grammar.check(text, "grammar")
    assert vocab.accepts(text)
