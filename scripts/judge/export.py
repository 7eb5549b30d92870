"""Makes the bundled judge of a checkpoint: the encoder as GGUF (Q8_0), its linear heads beside it.

    python -m scripts.judge.export UPSTREAM CHECKPOINT [FOLDER]     writes FOLDER/fireside-judge-* (persona/weights)

UPSTREAM holds config.json and vocab.txt of sentence-transformers/all-MiniLM-L6-v2, CHECKPOINT is judge.safetensors of
`scripts.judge.adapt`. Needs the `dev` extra.
"""

# safetensors and gguf ship no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from persona.conduct import CLASSES
from persona.llama import JUDGE_HEAD, JUDGE_MODEL
from scripts.rebuild_weights import read_config, read_vocabulary, write_gguf
from scripts.running import exit_code

NAME = "fireside-judge"


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the bundled judge.")
    parser.add_argument("upstream", type=Path, help="folder with config.json and vocab.txt")
    parser.add_argument("checkpoint", type=Path, help="judge.safetensors")
    parser.add_argument("folder", type=Path, nargs="?", default=JUDGE_MODEL.parent, help="where to write")
    options = parser.parse_args()
    model, head = options.folder / JUDGE_MODEL.name, options.folder / JUDGE_HEAD.name

    def work() -> None:
        state = load_file(options.checkpoint)
        bert = {k.removeprefix("bert."): v for k, v in state.items() if k.startswith("bert.")}
        config, vocabulary = read_config(options.upstream), read_vocabulary(options.upstream)
        write_gguf(config, vocabulary, bert, model, name=NAME)
        np.savez(
            head,
            weight=state["head.weight"],
            bias=state["head.bias"],
            kinds_weight=state["kinds.weight"],
            kinds_bias=state["kinds.bias"],
            kinds=np.array(CLASSES),
        )
        print(f"{model}: sha256 {hashlib.sha256(model.read_bytes()).hexdigest()}")

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
