"""Serves many conversations from one chat model: continuous batching (Yu et al. 2022, "Orca", OSDI) over llama.cpp.

One thread owns the context. Each step decodes one batch: first a token for everyone who is writing, then a bounded run of
prompt tokens for whoever was served least. The cells of a prompt that begins like another one are shared, not computed
again (`llama_memory_seq_cp` in a unified cache). A conversation that rests keeps what was computed for it: a little of it in
the cache, the rest put aside, for a step reads past all cells that there are.
"""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import codecs
import ctypes
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from persona.cores import usable
from persona.errors import BusyError, ConfigError, DeadlineError, ModelError, TooLongError
from persona.llama.grammar import Grammar, Grammars
from persona.llama.runtime import start_llama
from persona.llama.shelf import Resting, Shelf, common_prefix
from persona.llama.vocabulary import Vocabulary
from persona.types import Message, Sampling

FlashAttention = Literal["auto", "on", "off"]
_FLASH = {
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
_WORTH_WAITING = 64  # prompt tokens: another request that is computing so many of ours is waited for
_ALL_LAYERS = 999
_SHUT_DOWN = "The chat model has been shut down. Start again."
_LATE = "The chat model was not done in time. Ask again, or ask for less."
_IDLE_CELLS = 512  # of conversations that rest: more of them slow those at work by more than a twentieth
_NO_ROOM = 1  # llama_decode: no place in the cache for this batch
_LARGEST = 2**31 - 1  # tokens are C's int32


@dataclass(frozen=True)
class EngineOptions:
    """How the engine runs. `context` is counted in tokens, of all conversations together; `threads` None: one fewer than
    there are cores; `gpu_layers` None: all, where llama.cpp was built for a GPU. `prefill` prompt tokens are read in one
    step beside others' writing, `batch` where nobody writes. `waiting` requests may queue beyond the `parallel` at work,
    and `idle` conversations be kept beside them; `aside` are the tokens of those that are kept outside the context (None:
    half of its size). ConfigError where it can't run so."""

    context: int = 8192
    parallel: int = 8
    idle: int = 16
    threads: int | None = None
    gpu_layers: int | None = None
    flash_attention: FlashAttention = "auto"
    batch: int = 512
    prefill: int = 128
    waiting: int = 64
    aside: int | None = None

    def __post_init__(self) -> None:
        least = {
            "context": 1,
            "parallel": 1,
            "idle": 0,
            "threads": 1,
            "batch": 1,
            "prefill": 1,
            "waiting": 0,
            "aside": 0,
        }
        for name, low in least.items():
            given = getattr(self, name)
            if given is not None and given < low:
                raise ConfigError(f"The chat engine can't run with {given} as '{name}'. Set at least {low}.")
        most = int(llama_cpp.llama_max_parallel_sequences()) - 1
        if self.parallel + self.idle > most:
            raise ConfigError(
                f"The chat engine can't hold {self.parallel + self.idle} conversations ('parallel' and 'idle' together). "
                f"Set at most {most}."
            )


class Piece(NamedTuple):
    """What came next: text, the number of tokens written so far, and at the end why ("length": there was no more room)."""

    text: str
    tokens: int
    end: Literal["stop", "length"] | None = None


class Load(NamedTuple):
    """How busy the engine is: requests at work and waiting, cells of the cache in use, tokens decoded since the start, and
    tokens of conversations that are put aside."""

    running: int
    waiting: int
    cells: int
    decoded: int
    aside: int = 0


@dataclass(eq=False)
class _Request:
    prompt: list[int]
    sampling: Sampling
    user: str
    loop: asyncio.AbstractEventLoop
    until: float | None
    keep: bool = False
    grammar: Grammar | None = None
    inbox: asyncio.Queue[Piece | ModelError] = field(default_factory=asyncio.Queue[Piece | ModelError])
    cancelled: bool = False
    pending: list[int] = field(default_factory=list[int])  # tokens that are still to be decoded
    written: int = 0
    room: int = 0  # tokens that it may write
    text: _Writer | None = None
    sampler: Any = None

    @property
    def reading(self) -> bool:
        return self.written == 0

    def free(self) -> None:
        if self.sampler:
            llama_cpp.llama_sampler_free(self.sampler)
            self.sampler = None


@dataclass(eq=False)
class _Sequence:
    """One of the context's sequences: the tokens that its cells hold, and the cells' numbers."""

    number: int
    tokens: list[int] = field(default_factory=list[int])
    cells: list[int] = field(default_factory=list[int])
    used: int = 0
    request: _Request | None = None
    kept: bool = False


class _Writer:
    """Bytes of tokens to text: whole characters only, and nothing of the stop text that is complete first."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = [s for s in stop if s]
        self._held = ""
        self.stopped = False

    def write(self, data: bytes, *, last: bool = False) -> str:
        """What may be shown now. Text that may yet become a stop text is held back."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(data, last)
        # The one that is complete first, however the text came in parts; of two at once the longer.
        found = min(((at + len(s), at) for s in self._stop if (at := text.find(s)) >= 0), default=None)
        if found:
            self.stopped, self._held = True, ""
            return text[: found[1]]
        keep = 0 if last else max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many letters at the end of the text begin the stop text."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)


class Engine:
    """A chat model in this process (implements `ChatModel`). Made on any thread; streams are awaited from any event loop."""

    def __init__(self, path: Path, options: EngineOptions | None = None, *, name: str | None = None) -> None:
        self.options = options or EngineOptions()
        self.path = path
        self._name = name or path.stem
        start_llama()
        if not path.is_file():
            raise ModelError(f"No chat model at '{path}'. Check FIRESIDE_CHAT_MODEL, or run `fireside model pull`.")
        self._open()
        self.vocabulary = Vocabulary(self._model)
        # Not freed at shutdown: somebody may just be setting a prompt or making a grammar, on another thread.
        weakref.finalize(self.vocabulary, llama_cpp.llama_model_free, self._model).atexit = False
        self._grammars = Grammars(self.vocabulary)
        self._sequences = self._empty()
        self._cells: Counter[int] = Counter()
        aside = self.options.aside
        self._shelf = Shelf(self.options.context // 2 if aside is None else aside)
        self._numbers = itertools.count()
        self._waiting: list[_Request] = []
        self._served: dict[str, int] = {}
        self._tick = 0
        self._decoded = 0
        self._stopping = False
        self._news = threading.Condition()
        self._post: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Piece | ModelError]]] = {}
        self._thread = threading.Thread(target=self._work, name="fireside-engine", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        options = self.options
        gpu = bool(llama_cpp.llama_supports_gpu_offload())
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = options.gpu_layers if options.gpu_layers is not None else (_ALL_LAYERS if gpu else 0)
        self._model = llama_cpp.llama_model_load_from_file(str(self.path).encode(), params)
        if not self._model:
            raise ModelError(
                f"llama.cpp can't load the chat model '{self.path}'. "
                "Run `fireside model info` on it to see what is wrong, or pull it again."
            )
        self._rolls_back = not (
            llama_cpp.llama_model_is_recurrent(self._model) or llama_cpp.llama_model_is_hybrid(self._model)
        )
        threads = options.threads or max(1, usable() - 1)
        made = llama_cpp.llama_context_default_params()
        made.n_ctx = options.context
        made.n_batch = made.n_ubatch = min(options.batch, options.context)
        made.n_seq_max = options.parallel + options.idle + 1
        made.n_threads = made.n_threads_batch = threads
        made.kv_unified = True
        made.swa_full = True  # a sliding window's cache can't be rolled back else
        made.no_perf = True
        made.flash_attn_type = _FLASH.get(
            options.flash_attention,
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO if gpu else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        )
        self._context = llama_cpp.llama_init_from_model(self._model, made)
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise ModelError(
                f"There is no memory for a context of {options.context} tokens with '{self.path.name}'. "
                "Set a smaller FIRESIDE_CONTEXT, or choose a smaller model."
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        if not self._memory or llama_cpp.llama_model_has_encoder(self._model):
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)
            raise ModelError(f"'{self.path}' is no chat model: it can't go on with a text. Choose another one.")
        self._room = int(llama_cpp.llama_n_ctx(self._context))
        self._longest = min(self._room, int(llama_cpp.llama_model_n_ctx_train(self._model)) or self._room)
        self._batch = _Batch(min(options.batch, options.context))

    @property
    def name(self) -> str:
        """The model's file name without its ending, unless another name was given."""
        return self._name

    def load(self) -> Load:
        """How busy it is; read from any thread."""
        running = sum(s.request is not None for s in self._sequences)
        return Load(running, len(self._waiting), len(self._cells), self._decoded, self._shelf.tokens)

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[str]:
        """The text as it is written; see `ChatModel.stream`."""
        self._check_open()
        prompt = self.vocabulary.prompt(messages)
        async with aclosing(self.complete(prompt, sampling, schema=schema, user=user)) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield piece.text

    async def complete(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[Piece]:
        """What follows the prompt's tokens. Closing the generator stops it within one step."""
        self._check_open()
        request = self._request(list(prompt), sampling, user)
        if schema is not None:
            request.grammar = await asyncio.to_thread(self._grammars.make, schema)
        self._submit(request)
        try:
            while True:
                item = await request.inbox.get()
                if isinstance(item, ModelError):
                    raise item
                yield item
                if item.end:
                    return
        finally:
            request.cancelled = True

    async def keep(self, messages: Sequence[Message]) -> int:
        """Computes the cells of these first messages, which many prompts begin with, and keeps them; how many. Beyond
        `EngineOptions.idle` such beginnings the one that was longest of no use is kept no more."""
        self._check_open()
        both = [self.vocabulary.prompt([*messages, Message("user", text)]) for text in ("a", "?")]
        prefix = both[0][: common_prefix(*both)]
        if any(s.kept and s.tokens == prefix for s in self._sequences):
            return len(prefix)
        request = self._request(prefix, Sampling(max_tokens=1), "")
        request.keep = True
        self._submit(request)
        item = await request.inbox.get()
        if isinstance(item, ModelError):
            raise item
        return len(prefix)

    async def close(self) -> None:
        """Ends every request with an error, and frees the context; the model's weights go with this object."""
        await asyncio.to_thread(self.shutdown)

    def shutdown(self) -> None:
        """`close`, for callers without an event loop."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join()

    def _check_open(self) -> None:
        if self._stopping:
            raise ModelError(_SHUT_DOWN)

    def _request(self, prompt: list[int], sampling: Sampling, user: str) -> _Request:
        until = time.monotonic() + sampling.deadline if sampling.deadline is not None else None
        return _Request(prompt, sampling, user, asyncio.get_running_loop(), until)

    def _submit(self, request: _Request) -> None:
        if not request.prompt:
            raise ModelError("The prompt is empty, so the chat model has nothing to go on with. Ask something.")
        if not 0 <= min(request.prompt) <= max(request.prompt) <= _LARGEST:
            raise ModelError("The prompt holds a number that can't be a token's. Use the model's own vocabulary.")
        if len(request.prompt) >= self._longest:
            raise _too_long(request.prompt, self._longest)
        with self._news:
            if self._stopping:
                raise ModelError(_SHUT_DOWN)
            if len(self._waiting) >= self.options.waiting + self.options.parallel - len(self._running()):
                place = len(self._waiting) + 1
                raise BusyError(
                    f"{len(self._waiting)} questions wait for the chat model already. Try again soon.", place
                )
            self._waiting.append(request)
            self._news.notify()

    # What follows runs on the engine's thread.

    def _work(self) -> None:
        try:
            while self._wait():
                try:
                    self._step()
                except Exception as exc:  # a mistake of ours: who is here now pays for it, the next ones don't
                    self._end_all(f"The chat model failed unexpectedly ({exc!r}). Ask again.")
                    llama_cpp.llama_memory_clear(self._memory, True)
                    self._sequences, self._cells = self._empty(), Counter()
                self._deliver()
        finally:
            self._end()

    def _empty(self) -> list[_Sequence]:
        return [_Sequence(i) for i in range(self.options.parallel + self.options.idle + 1)]

    def _wait(self) -> bool:
        """Until there is something to do; False when it is over."""
        with self._news:
            while not self._stopping and not self._waiting and not self._running():
                self._news.wait()
            return not self._stopping

    def _running(self) -> list[_Sequence]:
        return [s for s in self._sequences if s.request is not None]

    def _step(self) -> None:
        self._tick += 1
        self._drop()
        self._level()
        self._admit()
        parts = self._plan()
        if parts:
            self._decode(parts)

    def _drop(self) -> None:
        """Lets go of requests that were given up or are late."""
        now = time.monotonic()
        with self._news:
            for request in list(self._waiting):
                if request.cancelled or (request.until is not None and now > request.until):
                    self._waiting.remove(request)
                    self._tell(request, DeadlineError(_LATE))
        for sequence in self._running():
            request = sequence.request
            assert request is not None
            if request.cancelled or (request.until is not None and now > request.until):
                self._finish(sequence, DeadlineError(_LATE))

    def _level(self) -> None:
        """Who comes, or comes back, starts level with the least served of those who are here."""
        with self._news:
            users = {r.user: None for r in self._waiting}
        users.update((s.request.user, None) for s in self._running() if s.request)
        start = min((self._served[u] for u in users if u in self._served), default=0)
        self._served = {u: self._served.get(u, start) for u in users}

    def _admit(self) -> None:
        """Gives waiting requests a sequence, those of the least served users first, as long as there is room."""
        while len(self._running()) < self.options.parallel:
            with self._news:
                queue = sorted(self._waiting, key=lambda r: (not r.keep, self._share(r.user)))
            chosen = next((r for r in queue if not self._soon_shared(r)), None)
            if chosen is None or not self._place(chosen):
                return

    def _share(self, user: str) -> int:
        """How many tokens were decoded for the user; one who came within this step has none served yet."""
        return self._served.get(user, min(self._served.values(), default=0))

    def _soon_shared(self, request: _Request) -> bool:
        """Whether somebody is just computing cells that the request can share if it waits for them."""
        have = max(common_prefix(s.tokens, request.prompt) for s in self._sequences)
        return any(
            s.request.reading and common_prefix(s.request.prompt, request.prompt) >= have + _WORTH_WAITING
            for s in self._running()
            if s.request
        )

    def _place(self, request: _Request) -> bool:
        """Takes the request out of the queue onto an idle sequence with as many of its cells as there are, or refuses it;
        False where there is no room now."""
        last = len(request.prompt) - (0 if request.keep else 1)  # the last token is decoded for what it predicts
        self._fetch(request.prompt)
        shared = {s.number: min(self._usable(s, request.prompt), last) for s in self._sequences}
        donor = max(self._sequences, key=lambda s: (shared[s.number], s.request is None, s.used))
        idle = [s for s in self._sequences if s.request is None and not s.kept]
        if not idle:
            return False
        count = shared[donor.number]
        kept = len({c for s in self._sequences if s.kept for c in s.cells}.difference(donor.cells[:count]))
        longest = min(self._longest, self._room - kept)
        if len(request.prompt) >= longest:
            with self._news:
                self._waiting.remove(request)
            self._tell(request, _too_long(request.prompt, longest))
            return True
        request.room = min(request.sampling.max_tokens, longest - len(request.prompt))
        # Its own cells are the best place; else an empty sequence, else the one that was idle longest.
        own = donor if donor in idle and count == len(donor.tokens) else None
        target = own or min(idle, key=lambda s: (len(s.tokens) > 0, s.used))
        if not self._make_room(len(request.prompt) - count + request.room, target, donor, count):
            return False
        if target is not donor:
            self._rest(target)
            if count:
                # A state that can't be rolled back is copied whole.
                end = count if self._rolls_back else -1
                llama_cpp.llama_memory_seq_cp(self._memory, donor.number, target.number, 0, end)
            target.tokens, target.cells = donor.tokens[:count], donor.cells[:count]
            self._cells.update(target.cells)
        elif not self._forget(target, count):
            count = 0
        donor.used = target.used = self._tick
        request.pending = request.prompt[count:]
        request.text = _Writer(request.sampling.stop)
        request.sampler = _sampler(request.sampling)
        with self._news:  # at once: who asks between the two is refused, or let in, wrongly
            self._waiting.remove(request)
            target.request = request
        if request.keep:
            kept = [s for s in self._sequences if s.kept]
            if len(kept) > self.options.idle:
                min(kept, key=lambda s: s.used).kept = False
            target.kept = True
        if not request.pending:
            self._finish(target, Piece("", 0, "stop"))
        self._put_aside()
        return True

    def _fetch(self, prompt: list[int]) -> None:
        """Brings a conversation back that was put aside, if a prompt goes on from it and there is room for it."""
        resting, count = self._shelf.find(prompt)
        if resting is None:
            return
        have = max(self._sequences, key=lambda s: common_prefix(s.tokens, prompt))
        shared = common_prefix(have.tokens, prompt)
        empty = next((s for s in self._sequences if s.request is None and not s.kept and not s.tokens), None)
        if empty is None or count < shared + _WORTH_WAITING:
            return
        if not self._make_room(len(resting.tokens), empty, empty, 0):
            return
        state = resting.state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        if not llama_cpp.llama_state_seq_set_data(self._context, state, len(resting.state), empty.number):
            llama_cpp.llama_memory_seq_rm(self._memory, empty.number, -1, -1)  # no such room in one piece
            return
        self._shelf.take(resting)
        # What others have of it in the cache is shared with them again.
        shared = common_prefix(have.tokens, resting.tokens)
        if shared and llama_cpp.llama_memory_seq_rm(self._memory, empty.number, 0, shared):
            llama_cpp.llama_memory_seq_cp(self._memory, have.number, empty.number, 0, shared)
        else:
            shared = 0
        new = itertools.islice(self._numbers, len(resting.tokens) - shared)
        empty.tokens, empty.cells = list(resting.tokens), [*have.cells[:shared], *new]
        self._cells.update(empty.cells)
        empty.used = self._tick

    def _put_aside(self) -> None:
        """Takes conversations that rest out of the cache, the oldest first, until few of their cells are left there."""
        if not self._rolls_back:
            return
        resting = sorted(
            (s for s in self._sequences if s.request is None and not s.kept and s.tokens), key=lambda s: s.used
        )
        busy = {c for s in self._sequences if s not in resting for c in s.cells}
        cells = len({c for s in resting for c in s.cells} - busy)
        for sequence in resting:
            if cells <= _IDLE_CELLS:
                return
            if len(sequence.tokens) > self._shelf.room:
                continue
            cells -= sum(self._cells[c] == 1 for c in sequence.cells)
            self._rest(sequence)

    def _rest(self, sequence: _Sequence) -> None:
        """Frees a sequence's cells; what they hold is put aside, if there is room for it."""
        if self._rolls_back and 0 < len(sequence.tokens) <= self._shelf.room:
            self._shelf.put(Resting(list(sequence.tokens), self._state(sequence)))
        self._forget(sequence, 0)

    def _state(self, sequence: _Sequence) -> NDArray[np.uint8]:
        """What the cache holds of a sequence, as bytes."""
        state = np.empty(int(llama_cpp.llama_state_seq_get_size(self._context, sequence.number)), dtype=np.uint8)
        start = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        size = int(llama_cpp.llama_state_seq_get_data(self._context, start, len(state), sequence.number))
        return state[:size]

    def _usable(self, sequence: _Sequence, prompt: list[int]) -> int:
        count = common_prefix(sequence.tokens, prompt)
        return count if self._rolls_back or count == len(sequence.tokens) < len(prompt) else 0

    def _make_room(self, need: int, target: _Sequence, donor: _Sequence, shared: int) -> bool:
        """Sees that so many cells are free beyond what running requests may still take; idle ones go, the oldest first,
        and last what the donor has beyond its `shared` cells."""
        promised = sum(
            len(s.request.pending) + s.request.room - s.request.written for s in self._running() if s.request
        )
        idle = [s for s in self._sequences if s.request is None and not s.kept and s.tokens]
        order = sorted((s for s in idle if s is not donor and s is not target), key=lambda s: s.used)
        for sequence in (target, *order, donor):
            if self._room - len(self._cells) - promised >= need:
                return True
            if sequence is donor and sequence in idle:
                self._forget(sequence, shared)
            elif sequence in idle:
                self._rest(sequence)
        return self._room - len(self._cells) - promised >= need or not self._running()

    def _forget(self, sequence: _Sequence, keep: int) -> bool:
        """Frees a sequence's cells from place `keep` on; False where all of them had to go."""
        if keep < len(sequence.tokens):
            if not llama_cpp.llama_memory_seq_rm(self._memory, sequence.number, keep, -1):
                llama_cpp.llama_memory_seq_rm(self._memory, sequence.number, -1, -1)
                keep = 0
            self._cells -= Counter(sequence.cells[keep:])
            del sequence.tokens[keep:], sequence.cells[keep:]
            return keep > 0
        return True

    def _plan(self) -> list[tuple[_Sequence, int]]:
        """Who decodes how many tokens in this step: writers first, then readers within the budget."""
        running = sorted(self._running(), key=lambda s: self._share(s.request.user if s.request else ""))
        writers = [s for s in running if s.request and not s.request.reading]
        budget = self._batch.size
        parts: list[tuple[_Sequence, int]] = []
        for sequence in writers:
            assert sequence.request is not None
            count = min(len(sequence.request.pending), budget)
            if count:
                parts.append((sequence, count))
                budget -= count
        if parts:
            budget = min(budget, self.options.prefill)
        for sequence in running:
            request = sequence.request
            if request is not None and request.reading and budget > 0:
                count = min(len(request.pending), budget)
                parts.append((sequence, count))
                budget -= count
        return parts

    def _decode(self, parts: list[tuple[_Sequence, int]]) -> None:
        status = self._run(parts)
        if status == _NO_ROOM:
            for sequence in self._sequences:
                if sequence.request is None and not sequence.kept:
                    self._forget(sequence, 0)
            status = self._run(parts)
        if status == 0:
            return
        if len(parts) > 1:  # one of them spoils it for all: each alone, and who fails alone is out
            for part in parts:
                self._decode([part])
            return
        sequence, _ = parts[0]
        what = "has no room left for this text" if status == _NO_ROOM else f"can't go on with this text ({status})"
        self._finish(sequence, ModelError(f"llama.cpp {what}. Ask anew."))
        self._forget(sequence, 0)

    def _run(self, parts: list[tuple[_Sequence, int]]) -> int:
        """One forward pass, and the next token for everyone whose tokens are all decoded."""
        batch = self._batch.fill(
            [
                (s.number, len(s.tokens), s.request.pending[:count], count == len(s.request.pending))
                for s, count in parts
                if s.request
            ]
        )
        status = int(llama_cpp.llama_decode(self._context, batch))
        if status != 0:
            for sequence, _ in parts:  # what it had done of the batch already is taken back
                llama_cpp.llama_memory_seq_rm(self._memory, sequence.number, len(sequence.tokens), -1)
            return status
        at = -1
        for sequence, count in parts:
            request = sequence.request
            assert request is not None
            at += count
            done, request.pending = request.pending[:count], request.pending[count:]
            sequence.tokens += done
            new = list(itertools.islice(self._numbers, count))
            sequence.cells += new
            self._cells.update(new)
            self._decoded += count
            self._served[request.user] = self._share(request.user) + count
            if not request.pending:
                self._advance(sequence, request, at)
        return 0

    def _advance(self, sequence: _Sequence, request: _Request, at: int) -> None:
        """Writes the next token, and those that the grammar then leaves no choice about."""
        if request.keep:
            self._finish(sequence, Piece("", 0, "stop"))
            return
        try:
            token = self._sample(request, at)
            forced = request.grammar.accept(token) if request.grammar else []
        except ModelError as exc:
            self._finish(sequence, exc)
            return
        tokens = [token, *forced][: request.room - request.written]
        request.written += len(tokens)
        assert request.text is not None
        ends = self.vocabulary.ends(token)
        text = request.text.write(b"" if ends else b"".join(self.vocabulary.piece(t) for t in tokens))
        over = ends or request.text.stopped or (request.grammar is not None and request.grammar.done)
        if over or request.written >= request.room:
            text += request.text.write(b"", last=True)
            self._finish(sequence, Piece(text, request.written, "stop" if over else "length"))
            return
        request.pending = tokens
        if text:
            self._tell(request, Piece(text, request.written))

    def _sample(self, request: _Request, at: int) -> int:
        """A token for the batch's place `at`: drawn freely first, and again among the allowed ones where it must be."""
        grammar = request.grammar
        token = int(llama_cpp.llama_sampler_sample(request.sampler, self._context, at))
        if grammar is None or grammar.allows(token):
            return token
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self._context, at), shape=(self.vocabulary.size,))
        grammar.narrow(logits)
        if not np.isfinite(logits).any():
            raise ModelError("The grammar leaves the chat model no way on. Ask again.")
        return int(llama_cpp.llama_sampler_sample(request.sampler, self._context, at))

    def _finish(self, sequence: _Sequence, item: Piece | ModelError) -> None:
        """Ends a request; its cells stay for whoever begins alike."""
        request = sequence.request
        assert request is not None
        sequence.request, sequence.used = None, self._tick
        request.free()
        if isinstance(item, ModelError):
            sequence.kept = False
        self._tell(request, item)

    def _tell(self, request: _Request, item: Piece | ModelError) -> None:
        if not request.cancelled:
            self._post.setdefault(request.loop, []).append((request, item))

    def _deliver(self) -> None:
        """Hands over what the step made, with one wake-up for each event loop."""
        post, self._post = self._post, {}
        for loop, items in post.items():
            try:
                loop.call_soon_threadsafe(_put, items)
            except RuntimeError:  # the loop has been closed: nobody waits any more
                for request, _ in items:
                    request.cancelled = True

    def _end_all(self, why: str) -> None:
        with self._news:
            waiting, self._waiting = self._waiting, []
        for request in (*waiting, *(s.request for s in self._running() if s.request)):
            request.free()
            self._tell(request, ModelError(why))  # one each: a traceback grows in every task that raises it
        for sequence in self._sequences:
            sequence.request = None

    def _end(self) -> None:
        with self._news:
            self._stopping = True
        self._end_all(_SHUT_DOWN)
        self._deliver()
        self._batch.free()
        llama_cpp.llama_free(self._context)


