"""Holds what a chat model writes to a JSON schema, token by token: by llguidance, else by llama.cpp's own grammars."""

# Neither library has useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import ctypes
import json
import re
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

import llama_cpp
import llguidance
import numpy as np
from llama_cpp.llama_grammar import json_schema_to_gbnf
from numpy.typing import NDArray

from persona.errors import ModelError
from persona.llama.vocabulary import Vocabulary

Logits = NDArray[np.float32]  # (vocabulary,)
_HALVES = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


class Grammar(Protocol):
    """What one text may still become."""

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        ...

    def narrow(self, logits: Logits) -> None:
        """Sets the logits of all tokens that may not come next to minus infinity, in place."""
        ...

    def accept(self, token: int) -> list[int]:
        """Goes on past the token; the tokens that are then the only way on."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing more may come."""
        ...


class Grammars:
    """Makes grammars for one vocabulary. The first takes up to two seconds; safe from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._refused = False

    def make(self, schema: Mapping[str, Any]) -> Grammar:
        """A grammar for one text; ModelError where the schema can't be followed."""
        with self._lock:
            if self._tokenizer is None and not self._refused:
                try:
                    self._tokenizer = _tokenizer(self._vocabulary)
                except (ValueError, RuntimeError):  # a vocabulary that llguidance doesn't know
                    self._refused = True
        if self._tokenizer is not None:
            return Guided(schema, self._tokenizer, self._vocabulary)
        return Gbnf(schema, self._vocabulary)


def _tokenizer(vocabulary: Vocabulary) -> Any:
    """llguidance's view of the vocabulary. (Its own helper calls what llama_cpp is about to drop, once for each token.)"""
    handle, tokens = vocabulary.handle, list[bytes]()
    for token in range(vocabulary.size):
        kind = llama_cpp.llama_vocab_get_attr(handle, token)
        text = vocabulary.piece(token)
        special = bool(kind & llama_cpp.LLAMA_TOKEN_ATTR_CONTROL)
        if kind & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED:
            special = text.startswith(b"<") and text.endswith(b">")
        # The byte 255, which no text holds, marks what is no text.
        tokens.append(b"\xff" + (text or llama_cpp.llama_vocab_get_text(handle, token)) if special else text)
    tokenize = ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value  # pyright: ignore[reportPrivateUsage]
    ending = vocabulary.ending or int(llama_cpp.llama_vocab_eos(handle))
    return llguidance.LLTokenizer.from_llamacpp(
        tokens=tokens, vocab_ptr=handle, tokenize_fptr=tokenize, eos_token=ending, slices=None
    )


class Guided:
    """A grammar of llguidance: about 27 µs a token, and it knows which tokens are the only way on."""

    def __init__(self, schema: Mapping[str, Any], tokenizer: Any, vocabulary: Vocabulary) -> None:
        try:
            compiled = llguidance.LLMatcher.grammar_from_json_schema(
                json.dumps(schema), defaults={"whitespace_flexible": False}
            )
        except (TypeError, ValueError) as exc:
            raise ModelError(f"The JSON schema can't be read: {exc}. Correct it.") from None
        self._matcher = llguidance.LLMatcher(tokenizer, compiled, log_level=0)
        if self._matcher.is_error():
            # llama.cpp's grammars would take it, and pass over what they don't know.
            why = " ".join(self._matcher.get_error().split())
            raise ModelError(f"The JSON schema can't be followed: {why}. Simplify it.")
        self._vocabulary = vocabulary

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        if self._vocabulary.ends(token):
            return bool(self._matcher.is_accepting())
        return self._matcher.validate_tokens([token]) == 1

    def narrow(self, logits: Logits) -> None:
        """Forbids all other tokens, in place."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        logits[: len(bits)][bits[: len(logits)] == 0] = -np.inf
        logits[len(bits) :] = -np.inf

    def accept(self, token: int) -> list[int]:
        """Goes on past the token, and past the tokens that must follow."""
        if self._vocabulary.ends(token):
            return []
        if not self._matcher.consume_token(token):
            raise ModelError(f"The grammar fails: {self._matcher.get_error()}. Ask again.")
        forced = [] if self._matcher.is_stopped() else list(self._matcher.compute_ff_tokens())
        taken = self._matcher.try_consume_tokens(forced) if forced else 0
        return forced[:taken]

    @property
    def done(self) -> bool:
        """Whether nothing more may come."""
        return bool(self._matcher.is_stopped())


class Gbnf:
    """A grammar of llama.cpp: about 2.7 ms a token with a large vocabulary. It passes over what its converter doesn't know
    (the bounds of numbers, for one), and bytes that are no UTF-8."""

    def __init__(self, schema: Mapping[str, Any], vocabulary: Vocabulary) -> None:
        try:
            text = json_schema_to_gbnf(json.dumps(schema))
        except Exception as exc:  # the converter raises whatever it stumbles upon
            raise ModelError(f"The JSON schema can't be made a grammar: {exc}. Simplify it.") from None
        # The converter lets control characters into strings, and writes characters beyond 16 bits as two halves.
        text = text.replace(r'[^"\\]', r'[^"\\\x00-\x1F\x7F]')
        text = _HALVES.sub(lambda m: json.loads(f'"{m[0]}"'), text)
        self._vocabulary = vocabulary
        self._sampler = llama_cpp.llama_sampler_init_grammar(vocabulary.handle, text.encode(), b"root")
        if not self._sampler:
            raise ModelError("llama.cpp refuses the grammar of the JSON schema. Simplify it.")
        weakref.finalize(self, llama_cpp.llama_sampler_free, self._sampler)
        self._one = _candidates(1)
        self._all = _candidates(vocabulary.size)

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        array, view = self._one
        view["id"][0], view["logit"][0] = token, 0.0
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return bool(np.isfinite(view["logit"][0]))

    def narrow(self, logits: Logits) -> None:
        """Forbids all other tokens, in place."""
        array, view = self._all
        view["id"] = np.arange(len(view), dtype=np.int32)
        view["logit"] = logits
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(array))
        logits[:] = view["logit"]

    def accept(self, token: int) -> list[int]:
        """Goes on past the token; it never knows what must follow."""
        if not self._vocabulary.ends(token):
            llama_cpp.llama_sampler_accept(self._sampler, token)
        return []

    @property
    def done(self) -> bool:
        """The model ends it: where the grammar is satisfied it allows nothing but an end."""
        return False


_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)], align=True)


def _candidates(count: int) -> tuple[Any, NDArray[Any]]:
    """llama.cpp's array of candidate tokens, and the numpy records that it points to."""
    view = np.zeros(count, dtype=_TOKEN_DATA)
    array = llama_cpp.llama_token_data_array(
        data=ctypes.cast(view.ctypes.data, ctypes.POINTER(llama_cpp.llama_token_data)),
        size=count,
        selected=-1,
        sorted=False,
    )
    return array, view
