"""Makes tests/data/minilm-reference.json: tokens and vectors that the tests hold the llama.cpp embedding against.

    python scripts/reference_vectors.py FOLDER            writes the file
    python scripts/reference_vectors.py FOLDER --check    compares persona.llama with it as well

FOLDER holds the upstream files of sentence-transformers/all-MiniLM-L6-v2, tokenizer.json included. Nothing of llama.cpp
takes part in the reference: the `tokenizers` package makes the tokens, and numpy runs the upstream 32-bit weights
through the forward pass of BERT (Devlin et al. 2019, arXiv:1810.04805) below. Needs the `dev` extra.
"""

# tokenizers ships no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rebuild_weights import Tensors, read_config, read_tensors
from tokenizers import Tokenizer

from persona.errors import FiresideError, InputError, ModelError
from persona.llama import MAX_TOKENS, LlamaEmbedder

REFERENCE = Path(__file__).parent.parent / "tests" / "data" / "minilm-reference.json"
COSINE = 0.999  # what 8-bit weights must reach
_DIGITS = 6

_SPOKEN = (
    "so I think the thing which is really important to say is that when we train a large neural network to "
    "accurately predict the next word in lots of different texts from the internet what we are doing is that we are"
    " learning a world model and it may look on the surface like we are just learning statistical correlations in "
    "text but it turns out that to just learn the statistical correlations in text to compress them really well "
    "what the neural network learns is some representation of the process that produced the text "
)
# Texts that say something. Greetings, thanks and bare punctuation lose more in 8 bits than COSINE allows: their figures
# stand in persona/weights/README.md, under the known limits.
TEXTS = (
    "What is reliability?",
    "why did you start openai",
    "Who was your professor at the university of Toronto?",
    "What did he say about GPT-4's ability to read charts, diagrams & memes?",
    "unsupervised learning",
    "hello",
    "a",
    "12",
    "In 2012 it took 2 GTX 580s, 60,000,000 parameters and 1.2 million images.",
    "3.14159 1e-12 0x1F 50% $10,000 #1 C++",
    "“No,” she said — “it's not (quite) that…”; and/or: [this] {that} <those>!?",
    "don't won't it's I'd we've y'all",
    "Café, naïve, coöperate, Zürich, São Paulo, El Niño, Ærø, Łódź, İstanbul",
    "Cafe\u0301 with a combining accent",
    "[CLS] what is this? [SEP] [MASK] [PAD] [UNK]",
    "  tabs\tand\nnew lines,   and   spaces  ",
    "knowâ€”what is said with broken characters",
    "Привет, как дела? Γειά σου. 你好,世界 日本語 🙂",
    "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism supercalifragilistic",
    "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz",
    _SPOKEN.strip(),
    (_SPOKEN * 3).strip(),
    "[Music] - Yes. - 2012. (laughing) " + _SPOKEN * 6,
    " ".join(str(n) for n in range(1900, 2100)),
)


class Reference(NamedTuple):
    """The texts with their tokens and unit vectors."""

    texts: Sequence[str]
    tokens: list[list[int]]
    vectors: list[list[float]]


def make(folder: Path, texts: Sequence[str] = TEXTS) -> Reference:
    """Tokens and vectors by the upstream files."""
    config, tensors = read_config(folder), read_tensors(folder)
    tokens = tokenize(folder / "tokenizer.json", texts)
    vectors = [forward(ids, tensors, config["num_hidden_layers"], config["num_attention_heads"]) for ids in tokens]
    return Reference(texts, tokens, [[round(float(x), _DIGITS) for x in v] for v in vectors])


