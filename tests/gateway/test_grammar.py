"""JSON schemas as grammars that libllama takes, and those that would be too much for it."""

import json
from typing import Any

import pytest

from hotbunk.errors import BadRequest
from hotbunk.gateway import grammar
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


@pytest.mark.parametrize(
    "schema",
    [
        WEATHER,
        {"type": "object"},
        {},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "string", "pattern": "^a{1,5}(b|c)+$"},
        {"type": "string", "minLength": 1000},
        {"properties": {f"p{number}": {"type": "boolean"} for number in range(100)}},
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
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {}, "minItems": 10**9},
        {"type": "string", "pattern": "^a{1,99999999999999999999}$"},
        {"properties": {f"p{number}": {} for number in range(2000)}},
        {"enum": ["x" * 100_000]},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="schema") as caught:
        grammar.from_schema(schema, "response_format")
    assert caught.value.param == "response_format"


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
