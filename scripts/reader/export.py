"""Makes the bundled reader of a checkpoint: the encoder as GGUF (Q8_0), the small head beside it.

    python -m scripts.reader.export UPSTREAM CHECKPOINT DATA     writes persona/weights/fireside-reader-*

UPSTREAM holds config.json and vocab.txt of sentence-transformers/all-MiniLM-L6-v2, CHECKPOINT is reader.safetensors of
`scripts.reader.train`, DATA the data sets: the projection is the principal components of the reader's own token rows on
their texts. Needs the `dev` extra.
"""

# safetensors and gguf ship no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import hashlib
import random
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from persona.llama import MAX_TOKENS, READER_HEAD, READER_MODEL, Encoder, passes
from scripts.reader.pairs import load
from scripts.rebuild_weights import read_config, read_vocabulary, write_gguf
from scripts.running import exit_code

KEPT = 128  # dimensions of a token vector
TEXTS = 600  # paragraphs that the projection is computed on
NAME = "fireside-reader"


def projection(model: Path, data: Path) -> NDArray[np.float16]:
    """The first principal components (384, KEPT) of unit token rows, about the origin: cosines are what is kept."""
    articles, _ = load(data)
    texts = [p.text for a in articles for p in a.paragraphs]
    chosen = random.Random(0).sample(texts, min(TEXTS, len(texts)))
    encoder = Encoder(model, None, pooled=False, threads=4)
    tokens = [encoder.framed(encoder.pieces(text), MAX_TOKENS) for text in chosen]
    rows = np.concatenate([r for _, part in passes(encoder, tokens) for r in part])
    encoder.close()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    print(f"{KEPT} of {rows.shape[1]} dimensions hold {values[-KEPT:].sum() / values.sum():.1%} of the squared length")
    return vectors[:, ::-1][:, :KEPT].astype(np.float16)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the bundled reader.")
    parser.add_argument("upstream", type=Path, help="folder with config.json and vocab.txt")
    parser.add_argument("checkpoint", type=Path, help="reader.safetensors")
    parser.add_argument("data", type=Path, help="folder with the data sets")
    options = parser.parse_args()

    def work() -> None:
        state = load_file(options.checkpoint)
        bert = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
        config, vocabulary = read_config(options.upstream), read_vocabulary(options.upstream)
        write_gguf(config, vocabulary, bert, READER_MODEL, name=NAME)
        np.savez(
            READER_HEAD,
            projection=projection(READER_MODEL, options.data),
            term_weight=state["term.weight"][0].astype(np.float32),
            term_bias=np.float32(state["term.bias"][0]),
        )
        print(f"{READER_MODEL}: sha256 {hashlib.sha256(READER_MODEL.read_bytes()).hexdigest()}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
