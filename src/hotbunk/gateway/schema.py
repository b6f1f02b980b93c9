"""The requests of the OpenAI API as they may come, with OpenAI's ranges; what is not listed here is ignored."""

import reprlib
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from hotbunk.errors import BadRequest

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Factor = Annotated[float, Field(gt=0, le=10)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Key = Annotated[TokenId, Field(strict=False)]  # JSON has no other keys than strings
Bias = Annotated[float, Field(ge=-100, le=100)]

T = TypeVar("T")
Some = Annotated[list[T], Field(min_length=1, fail_fast=True)]
"""Not an empty list. Its first wrong element is the only one told: each error takes more than the body does."""

MOST_CHOICES = 512
"""Answers that one request may ask for."""
_MOST_BIASES = 1024
_MOST_MESSAGES = 1 << 16
_MOST_TOKENS = 1 << 22
_UNLIMITED = (1 << 31) - 1
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 2, 60, 60


def _limited(value: Any) -> Any:
    # -1 is no limit to llama-server and LM Studio, and some clients write the largest number they have
    return value if type(value) is not int else _UNLIMITED if value == -1 else min(value, _UNLIMITED)


def _few(value: Any) -> Any:
    # checked before all others, since of a mapping every wrong entry is told
    if isinstance(value, dict) and len(value) > _MOST_BIASES:
        raise ValueError(f"logit_bias has {len(value)} tokens; at most {_MOST_BIASES} can be biased")
    return value


def _form(prompt: Any) -> str | None:
    # by its first element: to try every form would take several times as long, and each would complain
    if isinstance(prompt, str):
        return "str"
    match prompt:
        case [int(), *_]:
            return "list[int]"
        case [[*_], *_]:
            return "list[list[int]]"
        case [str(), *_] | []:
            return "list[str]"
    return None


Limit = Annotated[int, BeforeValidator(_limited), Field(ge=1)]
Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Prompt = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[Some[str], Field(max_length=MOST_CHOICES), Tag("list[str]")]
    | Annotated[Some[TokenId], Field(max_length=_MOST_TOKENS), Tag("list[int]")]
    | Annotated[
        Some[Annotated[list[TokenId], Field(fail_fast=True)]], Field(max_length=MOST_CHOICES), Tag("list[list[int]]")
    ],
    Discriminator(
        _form,
        custom_error_type="prompt",
        custom_error_message="Input should be a string or a list of strings, of tokens or of lists of tokens",
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class JsonSchema(_Strict):
    """The ``json_schema`` part of a response format."""

    name: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(_Strict):
    """What form the answer must have; ``schema`` beside ``json_object`` is how llama-server is told."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None

    @model_validator(mode="after")
    def _complete(self) -> "ResponseFormat":
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ValueError("response_format of type json_schema needs json_schema.schema")
        return self


class StreamOptions(_Strict):
    """What else a stream shall carry."""

    include_usage: bool | None = None


class Request(_Strict):
    """What both kinds of completion have in common. None means not given, as in OpenAI's own clients."""

    model: Text
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] | None = None
    min_p: Share | None = None
    seed: Annotated[Seed | None, AfterValidator(lambda seed: None if seed == -1 else seed)] = None  # -1 is: any
    max_tokens: Limit | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    logit_bias: Annotated[dict[Key, Bias] | None, BeforeValidator(_few)] = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Factor | None = None
    repetition_penalty: Factor | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=1 << 20)] | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Request":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def constrained(self) -> bool:
        """Whether the answer shall fit a grammar."""
        return bool(self.grammar) or (self.response_format is not None and self.response_format.type != "text")

    @property
    def wants_usage(self) -> bool:
        """Whether the stream shall end with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class Part(_Strict):
    """A part of a message's content; only text is understood."""

    type: Literal["text"]
    text: str


class Message(_Strict):
    """One message of a conversation; further fields (tool calls, say) go to the template as they are."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None

    def plain(self) -> dict[str, Any]:
        """The message as templates expect it: ``content`` a string, and no role newer than they are."""
        role = "system" if self.role == "developer" else self.role
        content = "\n".join(part.text for part in self.content) if isinstance(self.content, list) else self.content
        # OpenAI's client gives its answers back with null for what they lack; templates only ask what is there
        extra = {key: value for key, value in (self.model_extra or {}).items() if value is not None}
        return {**extra, "role": role, "content": content or ""}


class ChatRequest(Request):
    """``POST /v1/chat/completions``."""

    messages: Annotated[Some[Message], Field(max_length=_MOST_MESSAGES)]
    max_completion_tokens: Limit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None

    @model_validator(mode="after")
    def _supported(self) -> "ChatRequest":
        if self.tools or self.functions:
            raise ValueError("tools and functions are not supported; leave them out, or use response_format")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs is only allowed when logprobs is true")
        return self


class CompletionRequest(Request):
    """``POST /v1/completions``."""

    prompt: Prompt
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    @model_validator(mode="after")
    def _supported(self) -> "CompletionRequest":
        if self.suffix:
            raise ValueError("suffix is not supported; leave it out")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of is not supported; leave it out")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not supported; leave one of them out")
        return self


class LoadRequest(_Strict):
    """``POST /api/models/{id}/load``; ours alone, so that what is not known of it is a mistake."""

    model_config = ConfigDict(extra="forbid")

    layers: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None


R = TypeVar("R", bound=BaseModel)


def parse(kind: type[R], body: bytes) -> R:
    """Read a request.

    Raises:
        BadRequest: broken JSON, or a field that is missing, of the wrong type or out of range; ``param`` names it.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _translate(error.errors(include_url=False)) from None


def _translate(errors: list[ErrorDetails]) -> BadRequest:
    # of a union every alternative complains: the one that got furthest is the one that was meant
    error = max(errors, key=lambda each: len(_path(each["loc"]) or ""))
    param = _path(error["loc"])
    same = dict.fromkeys(each["msg"] for each in errors if _path(each["loc"]) == param)
    message = " or ".join(same).removeprefix("Value error, ")
    match error["type"]:
        case "json_invalid":
            return BadRequest(f"the body is not valid JSON: {message.removeprefix('Invalid JSON: ')}")
        case "value_error":
            return BadRequest(message, param or message.split()[0])
        case "missing":
            return BadRequest(f"the field {param} is missing", param)
        case _:
            return BadRequest(f"{param or 'the body'}: {message}; it is {_short(error['input'])}", param)


def _path(location: tuple[int | str, ...]) -> str | None:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not _is_kind(step):
            path += f".{step}" if path else step
    return path or None


def _is_kind(step: str) -> bool:
    # a name that pydantic gives an alternative of a union, not a field
    return step in ("str", "[key]") or step.startswith(("list[", "constrained-", "function-", "nullable["))


def _short(value: Any) -> str:
    text = _brief.repr(value)  # not of all of it, which may be a whole body
    return text if len(text) <= 60 else text[:57] + "..."
