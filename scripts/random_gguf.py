"""Writes a chat model of random weights and real shapes, for tests and benchmarks: it runs like a real one, and talks noise.

    python scripts/random_gguf.py FILE [--shape 1b] [--type Q8_0]

The vocabulary is byte-level BPE (every byte, some merges, ChatML's control tokens), the template ChatML, so that prompts,
grammars and stop tokens work as with a published model.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

from persona.llama.vocabulary import CHATML

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TYPES = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}


class Shape(NamedTuple):
    """The sizes of a Llama-like model; `vocab` is filled up with unused tokens."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocab: int = 0
    context: int = 8192


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 128),
    "125m": Shape(12, 768, 12, 12, 3072, 32000),
    "1b": Shape(16, 2048, 32, 8, 8192, 128256),  # Llama-3.2-1B's
}


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level BPE vocabularies (Radford et al. 2019, GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens (every byte, then one for each merge) and merges."""
    letters = byte_letters()
    space = letters[ord(" ")]
    merges: list[str] = []
    tokens = list(letters)
    for first, second in (*(("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("e", "r"), ("o", "n")), (space, "the")):
        merges.append(f"{first} {second}")
        tokens.append(first + second)
    return tokens, merges


def write_gguf(
    path: Path,
    shape: Shape = SHAPES["tiny"],
    kind: str = "F32",
    *,
    template: str | None = CHATML,
    architecture: str = "llama",
    seed: int = 0,
) -> Path:
    """Writes the model, and gives the path back."""
    quantisation, file_type = TYPES[kind]
    tokens, merges = vocabulary()
    kinds = [TokenType.NORMAL] * len(tokens) + [TokenType.CONTROL] * len(CONTROL)
    control = {name: len(tokens) + i for i, name in enumerate(CONTROL)}
    tokens += CONTROL
    while len(tokens) < shape.vocab:
        kinds.append(TokenType.UNUSED)
        tokens.append(f"[unused{len(tokens)}]")
    writer = GGUFWriter(path, architecture)
    writer.add_name(f"random {path.stem}")
    writer.add_file_type(file_type)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(control["<|endoftext|>"])
    writer.add_eos_token_id(control["<|im_end|>"])
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(seed)
    for name, size in _tensors(shape, len(tokens)):
        if len(size) == 1:
            writer.add_tensor(name, np.ones(size, dtype=np.float32))
            continue
        values = random.standard_normal(size, dtype=np.float32) * np.float32(size[-1] ** -0.5)
        if quantisation is GGMLQuantizationType.F32:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, quantisation), raw_dtype=quantisation)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(shape: Shape, vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    kv = shape.width // shape.heads * shape.kv_heads
    yield "token_embd.weight", (vocab, shape.width)
    yield "output_norm.weight", (shape.width,)
    yield "output.weight", (vocab, shape.width)
    for i in range(shape.layers):
        yield f"blk.{i}.attn_norm.weight", (shape.width,)
        yield f"blk.{i}.attn_q.weight", (shape.width, shape.width)
        yield f"blk.{i}.attn_k.weight", (kv, shape.width)
        yield f"blk.{i}.attn_v.weight", (kv, shape.width)
        yield f"blk.{i}.attn_output.weight", (shape.width, shape.width)
        yield f"blk.{i}.ffn_norm.weight", (shape.width,)
        yield f"blk.{i}.ffn_gate.weight", (shape.hidden, shape.width)
        yield f"blk.{i}.ffn_up.weight", (shape.hidden, shape.width)
        yield f"blk.{i}.ffn_down.weight", (shape.width, shape.hidden)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="tiny")
    parser.add_argument("--type", choices=sorted(TYPES), default="F32")
    given = parser.parse_args()
    write_gguf(given.file, SHAPES[given.shape], given.type)


if __name__ == "__main__":
    main()
