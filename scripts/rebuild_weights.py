"""Rebuilds the bundled embedding weights from the upstream files, so that nobody has to take them on trust.

    python scripts/rebuild_weights.py FOLDER            writes persona/weights/all-MiniLM-L6-v2-Q8_0.gguf
    python scripts/rebuild_weights.py FOLDER --check    compares a rebuild with the bundled file and writes nothing

FOLDER holds config.json, vocab.txt and model.safetensors of sentence-transformers/all-MiniLM-L6-v2; see
persona/weights/README.md for where to find them. Needs the `dev` extra.
"""

# gguf ships no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray
from safetensors.numpy import load

from persona.errors import FiresideError, InputError, ModelError
from persona.llama import EMBEDDING_MODEL, EMBEDDING_SHA256

TENSORS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
CONFIG_KEYS = {
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "type_vocab_size",
}
NAME = "all-MiniLM-L6-v2"
# Control tokens keep their brackets: llama.cpp looks for them by name. "[UNK]" has a kind of its own.
SPECIAL = {
    "[PAD]": gguf.TokenType.CONTROL,
    "[UNK]": gguf.TokenType.UNKNOWN,
    "[CLS]": gguf.TokenType.CONTROL,
    "[SEP]": gguf.TokenType.CONTROL,
    "[MASK]": gguf.TokenType.CONTROL,
}
EMBEDDINGS = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "position_embd.weight": "embeddings.position_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm": "embeddings.LayerNorm",
}
LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
# Small tables that are added, not multiplied: llama.cpp reads them as floats.
KEPT_F32 = ("position_embd.weight", "token_types.weight")

Tensors = Mapping[str, NDArray[np.float32]]


def read_config(folder: Path) -> dict[str, Any]:
    """The upstream config.json; InputError if it is missing or describes another kind of model."""
    try:
        config = json.loads(_read(folder, "config.json"))
    except ValueError:
        config = None
    if not isinstance(config, dict) or config.get("model_type") != "bert" or not config.keys() >= CONFIG_KEYS:
        raise InputError(f"'{folder / 'config.json'}' describes no BERT. Give the folder of {NAME}'s upstream files.")
    return config


def read_vocabulary(folder: Path) -> list[str]:
    """The word pieces of vocab.txt, by id; InputError unless it is the very file that the bundled weights come from."""
    return _read(folder, "vocab.txt", VOCABULARY_SHA256).decode("utf-8").removesuffix("\n").split("\n")


def read_tensors(folder: Path) -> Tensors:
    """The tensors of model.safetensors; InputError unless it is the very file that the bundled weights come from."""
    return load(_read(folder, "model.safetensors", TENSORS_SHA256))


def _read(folder: Path, name: str, sha256: str | None = None) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as exc:
        path, why = folder / name, exc.strerror
        raise InputError(f"Can't read '{path}': {why}. Give a folder with {NAME}'s upstream files.") from None
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise InputError(
            f"'{folder / name}' has the sha256 {digest}, not {sha256}. Give the {name} of sentence-transformers/{NAME}."
        )
    return data