def _put(items: list[tuple[_Request, Piece | ModelError]]) -> None:
    for request, item in items:
        request.inbox.put_nowait(item)


def _too_long(prompt: list[int], longest: int) -> TooLongError:
    return TooLongError(
        f"The prompt has {len(prompt)} tokens, and the chat model's context has room for {longest}, the answer's included. "
        "Ask more shortly, or set a larger FIRESIDE_CONTEXT."
    )


def _sampler(sampling: Sampling) -> Any:
    """llama.cpp's chain: top-k, top-p, min-p, temperature, then a draw; the likeliest token at temperature 0."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if sampling.temperature == 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain
    if sampling.top_k:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_min_p(sampling.min_p, 1))
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(sampling.temperature))
    llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(sampling.seed))
    return chain


class _Batch:
    """llama.cpp's batch, filled through numpy: filling it value by value costs more than a small model's pass."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._batch = llama_cpp.llama_batch_init(size, 0, 1)
        view = np.ctypeslib.as_array
        self._token = view(self._batch.token, (size,))
        self._position = view(self._batch.pos, (size,))
        self._logits = view(self._batch.logits, (size,))
        view(self._batch.n_seq_id, (size,))[:] = 1
        # Each token's sequence is behind a pointer of its own: all point into one array of ours.
        self._sequence = np.zeros(size, dtype=np.int32)
        pointers = ctypes.cast(self._batch.seq_id, ctypes.POINTER(ctypes.c_void_p))
        self._theirs = [pointers[i] for i in range(size)]
        for i in range(size):
            pointers[i] = self._sequence.ctypes.data + 4 * i
        self._pointers = pointers

    def fill(self, parts: Sequence[tuple[int, int, list[int], bool]]) -> Any:
        """The batch of these parts: sequence, first position, tokens, and whether the last one's logits are wanted."""
        at = 0
        for sequence, position, tokens, wanted in parts:
            end = at + len(tokens)
            self._token[at:end] = tokens
            self._position[at:end] = np.arange(position, position + len(tokens))
            self._sequence[at:end] = sequence
            self._logits[at:end] = 0
            self._logits[end - 1] = wanted
            at = end
        self._batch.n_tokens = at
        return self._batch

    def free(self) -> None:
        """Gives llama.cpp's memory back, its own pointers restored first."""
        for i, pointer in enumerate(self._theirs):
            self._pointers[i] = pointer
        llama_cpp.llama_batch_free(self._batch)
