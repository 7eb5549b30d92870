from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.errors import ModelError
from persona.llama import EMBEDDING_MODEL
from persona.llama import vetting as module
from persona.llama.vetting import ModelFacts, backend, free_memory, measure, read_header, vet
from scripts.random_gguf import SHAPES, vocabulary, write_gguf

TRAINED = os.environ.get("FIRESIDE_TEST_MODEL", "")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def refused(path: Path, **options: int) -> str:
    with pytest.raises(ModelError) as caught:
        vet(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path: Path, architecture: str, keys: Mapping[str, object], tensors: Mapping[str, tuple[int, ...]]) -> Path:
    """A GGUF of zeros with these keys (below the architecture's name) and tensors, and a small vocabulary."""
    writer = gguf.GGUFWriter(path, architecture)
    tokens, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    for key, value in keys.items():
        name = key if "." in key and key.split(".")[0] in ("general", "split") else f"{architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            assert isinstance(value, int)
            writer.add_uint32(name, value)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


VOCABULARY = len(vocabulary()[0])
SIZES: dict[str, object] = {
    "context_length": 4096,
    "embedding_length": 64,
    "block_count": 1,
    "feed_forward_length": 128,
}
EDGES = {"token_embd.weight": (VOCABULARY, 64), "output_norm.weight": (64,)}


def sliding(path: Path) -> Path:
    """A Gemma 2: every other layer attends to a window."""
    keys = {"attention.head_count": 4, "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-6}
    more = {"attention.key_length": 16, "attention.value_length": 16, "attention.sliding_window": 512}
    layer = {
        "attn_norm": (64,),
        "attn_q": (64, 64),
        "attn_k": (32, 64),
        "attn_v": (32, 64),
        "attn_output": (64, 64),
        "post_attention_norm": (64,),
        "ffn_norm": (64,),
        "ffn_gate": (128, 64),
        "ffn_up": (128, 64),
        "ffn_down": (64, 128),
        "post_ffw_norm": (64,),
    }
    return written(
        path, "gemma2", SIZES | keys | more, EDGES | {f"blk.0.{name}.weight": shape for name, shape in layer.items()}
    )


def recurrent(path: Path) -> Path:
    """A Mamba: a state, no attention."""
    keys = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 4}
    layer = {
        "attn_norm.weight": (64,),
        "ssm_in.weight": (256, 64),
        "ssm_conv1d.weight": (128, 4),
        "ssm_conv1d.bias": (128,),
        "ssm_x.weight": (36, 128),
        "ssm_dt.weight": (128, 4),
        "ssm_dt.bias": (128,),
        "ssm_a": (128, 16),
        "ssm_d": (128,),
        "ssm_out.weight": (64, 128),
    }
    none = {"attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5, "feed_forward_length": 0}
    return written(
        path, "mamba", SIZES | none | keys, EDGES | {f"blk.0.{name}": shape for name, shape in layer.items()}
    )


def test_the_facts_are_those_that_were_written(tiny: Path):
    shape = SHAPES["tiny"]
    assert vet(tiny) == ModelFacts(
        path=tiny,
        name="random tiny",
        architecture="llama",
        quantisation="all F32",
        parameters=108_096,
        size=432_384,
        context=shape.context,
        layers=shape.layers,
        width=shape.width,
        vocabulary=266,
        template=True,
        sliding_window=0,
        rolls_back=True,
        cache=shape.layers * shape.kv_heads * (shape.width // shape.heads) * 2 * 2,
        notes=(),
    )


def test_a_quantisation_is_named_as_llama_cpp_does(tmp_path: Path):
    assert vet(write_gguf(tmp_path / "q.gguf", kind="Q4_0")).quantisation == "Q4_0"


def test_a_model_without_a_template_is_noted_and_not_refused(tmp_path: Path):
    facts = vet(write_gguf(tmp_path / "m.gguf", template=None))
    assert not facts.template
    assert "ChatML is used" in facts.notes[0]


def test_a_sliding_window_can_not_be_rolled_back(tmp_path: Path):
    facts = vet(sliding(tmp_path / "m.gguf"))
    assert (facts.architecture, facts.sliding_window, facts.rolls_back) == ("gemma2", 512, False)
    assert "sliding window of 512 tokens" in facts.notes[-1]


def test_a_recurrent_state_can_not_be_rolled_back_and_has_no_cache(tmp_path: Path):
    facts = vet(recurrent(tmp_path / "m.gguf"))
    assert (facts.rolls_back, facts.sliding_window, facts.cache) == (False, 0, 0)
    assert "recurrent" in facts.notes[-1]


def test_a_missing_file_a_folder_and_an_unreadable_one_are_told_apart(tmp_path: Path):
    assert refused(tmp_path / "m.gguf").startswith(f"No model file at '{tmp_path / 'm.gguf'}'.")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    assert "Can't read the model" in refused(tmp_path / "loop.gguf")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a GGUF file: it is empty"),
        (b"<!doctype html>", "is not a GGUF file: it begins with b'<!do'"),
        (b"version https://git-lfs", "is not a GGUF file: it begins with b'vers'"),
        (b"GG", "is truncated or garbled"),
        (b"GGUF\x03", "is truncated or garbled"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "is truncated or garbled"),
        (b"GGUF\x01\0\0\0" + bytes(16), "has GGUF version 1"),
        (b"GGUF\0\0\0\x03" + bytes(16), "has GGUF version 50,331,648"),
    ],
)
def test_what_is_no_gguf_is_refused_before_llama_cpp_sees_it(tmp_path: Path, content: bytes, says: str):
    (tmp_path / "m.gguf").write_bytes(content)
    assert says in refused(tmp_path / "m.gguf")