def tokenize(file: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids with [CLS] and [SEP], at most MAX_TOKENS."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as exc:  # tokenizers raises the bare class
        raise InputError(f"Can't read '{file}': {exc}. Give a folder with the upstream tokenizer.json.") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    # A "[CLS]" that somebody typed is five characters, not the model's control token.
    tokenizer.encode_special_tokens = True
    return [tokenizer.encode(text).ids for text in texts]


def forward(ids: Sequence[int], tensors: Tensors, layers: int, heads: int) -> NDArray[np.float64]:
    """The sentence vector: BERT's last hidden states, averaged over all tokens, of length 1. In 64 bits throughout."""
    word, position, kind = (
        np.asarray(tensors[f"embeddings.{n}_embeddings.weight"], np.float64) for n in ("word", "position", "token_type")
    )
    x = word[list(ids)] + position[: len(ids)] + kind[0]
    x = _normed(x, "embeddings.LayerNorm", tensors)
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            _split(_linear(x, f"{at}attention.self.{n}", tensors), heads) for n in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        seen = _linear(mixed.transpose(1, 0, 2).reshape(x.shape), f"{at}attention.output.dense", tensors)
        x = _normed(x + seen, f"{at}attention.output.LayerNorm", tensors)
        inner = _gelu(_linear(x, f"{at}intermediate.dense", tensors))
        x = _normed(x + _linear(inner, f"{at}output.dense", tensors), f"{at}output.LayerNorm", tensors)
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _linear(x: NDArray[np.float64], name: str, tensors: Tensors) -> NDArray[np.float64]:
    return x @ tensors[f"{name}.weight"].T.astype(np.float64) + tensors[f"{name}.bias"]


def _normed(x: NDArray[np.float64], name: str, tensors: Tensors) -> NDArray[np.float64]:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def _split(x: NDArray[np.float64], heads: int) -> NDArray[np.float64]:
    """(tokens, width) as (heads, tokens, width of a head)."""
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


_erf = np.frompyfunc(math.erf, 1, 1)


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # The exact form, which upstream was trained with; the common tanh formula is off by up to 0.0005.
    return x * 0.5 * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), np.float64))


def compare(reference: Reference, embedder: LlamaEmbedder) -> str:
    """One line on how near the embedder comes; ModelError that names the texts where it doesn't come near enough."""
    vectors = np.asarray(embedder.embed(reference.texts))
    wanted = np.asarray(reference.vectors)
    cosines = (vectors * wanted).sum(axis=1) / np.linalg.norm(wanted, axis=1)
    wrong = [t for t, ids in zip(reference.texts, reference.tokens, strict=True) if embedder.tokenize(t) != ids]
    far = [t for t, c in zip(reference.texts, cosines, strict=True) if c < COSINE]
    if wrong or far:
        named = "; ".join(repr(t[:60]) for t in dict.fromkeys([*wrong, *far]))
        raise ModelError(
            f"Of {len(reference.texts)} texts, {len(wrong)} tokenizations differ "
            f"and {len(far)} cosines are below {COSINE}: {named}."
        )
    return (
        f"{len(reference.texts)} texts: all tokenizations are the same; "
        f"cosine at least {cosines.min():.5f}, median {np.median(cosines):.5f}."
    )


def save(reference: Reference, path: Path) -> None:
    """Writes the reference as JSON, one text, token list or vector a line."""
    parts: list[str] = []
    for key, values in reference._asdict().items():
        rows: list[Any] = list(values)
        lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
        parts.append(f'"{key}": [\n{lines}\n]')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make the reference tokens and vectors from the upstream files.")
    parser.add_argument("folder", type=Path, help="folder with config.json, tokenizer.json and model.safetensors")
    parser.add_argument("--output", type=Path, default=REFERENCE, help="where to write (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare the bundled embedding with it as well")
    options = parser.parse_args()
    try:
        reference = make(options.folder)
        save(reference, options.output)
        print(f"{options.output}: {len(reference.texts)} texts", file=sys.stderr)
        if options.check:
            embedder = LlamaEmbedder()
            print(compare(reference, embedder))
            embedder.close()
    except FiresideError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"Can't write '{options.output}': {exc.strerror}. Choose another --output.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
