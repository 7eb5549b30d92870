"""Looks at a chat model's GGUF before it is used: what it is, whether it will do, and how fast it is here.

The header is read here first, for on a file that is cut short or garbled llama.cpp says little, or ends the process. Then
llama.cpp reads it without the weights, which takes a tenth of a second.
"""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import ctypes
import math
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import llama_cpp

from persona.cores import usable
from persona.errors import ModelError
from persona.hub import shown_bytes
from persona.llama.runtime import start_llama
from persona.llama.vocabulary import Vocabulary

MIN_CONTEXT = 2048  # tokens: the passages, the instructions and an answer
_ANOTHER = "Choose another model: `fireside model list`."
_AGAIN = "Fetch it again."
_F16 = 2  # bytes of a number in the KV cache

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MANY = 10_000_000  # more entries than any model has: the number is garbage
_KEPT_ITEMS = 1024  # of an array; longer ones are vocabularies, which llama.cpp reads
# Tensor type → (numbers in a block, bytes of a block).
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}


@dataclass(frozen=True)
class ModelFacts:
    """What a chat model's file says. `size` is in bytes, `context` (as trained) and `sliding_window` (0: none) in tokens,
    `cache` in bytes of KV cache for a token in f16. `rolls_back`: the cache can be cut back to a common beginning, so that
    it is computed once. `notes` are sentences that a user should know."""

    path: Path
    name: str
    architecture: str
    quantisation: str
    parameters: int
    size: int
    context: int
    layers: int
    width: int
    vocabulary: int
    template: bool
    sliding_window: int
    rolls_back: bool
    cache: int
    notes: tuple[str, ...]


class Device(NamedTuple):
    """Something that llama.cpp can compute on; memory in bytes."""

    name: str
    description: str
    free: int
    total: int


class Backend(NamedTuple):
    """What llama.cpp was built with: whether a GPU can take layers, the devices, and the CPU's features that it uses."""

    gpu: bool
    devices: tuple[Device, ...]
    features: str


class Speed(NamedTuple):
    """Tokens a second: reading a prompt, and writing."""

    prompt: float
    writing: float


class Header(NamedTuple):
    """A GGUF's header: scalars, strings and short arrays by key, and how many bytes the file has to have."""

    metadata: dict[str, Any]
    needed: int