@pytest.mark.parametrize("missing", [1, 1000, 400_000])
def test_a_truncated_file_says_how_much_is_missing(tiny: Path, tmp_path: Path, missing: int):
    whole = tiny.read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[:-missing])
    assert f"is truncated: {missing:,} of {len(whole):,} bytes are missing" in refused(tmp_path / "m.gguf")


def test_a_whole_file_needs_all_its_bytes_and_no_more(tiny: Path):
    assert read_header(tiny).needed == tiny.stat().st_size
    assert read_header(EMBEDDING_MODEL).needed == EMBEDDING_MODEL.stat().st_size


@given(cut=st.integers(0, 8000), at=st.integers(4, 8000), value=st.binary(min_size=1, max_size=8))
def test_a_garbled_header_is_a_model_error_or_still_a_header(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, value: bytes
):
    data = bytearray(tiny.read_bytes())
    data[at : at + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "garbled.gguf"
    path.write_bytes(data[: len(data) - cut])
    with contextlib.suppress(ModelError):
        assert read_header(path).needed <= path.stat().st_size


def test_an_array_of_arrays_is_garbage(tmp_path: Path):
    key = struct.pack("<Q", 1) + b"k"
    nested = struct.pack("<IIQ", 9, 9, 1)
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + nested + bytes(64))
    assert "is truncated or garbled" in refused(tmp_path / "m.gguf")


def test_the_sizes_of_tensor_types_are_those_of_the_format():
    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == module._BLOCKS


def test_an_embedding_model_is_not_taken_for_a_chat_model():
    assert "is an embedding model ('bert'), not a chat model" in refused(EMBEDDING_MODEL)


@pytest.mark.parametrize(
    ("architecture", "keys", "says"),
    [
        ("qwen3", {"pooling_type": 3}, "is an embedding model ('qwen3')"),
        ("t5", {}, "is a model with an encoder ('t5')"),
        ("clip", {}, "is an image encoder ('clip')"),
        ("llama", {"general.type": "adapter"}, "is of the kind 'adapter' ('llama')"),
        ("llama", {"split.count": 3}, "is one of 3 parts of a model"),
        ("nonesuch", {}, "llama.cpp doesn't know the architecture 'nonesuch'"),
        ("llama", {}, "llama.cpp can't load"),
    ],
)
def test_what_is_no_chat_model_of_ours_is_refused(
    tmp_path: Path, architecture: str, keys: dict[str, object], says: str
):
    assert says in refused(written(tmp_path / "m.gguf", architecture, SIZES | keys, EDGES))


def test_llama_cpp_s_own_reason_is_passed_on(tmp_path: Path):
    says = refused(write_gguf(tmp_path / "m.gguf", architecture="qwen3"))
    assert "tensor 'blk.0.attn_k_norm.weight' not found" in says


def test_too_short_a_context_is_refused(tmp_path: Path):
    path = write_gguf(tmp_path / "m.gguf", SHAPES["tiny"]._replace(context=512))
    assert "was trained for 512 tokens of context, and 2,048 are needed" in refused(path)
    assert vet(path, least=512).context == 512


def test_more_weights_than_free_memory_are_refused(tiny: Path):
    with pytest.raises(ModelError, match=r"needs 432\.4 kB of memory for its weights, and 1\.0 kB are free"):
        vet(tiny, memory=lambda: 1000)


def test_where_the_system_does_not_tell_its_memory_nothing_is_refused(tiny: Path):
    assert vet(tiny, memory=lambda: None).size == 432_384


def test_free_memory_is_less_than_there_is():
    free = free_memory()
    assert free is not None
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_backend_names_its_devices_and_features():
    found = backend()
    assert "CPU" in [device.name for device in found.devices]
    assert all(device.description and device.total >= device.free >= 0 for device in found.devices)
    assert all(name.isidentifier() for name in found.features.split(", "))


def test_a_speed_is_measured(tiny: Path):
    speed = measure(vet(tiny), prompt=64, writing=8, threads=1)
    assert speed.prompt > 0
    assert speed.writing > 0


def test_a_model_that_went_away_meanwhile_can_not_be_measured(tmp_path: Path):
    facts = vet(write_gguf(tmp_path / "m.gguf"))
    facts.path.unlink()
    with pytest.raises(ModelError, match=r"llama\.cpp can't load"):
        measure(facts)


@pytest.mark.skipif(not Path(TRAINED).is_file(), reason="FIRESIDE_TEST_MODEL names no file")
def test_a_published_model_is_read_rightly():
    facts = vet(Path(TRAINED), least=1)
    assert facts.parameters > 0
    assert facts.cache > 0
    assert facts.quantisation
