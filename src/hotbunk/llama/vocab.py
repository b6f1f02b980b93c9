"""A model's vocabulary without its weights: text to tokens and back, on the CPU alone."""

import ctypes as C
from functools import cached_property
from itertools import compress, repeat
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer

from hotbunk.errors import EngineError, UnusableModel
from hotbunk.llama.lib import api, captured

_CONTROL = 1 << 3  # enum llama_token_attr


class Vocab:
    """A vocabulary and the chat template beside it. Every method may be called from several threads at once.

    Attributes:
        handle: address of the ``llama_vocab``.
        size: number of tokens.
        bos: the token that begins a text, -1 if there is none.
        eos: the token that ends one, -1 if there is none.
        adds_bos: whether the model wants ``bos`` before every prompt.
        end_tokens: all tokens that end an answer, in ascending order.
        template: source of the model's chat template, None if the file has none.
    """

    def __init__(self, path: Path) -> None:
        """Read the vocabulary of a GGUF file (the first one of a split model): 0.1 to 1 s.

        Raises:
            UnusableModel: libllama cannot read it, or it lacks tokens that any text may need.
        """
        self._model = _open(path)
        self.handle = api.llama_model_get_vocab(self._model)
        self.size: int = api.llama_vocab_n_tokens(self.handle)
        if unspelt := self._unspelt():
            self.close()
            raise UnusableModel(f"{path.name}: its vocabulary has no tokens for {unspelt} of the 256 bytes")
        self.bos: int = api.llama_vocab_bos(self.handle)
        self.eos: int = api.llama_vocab_eos(self.handle)
        self.adds_bos = bool(api.llama_vocab_get_add_bos(self.handle)) and self.bos >= 0
        ends = map(api.llama_vocab_is_eog, repeat(self.handle), range(self.size))
        self.end_tokens: list[int] = list(compress(range(self.size), ends))
        source = api.llama_model_chat_template(self._model, None)
        self.template: str | None = source.decode(errors="replace") if source else None

    def tokenize(self, text: str, *, special: bool, bos: bool) -> list[int]:
        """Tokens of ``text``, after ``bos`` if asked; control tokens written in it are recognised if ``special``.

        Needs up to 350 bytes of stack for each character of an unbroken run (libstdc++'s regular expressions recurse).
        """
        data = text.encode()
        room = (api.llama_token * (len(data) + 8))()  # seldom more tokens than bytes
        count = api.llama_tokenize(self.handle, data, len(data), room, len(room), False, special)
        if count < 0:  # some put a space behind each mark in the text
            room = (api.llama_token * -count)()
            count = api.llama_tokenize(self.handle, data, len(data), room, len(room), False, special)
        tokens: list[int] = room[:count]
        return [self.bos, *tokens] if bos and self.bos >= 0 else tokens

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token, maybe part of a character; control tokens are empty unless ``special``.

        Raises:
            ValueError: there is no such token.
        """
        if not 0 <= token < self.size:  # libllama would abort the process
            raise ValueError(f"there is no token {token} in a vocabulary of {self.size}")
        room = C.create_string_buffer(64)
        count = api.llama_token_to_piece(self.handle, token, room, len(room), 0, special)
        if count < 0:
            room = C.create_string_buffer(-count)
            count = api.llama_token_to_piece(self.handle, token, room, len(room), 0, special)
        return room.raw[:count]

    @cached_property
    def trie(self) -> LLTokenizer:
        """The tokens as llguidance looks them up, made at the first call: 0.2 s, or 2 for the largest vocabularies.

        Raises:
            EngineError: no token ends a text.
        """
        if not self.end_tokens:
            raise EngineError("the vocabulary has no token that ends a text, so answers cannot be held to a form")
        pieces = [self.piece(token, special=True) for token in range(self.size)]
        special = [api.llama_vocab_get_attr(self.handle, token) & _CONTROL for token in range(self.size)]
        make: Any = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]
        made: LLTokenizer = make(
            # what begins like this is no text to it, whatever it looks like
            tokens=[b"\xff" * bool(control) + piece for control, piece in zip(special, pieces, strict=True)],
            vocab_ptr=self.handle,
            tokenize_fptr=C.cast(api._lib.llama_tokenize, C.c_void_p).value,
            eos_token=self.end_tokens,
        )
        return made

    def close(self) -> None:
        """Free it; nothing else may be called afterwards."""
        api.llama_model_free(self._model)

    def _unspelt(self) -> int:
        """Bytes without a token in a vocabulary that falls back on these; at the first in a text libllama aborts."""
        if api.llama_vocab_type(self.handle) != api.LLAMA_VOCAB_TYPE_SPM:
            return 0
        spellings = {text: byte for byte in range(256) for text in (b"<0x%02X>" % byte, bytes([byte]))}
        left = set(range(256))
        for text in map(api.llama_vocab_get_text, repeat(self.handle), range(self.size)):
            left.discard(spellings.get(text, -1))
            if not left:  # in real vocabularies they come early
                break
        return len(left)


def _open(path: Path) -> int:
    params = api.llama_model_default_params()
    none = (C.c_void_p * 1)(None)  # an empty list of devices: no GPU is touched
    params.devices = C.cast(none, C.c_void_p)
    params.vocab_only, params.n_gpu_layers = True, 0
    with captured() as said:
        model: int | None = api.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        reason = "; ".join(said) or "libllama gave no reason"
        raise UnusableModel(f"the vocabulary of {path} cannot be read: {reason}")
    return model
