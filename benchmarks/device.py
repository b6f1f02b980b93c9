"""Check a device with two models of real size and random weights: predictions, exactness, what a switch costs.

    python benchmarks/device.py [--device CUDA0] [--scale 1.0] [--out FILE]

Writes two Llama-like models to a temporary folder (F16, 28 and 36 blocks; ``--scale`` shrinks their widths), serves
both under a budget that holds one, at full, half and no residency, and prints for each: predicted and reported device
bytes, whether greedy and seeded answers that were preempted (the other model loaded and run in between) equal
uninterrupted ones, and the seconds that loading, unloading, suspending and resuming took. Exit status 1 if anything is
not as promised.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

from hotbunk.config import Config, ModelConfig
from hotbunk.runtime import Generation, Job, Runtime
from hotbunk.sampling import Sampling

SHAPES = {"3b": (28, 3072, 8192, 24, 8), "8b": (36, 4096, 12288, 32, 8)}  # blocks, width, ffn, heads, KV heads
VOCABULARY = 32000
LENGTHS = {1.0: 1000, 0.5: 200, 0.0: 60}
"""Tokens to generate by residency: enough to outlast a turn, and no more where the CPU has to do it."""
SAMPLINGS = {"greedy": Sampling(temperature=0), "seeded": Sampling(seed=7, temperature=1.0, repeat_penalty=1.1)}


def write(path: Path, shape: tuple[int, int, int, int, int], scale: float) -> None:
    """Write a GGUF of random F16 weights; speed does not depend on the values."""
    blocks, width, ffn, heads, kv_heads = shape
    heads, kv_heads = max(4, int(heads * scale)), max(2, int(kv_heads * scale))
    head = 128 if scale == 1 else 64
    width, ffn = heads * head, int(ffn * scale) // 256 * 256
    pool = (np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32) * 0.02).astype(np.float16)
    pool = np.tile(pool, -(-max(VOCABULARY, ffn) * width // len(pool)))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(32768)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"<{n}>" for n in range(VOCABULARY)])

    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, pool[: rows * columns].reshape(rows, columns))

    matrix("token_embd.weight", VOCABULARY, width)
    for b in (f"blk.{n}." for n in range(blocks)):
        writer.add_tensor(b + "attn_norm.weight", np.ones(width, np.float32))
        writer.add_tensor(b + "ffn_norm.weight", np.ones(width, np.float32))
        matrix(b + "attn_q.weight", width, width)
        matrix(b + "attn_k.weight", kv_heads * head, width)
        matrix(b + "attn_v.weight", kv_heads * head, width)
        matrix(b + "attn_output.weight", width, width)
        matrix(b + "ffn_gate.weight", ffn, width)
        matrix(b + "ffn_up.weight", ffn, width)
        matrix(b + "ffn_down.weight", width, ffn)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    matrix("output.weight", VOCABULARY, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


async def finish(generation: Generation) -> list[int]:
    """All its tokens."""
    return [token.token async for group in generation for token in group]


async def check(device: str, files: dict[str, Path], share: float) -> list[str]:
    """Serve both models with this share of their layers on the device; returns lines for the report."""
    layers = {name: round(share * (SHAPES[name][0] + 1)) for name in files}
    models = {name: ModelConfig(path=path, layers=layers[name]) for name, path in files.items()}
    config = Config(device=device, models=models, context=4096, slots=2, quantum=0.5)
    async with Runtime(config) as runtime:
        most = max(m["planned"]["device"]["total"] for m in runtime.state()["models"])
    lines = [f"residency {share:.0%}: layers {layers}, budget {most / 1e9:.3f} GB"]
    async with Runtime(config.model_copy(update={"budget": most})) as runtime:
        prompt = [100 + n * 7919 % 30000 for n in range(600)]
        for name, sampling in SAMPLINGS.items():
            job = Job("8b", prompt, sampling, LENGTHS[share], stop_tokens=[])
            alone = await finish(runtime.submit(job))
            long = runtime.submit(job)
            stream = aiter(long)
            tokens = [token.token for token in await anext(stream)]
            await finish(runtime.submit(Job("3b", prompt[:50], sampling, 8, stop_tokens=[])))
            tokens += [token.token async for group in stream for token in group]
            times, verdict = long.timings.preemptions, "equal" if tokens == alone else "NOT EQUAL"
            lines.append(
                f"  {name}: {len(tokens)} tokens, " + (f"preempted {times} x, {verdict}" if times else "NOT PREEMPTED")
            )
        state = runtime.state()
        for model in state["models"]:
            if model["device_bytes"]:
                off = model["device_bytes"] / model["planned"]["device"]["total"] - 1
                fits = "as predicted" if abs(off) <= 0.03 and model["device_bytes"] <= most else "NOT AS PREDICTED"
                lines.append(f"  {model['id']}: {model['device_bytes']} bytes reported, {off:+.3%}, {fits}")
        for note in state["decisions"]:
            if note["seconds"] is not None:
                steps = ", ".join(f"{k} {v:.3f}" for k, v in note.get("steps", {}).items())
                size = f"{note.get('bytes', 0) / 1e9:.3f} GB"
                lines.append(f"  {note['action']:8}{note['model']:4}{note['seconds']:8.3f} s {size:>10}  {steps}")
    return lines


def main() -> int:
    """Run the check for three residencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.gguf" for name in SHAPES}
        for name, path in files.items():
            write(path, SHAPES[name], arguments.scale)
            report.append(f"{name}: {path.stat().st_size / 1e9:.2f} GB, F16, random weights")
        for share in LENGTHS:
            report += asyncio.run(check(arguments.device, files, share))
            print("\n".join(report[-12:]), flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(report) + "\n")
    return int(any("NOT" in line for line in report))


if __name__ == "__main__":
    sys.exit(main())