def renamed(tensors: Tensors, layers: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors under llama.cpp's names, in the bundled file's order."""
    for name, upstream in EMBEDDINGS.items():
        yield from _parts(name, upstream, tensors)
    for layer in range(layers):
        for name, upstream in LAYER.items():
            yield from _parts(f"blk.{layer}.{name}", f"encoder.layer.{layer}.{upstream}", tensors)


def _parts(name: str, upstream: str, tensors: Tensors) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if upstream in tensors:
        yield name, tensors[upstream]
        return
    for part in ("weight", "bias"):
        yield f"{name}.{part}", tensors[f"{upstream}.{part}"]


def write(folder: Path, output: Path, *, quantised: bool = True) -> None:
    """Writes the GGUF that the upstream files make; `quantised=False` keeps every tensor in 32 bits."""
    config, vocabulary, tensors = read_config(folder), read_vocabulary(folder), read_tensors(folder)
    write_gguf(config, vocabulary, tensors, output, name=NAME, quantised=quantised)


def write_gguf(
    config: Mapping[str, Any],
    vocabulary: Sequence[str],
    tensors: Tensors,
    output: Path,
    *,
    name: str,
    quantised: bool = True,
) -> None:
    """Writes a BERT with upstream's tensor names as GGUF."""
    writer = gguf.GGUFWriter(output, "bert")
    writer.add_name(name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_token_list([_piece(word) for word in vocabulary])
    writer.add_token_types([SPECIAL.get(word, gguf.TokenType.NORMAL) for word in vocabulary])
    writer.add_token_type_count(config["type_vocab_size"])
    ids = {word: list(vocabulary).index(word) for word in SPECIAL}
    writer.add_bos_token_id(ids["[CLS]"])
    writer.add_eos_token_id(ids["[SEP]"])
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_mask_token_id(ids["[MASK]"])
    # gguf has no method for this one, and llama.cpp still reads it.
    writer.add_uint32("tokenizer.ggml.cls_token_id", ids["[CLS]"])
    for key, tensor in renamed(tensors, config["num_hidden_layers"]):
        if quantised and tensor.ndim == 2 and key not in KEPT_F32:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(key, quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _piece(word: str) -> str:
    """A word piece as llama.cpp writes it: a word's beginning is marked, not its continuation."""
    if word in SPECIAL:
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def differences(rebuilt: Path, bundled: Path) -> list[str]:
    """What differs between two GGUF files, a line each: keys, their values, tensors' types, shapes and bits."""
    new, old = gguf.GGUFReader(rebuilt), gguf.GGUFReader(bundled)
    lines = [f"key {k}: only in one file" for k in sorted(new.fields.keys() ^ old.fields.keys())]
    lines += [
        f"key {k}: another value"
        for k in new.fields.keys() & old.fields.keys()
        if new.fields[k].types != old.fields[k].types or new.fields[k].contents() != old.fields[k].contents()
    ]
    mine, theirs = ({t.name: t for t in file.tensors} for file in (new, old))
    lines += [f"tensor {n}: only in one file" for n in sorted(mine.keys() ^ theirs.keys())]
    for name in mine.keys() & theirs.keys():
        a, b = mine[name], theirs[name]
        if a.tensor_type != b.tensor_type or a.data.tobytes() != b.data.tobytes():
            lines.append(f"tensor {name}: other bits")
    return lines


def check(folder: Path) -> str:
    """One line that says that the rebuild equals the bundled file; ModelError with what differs otherwise."""
    with tempfile.TemporaryDirectory() as temporary:
        rebuilt = Path(temporary) / EMBEDDING_MODEL.name
        write(folder, rebuilt)
        found = differences(rebuilt, EMBEDDING_MODEL)
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise ModelError(f"The rebuild differs from '{EMBEDDING_MODEL}': {'; '.join(found[:5])}{more}.")
        tensors = len(gguf.GGUFReader(rebuilt).tensors)
        same = rebuilt.read_bytes() == EMBEDDING_MODEL.read_bytes()
    whole = "the files are the same byte for byte" if same else "the files differ in their layout only"
    return f"{tensors} of {tensors} tensors are the same bit for bit, and so are all keys; {whole}."


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled embedding weights from the upstream files.")
    parser.add_argument("folder", type=Path, help="folder with config.json, vocab.txt and model.safetensors")
    parser.add_argument("--output", type=Path, default=EMBEDDING_MODEL, help="where to write (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare with the bundled file and write nothing")
    options = parser.parse_args()
    try:
        if options.check:
            print(check(options.folder))
            return 0
        write(options.folder, options.output)
    except FiresideError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"Can't write '{options.output}': {exc.strerror}. Choose another --output.", file=sys.stderr)
        return 1
    digest = hashlib.sha256(options.output.read_bytes()).hexdigest()
    as_bundled = "as bundled" if digest == EMBEDDING_SHA256 else "not the bundled file's"
    print(f"{options.output}: {options.output.stat().st_size:,} bytes, sha256 {digest} ({as_bundled})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
