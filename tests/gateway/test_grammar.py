"""JSON schemas as what holds an answer to them, and grammars that would be too much for libllama."""

import json
import re
from typing import Any

import pytest

from hotbunk.errors import BadRequest, HotbunkError
from hotbunk.gateway import grammar
from hotbunk.llama.grammar import Grammar
from hotbunk.llama.guide import Guide
from hotbunk.llama.vocab import Vocab

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 5},
        "kind": {"enum": ['"sunny"', "back\\slash", "trüb"]},
        "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "maxItems": 2},
    },
    "required": ["city", "kind"],
    "additionalProperties": False,
    "$defs": {"day": {"type": "object", "properties": {"high": {"type": "number"}}}},
}
COLOR = {"properties": {"c": {"allOf": [{"$ref": "#/definitions/Color"}], "default": "red"}}, "required": ["c"]}
NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/_node"}, {"type": "null"}]}}}
NODE["required"] = ["next"]
ORDER = {
    "type": "object",
    "properties": {
        "status": {"enum": ["open"]},
        "order": {"type": "object", "properties": {"status": {"enum": ["paid"]}}},
        "last": {"$ref": "#/properties/order/properties/status"},
    },
}


def _fits(value: object, schema: dict[str, Any], vocab: Vocab, strict: bool = True) -> bool:
    """Whether a model held to the schema could say exactly this."""
    return _says(json.dumps(value, ensure_ascii=False), Guide(vocab, grammar.from_schema(schema, strict), []), vocab)


def _says(text: str, held: Guide | Grammar, vocab: Vocab) -> bool:
    for token in vocab.tokenize(text, special=False, bos=False):
        if not held.allows(token):
            return False
        held.accept(token)
    return all(held.allows(token) for token in vocab.end_tokens)


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (WEATHER, {"city": "Köln", "kind": '"sunny"'}, {"city": "Köln"}),
        (
            WEATHER,
            {"city": "Ulm", "kind": "back\\slash", "days": [{"high": 3.5}, {}]},
            {"city": "Ulm", "kind": "sunny"},
        ),
        (WEATHER, {"city": "\\\"'\n", "kind": "trüb"}, {"city": "longer", "kind": "trüb"}),
        ({"type": "object"}, {"a": [1, None]}, [1]),
        ({}, [1, {"a": "b"}], None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, 1.5),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1.5, "1"),
        ({"type": ["string", "null"], "enum": ["F", None]}, None, "G"),
        ({"type": ["array", "null"], "items": {"type": "integer"}}, [1], ["a"]),
        ({"type": ["object", "null"], "properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1}, {"a": 2}),
        ({**COLOR, "definitions": {"Color": {"enum": ["red", "blue"]}}}, {"c": "blue"}, {"c": {}}),
        (ORDER, {"last": "paid"}, {"last": "open"}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, 3, "3"),
        ({"$ref": "#/$defs/_node", "$defs": {"_node": NODE}}, {"next": {"next": None}}, {"next": {}}),
        ({**NODE, "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, {"next": {"next": None}}, {}),
        ({"type": "integer", "minimum": 1, "exclusiveMaximum": 5}, 4, 5),
        ({"type": "number", "exclusiveMinimum": 0}, 0.5, 0),
        ({"type": "array", "items": {}, "minItems": 1, "maxItems": 2}, [1, "a"], [1, 2, 3]),
        ({"type": "object", "additionalProperties": {"type": "null"}}, {"x": None}, {"x": 1}),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "aaa", "aaaa"),
        ({"type": "string", "pattern": r"^\d{3}\.\w\s[^\s,\]]+\$$"}, "123.e é$", "123.e ,$"),
        ({"type": "string", "pattern": "b"}, "abc", "ac"),
        ({"type": "string", "format": "date"}, "2024-02-03", "today"),
        ({"enum": [str(number) for number in range(6000)]}, "5999", "6000"),
        ({"properties": {f"p{number}": {"type": "boolean"} for number in range(400)}}, {"p3": True}, {"p3": 1}),
    ],
)
def test_what_can_be_said_is_what_fits_the_schema(
    schema: dict[str, Any], yes: object, no: object, vocab: Vocab
) -> None:
    if no is None:
        assert _fits(yes, schema, vocab)
    else:
        assert (_fits(yes, schema, vocab), _fits(no, schema, vocab)) == (True, False)


@pytest.mark.parametrize("text", ['"a\n"', '"\x01"', '"\\x"', "{", "[1,]", "{'a': 1}", "01", "1" + " " * 30])
def test_what_is_no_json_cannot_be_said(text: str, vocab: Vocab) -> None:
    assert not _says(text, Guide(vocab, grammar.from_schema({}), []), vocab)


def test_what_looks_like_a_control_token_is_text(vocab: Vocab) -> None:
    held = Guide(vocab, grammar.from_schema({"type": "string"}), [])
    [quote] = vocab.tokenize('"', special=False, bos=False)
    held.accept(quote)
    assert not held.allows(vocab.eos)
    assert _says('<|im_end|>"', held, vocab)


@pytest.mark.parametrize(
    "schema",
    [{"uniqueItems": True}, {"not": {"type": "null"}}, {"if": {"type": "null"}}, {"propertyNames": {"maxLength": 3}}],
)
def test_what_cannot_be_held_to_is_refused_only_where_it_is_meant_strictly(schema: Any, vocab: Vocab) -> None:
    with pytest.raises(BadRequest, match=f"Unimplemented keys: .*{next(iter(schema))}.*strict: false"):
        grammar.from_schema(schema, strict=True)
    assert _fits([1], schema, vocab, strict=False)


def _deep(levels: int) -> dict[str, Any]:
    return {"items": _deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "thing"}, "Invalid type: thing"),
        ({"properties": 3}, "properties must be an object"),
        ({"$ref": "https://example.com/schema"}, "example.com"),
        ({"$ref": "#/nowhere"}, "Pointer '/nowhere' does not exist"),
        ({"type": "string", "pattern": "open("}, "regex"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, re.escape("minItems (3) is greater than maxItems (1)")),
        ({"enum": ["x" * 100_000]}, "bytes; at most 65536"),
        (_deep(300), "recursion|nested|depth"),
        ({"allOf": [{"anyOf": [{"required": [f"{n}a"]}, {"required": [f"{n}b"]}]} for n in range(16)]}, "too large"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequest, match=f"the JSON schema cannot be used: .*({reason})") as caught:
        grammar.from_schema(schema)
    assert caught.value.param == "response_format"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{number}": {} for number in range(2000)}},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9, "maxLength": 10**9},
        {"type": "string", "pattern": "^(a?){1000}a{1000}$"},
        {"type": "string", "pattern": "^.*a.{200}b.*c.{300}$"},
    ],
)
def test_what_is_too_much_is_refused_or_ends_in_an_error(schema: dict[str, Any], vocab: Vocab) -> None:
    """And neither takes the process down."""
    try:
        _fits("abc", schema, vocab, strict=False)
    except HotbunkError as error:
        assert "grammar" in str(error) or "schema" in str(error)