def free_memory() -> int | None:
    """Bytes that programs can still get; None where the system doesn't say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError, IndexError):
        return None


def vet(path: Path, *, least: int = MIN_CONTEXT, memory: Callable[[], int | None] = free_memory) -> ModelFacts:
    """The facts of a chat model, without loading its weights; `least` tokens of context are asked for.

    ModelError where it can't be used: missing, truncated, no GGUF, not a chat model, an architecture that llama.cpp
    doesn't know, too short a context, more weights than memory.
    """
    header = read_header(path)
    metadata = header.metadata
    architecture = str(metadata.get("general.architecture", ""))
    if kind := _other_kind(metadata, architecture):
        raise ModelError(f"'{path}' is {kind} ('{architecture}'), not a chat model. {_ANOTHER}")
    if (parts := metadata.get("split.count", 1)) != 1:
        raise ModelError(f"'{path}' is one of {parts} parts of a model. Choose one that is a single file.")
    with _model(path, architecture, weights=False) as model:
        window = int(llama_cpp.llama_model_n_swa(model))
        recurrent = bool(llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))
        template = llama_cpp.llama_model_chat_template(model, None) is not None
        if llama_cpp.llama_model_has_encoder(model) or llama_cpp.llama_model_is_diffusion(model):
            raise ModelError(f"'{path}' does not write word by word ('{architecture}'). {_ANOTHER}")
        facts = ModelFacts(
            path=path,
            name=str(metadata.get("general.name") or path.stem),
            architecture=architecture,
            quantisation=_text(llama_cpp.llama_ftype_name(llama_cpp.llama_model_ftype(model))),
            parameters=int(llama_cpp.llama_model_n_params(model)),
            size=int(llama_cpp.llama_model_size(model)),
            context=int(llama_cpp.llama_model_n_ctx_train(model)),
            layers=int(llama_cpp.llama_model_n_layer(model)),
            width=int(llama_cpp.llama_model_n_embd(model)),
            vocabulary=Vocabulary(model).size,
            template=template,
            sliding_window=window,
            rolls_back=not recurrent and not window,
            cache=_cache_bytes(metadata, architecture),
            notes=tuple(_notes(template, recurrent, window)),
        )
    if facts.context < least:
        raise ModelError(
            f"'{path}' was trained for {facts.context:,} tokens of context, and {least:,} are needed. {_ANOTHER}"
        )
    free = None if llama_cpp.llama_supports_gpu_offload() else memory()
    if free is not None and facts.size > free:
        raise ModelError(
            f"'{path}' needs {shown_bytes(facts.size)} of memory for its weights, and {shown_bytes(free)} are free. "
            "Close other programs, or choose a smaller model: `fireside model list`."
        )
    return facts


def read_header(path: Path) -> Header:
    """A GGUF's header, and whether the file is whole; ModelError where it isn't, or isn't a GGUF."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = path.stat().st_size
            if start[:4] != _MAGIC[: len(start)] or not start:
                raise ModelError(
                    f"'{path}' is not a GGUF file: it {f'begins with {start[:4]!r}' if start else 'is empty'}. "
                    "Give a chat model's .gguf file, or run `fireside model list` to see what can be pulled."
                )
            version = int.from_bytes(start[4:8], "little")
            if len(start) == 8 and version not in _VERSIONS:
                raise ModelError(f"'{path}' has GGUF version {version:,}, and versions 2 and 3 can be read. {_ANOTHER}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _parse(data)
    except FileNotFoundError:
        raise ModelError(f"No model file at '{path}'. Check the path, or pull one: `fireside model list`.") from None
    except IsADirectoryError:
        raise ModelError(f"'{path}' is a folder. Give the .gguf file in it.") from None
    except OSError as exc:
        raise ModelError(f"Can't read the model '{path}': {exc.strerror or exc}. Check its permissions.") from None
    except (struct.error, ValueError, OverflowError):
        raise ModelError(
            f"'{path}' is truncated or garbled: its header does not end within the file. {_AGAIN}"
        ) from None
    if header.needed > size:
        raise ModelError(
            f"'{path}' is truncated: {header.needed - size:,} of {header.needed:,} bytes are missing. {_AGAIN}"
        )
    return header


def _parse(data: mmap.mmap) -> Header:
    """struct.error or ValueError where the header runs out of the file or can't be right."""
    cursor = _Cursor(data, at=8)
    tensors, pairs = cursor.count(), cursor.count()
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.string()
        value = cursor.value(int(cursor.number("<I")))
        if value is not None:
            metadata[key] = value
    end = 0
    for _ in range(tensors):
        cursor.string()
        dimensions = int(cursor.number("<I"))
        if dimensions > 4:
            raise ValueError(dimensions)
        elements = math.prod(int(cursor.number("<Q")) for _ in range(dimensions))
        kind, offset = int(cursor.number("<I")), int(cursor.number("<Q"))
        block, width = _BLOCKS.get(kind, (1, 0))  # a type newer than this table: llama.cpp looks at it
        end = max(end, offset + -(-elements // block) * width)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(alignment)
    return Header(metadata, -(-cursor.at // alignment) * alignment + end)


class _Cursor:
    """Reads a GGUF's values one after the other."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self._data = data
        self._size = len(data)
        self.at = at

    def number(self, form: str) -> float:
        (value,) = struct.unpack_from(form, self._data, self.at)
        self.at += struct.calcsize(form)
        return value

    def count(self) -> int:
        value = int(self.number("<Q"))
        if value > _MANY:
            raise ValueError(value)
        return value

    def string(self) -> str:
        length = int(self.number("<Q"))
        begin = self._skip(length)
        return self._data[begin : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A value; None for an array that is long or holds strings."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(int(self.number("<I")), self.count())
        if kind not in _NUMBERS:
            raise ValueError(kind)
        return self.number(_NUMBERS[kind])

    def _array(self, kind: int, count: int) -> list[float] | None:
        if kind == _STRING:
            for _ in range(count):
                self._skip(int(self.number("<Q")))
            return None
        if kind not in _NUMBERS:
            raise ValueError(kind)
        if count <= _KEPT_ITEMS:
            return [self.number(_NUMBERS[kind]) for _ in range(count)]
        self._skip(count * struct.calcsize(_NUMBERS[kind]))
        return None

    def _skip(self, length: int) -> int:
        begin = self.at
        if begin + length > self._size:
            raise ValueError(length)
        self.at += length
        return begin


def _other_kind(metadata: dict[str, Any], architecture: str) -> str | None:
    """What a file is that holds no chat model."""
    if (kind := str(metadata.get("general.type", "model"))) != "model":
        return f"of the kind '{kind}'"
    embeds = metadata.get(f"{architecture}.attention.causal") is False or f"{architecture}.pooling_type" in metadata
    if embeds or "bert" in architecture:
        return "an embedding model"
    if architecture.startswith("t5"):
        return "a model with an encoder"
    return "an image encoder" if architecture == "clip" else None


def _cache_bytes(metadata: dict[str, Any], architecture: str) -> int:
    """Bytes of keys and values for a token, in f16; layers without attention have no heads of it."""

    def read(key: str, default: Any) -> Any:
        return metadata.get(f"{architecture}.{key}", default)

    layers = int(read("block_count", 0))
    heads = read("attention.head_count", 1)
    most = max(1, *heads) if isinstance(heads, list) else max(1, heads)
    each = int(read("embedding_length", 0)) // int(most)
    of_keys, of_values = read("attention.key_length", each), read("attention.value_length", each)
    kept = read("attention.head_count_kv", heads)
    total = sum(cast("list[int]", kept)) if isinstance(kept, list) else kept * layers
    return int(total * (of_keys + of_values) * _F16)


def _notes(template: bool, recurrent: bool, window: int) -> Generator[str]:
    if not template:
        yield "The file holds no chat template, so ChatML is used: replies may be poor if it was trained on another one."
    if recurrent:
        yield "Its state can't be rolled back (it is recurrent), so prompts that begin alike are computed anew."
    elif window:
        yield f"It attends to a sliding window of {window:,} tokens, so prompts that begin alike are computed anew."


_LOG_ERROR = 4  # ggml_log_level
_loading = threading.Lock()
_said: list[str] = []


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _hear(level: int, text: bytes, _data: object) -> None:
    if level == _LOG_ERROR:
        _said.append(_text(text).strip())


@contextmanager
def _model(path: Path, architecture: str, *, weights: bool) -> Generator[Any]:
    """A loaded model, freed afterwards; ModelError says why llama.cpp refuses it."""
    params = llama_cpp.llama_model_default_params()
    gpu = weights and llama_cpp.llama_supports_gpu_offload()
    params.n_gpu_layers = -1 if gpu else 0
    if not weights:
        params.no_alloc = True
        params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # with mmap an assert ends the process
    with _loading:
        _said.clear()
        start_llama()
        llama_cpp.llama_log_set(_hear, None)
        try:
            model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        finally:
            start_llama()  # quiet again
        why = _said[0].rpartition("error loading model: ")[2].rstrip(".") if _said else "it gives no reason"
    if not model:
        if "unknown model architecture" in why:
            raise ModelError(
                f"llama.cpp doesn't know the architecture '{architecture}' of '{path}'. Choose another model, "
                "or install a newer llama-cpp-python."
            )
        raise ModelError(f"llama.cpp can't load '{path}': {why}. {_ANOTHER}")
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


def backend() -> Backend:
    """What llama.cpp was built with."""
    start_llama()
    return Backend(
        gpu=bool(llama_cpp.llama_supports_gpu_offload()),
        devices=tuple(_devices()),
        features=_features(_text(llama_cpp.llama_print_system_info())),
    )


def _features(info: str) -> str:
    """ "CPU : AVX = 1 | AVX2 = 1 | FMA = 0 | " → "AVX, AVX2"."""
    parts = (part.rpartition(":")[2].partition("=") for part in info.split("|"))
    return ", ".join(name.strip() for name, _, value in parts if value.strip() == "1")


def _devices() -> Generator[Device]:
    from llama_cpp._ggml import libggml  # the binding itself exposes no devices

    handle, size = ctypes.c_void_p, ctypes.c_size_t
    counting = ctypes.CFUNCTYPE(size)(("ggml_backend_dev_count", libggml))
    getting = ctypes.CFUNCTYPE(handle, size)(("ggml_backend_dev_get", libggml))
    naming = ctypes.CFUNCTYPE(ctypes.c_char_p, handle)(("ggml_backend_dev_name", libggml))
    describing = ctypes.CFUNCTYPE(ctypes.c_char_p, handle)(("ggml_backend_dev_description", libggml))
    pointer = ctypes.POINTER(size)
    measuring = ctypes.CFUNCTYPE(None, handle, pointer, pointer)(("ggml_backend_dev_memory", libggml))
    for number in range(counting()):
        device = getting(number)
        free, total = size(), size()
        measuring(device, ctypes.byref(free), ctypes.byref(total))
        yield Device(_text(naming(device)), _text(describing(device)), free.value, total.value)


def measure(facts: ModelFacts, *, prompt: int = 256, writing: int = 32, threads: int | None = None) -> Speed:
    """Loads the model, reads a prompt of so many tokens and writes so many; ModelError where memory is short."""
    own = threads or max(1, usable() - 1)
    gpu = bool(llama_cpp.llama_supports_gpu_offload())
    with ExitStack() as stack:
        model = stack.enter_context(_model(facts.path, facts.architecture, weights=True))
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = prompt + writing
        options.n_threads = options.n_threads_batch = own
        if not gpu:  # slower on a CPU
            options.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        context = llama_cpp.llama_init_from_model(model, options)
        if not context:
            raise ModelError(f"There is no memory for a context of '{facts.path}'. Close other programs, or {_ANOTHER}")
        stack.callback(llama_cpp.llama_free, context)
        sampler = llama_cpp.llama_sampler_init_greedy()
        stack.callback(llama_cpp.llama_sampler_free, sampler)
        pieces = Vocabulary(model).tokens("Then he said that it was a good day, and that they would go on. " * prompt)
        read = pieces[:prompt]
        _decode(facts, context, read[:1])  # touches all weights: the disk is not measured
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        begun = time.perf_counter()
        _decode(facts, context, read)
        token = int(llama_cpp.llama_sampler_sample(sampler, context, -1))
        between = time.perf_counter()
        for _ in range(writing):
            _decode(facts, context, [token])
            token = int(llama_cpp.llama_sampler_sample(sampler, context, -1))
        ended = time.perf_counter()
    return Speed(len(read) / (between - begun), writing / (ended - between))


def _decode(facts: ModelFacts, context: Any, tokens: list[int]) -> None:
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    status = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens)))
    if status != 0:
        raise ModelError(f"llama.cpp failed to run '{facts.path}' (status {status}). {_ANOTHER}")


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")