def test_lark_is_taken_as_llama_server_takes_it(vocab: Vocab) -> None:
    text = '%llguidance {}\nstart: "yes" | /no+/'
    grammar.check(text, vocab)
    assert _says("nooo", Guide(vocab, text, []), vocab) and not _says("maybe", Guide(vocab, text, []), vocab)
    with pytest.raises(BadRequest, match="start"):
        grammar.check('%llguidance {}\nbegin: "a"', vocab)


def test_a_grammar_that_is_not_valid_is_refused_with_the_reason_alone(
    vocab: Vocab, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadRequest, match="Undefined rule identifier 'nope'") as caught:
        grammar.check("root ::= " + '"a" ' * 1000 + "nope", vocab)
    assert caught.value.param == "grammar" and len(str(caught.value)) < 400
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["root ::= " + "(" * 100_000, "x" * (grammar.LARGEST + 1)])
def test_grammars_that_would_crash_the_parser_never_reach_it(text: str, vocab: Vocab) -> None:
    with pytest.raises(BadRequest, match="at most"):
        grammar.check(text, vocab)


def test_brackets_in_literals_classes_and_comments_do_not_nest(vocab: Vocab) -> None:
    grammar.check(f'root ::= "{"(" * 2000}\\"" [({"(" * 2000}] ("a")  # {"(" * 2000}\n', vocab)


def test_the_longest_chain_of_rules_is_parsed_without_harm(vocab: Vocab) -> None:
    rules = ["root ::= a0", *(f"a{number} ::= a{number + 1}" for number in range(14_000)), 'a14000 ::= "x"']
    grammar.check("\n".join(rules), vocab)
