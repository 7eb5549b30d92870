"""Text to tokens and back, and messages to the prompt that a chat model was trained on."""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from persona.errors import ModelError
from persona.types import Message

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_PIECE_BYTES = 256
# Stands for a message's content while the template is rendered: private-use characters, which no template touches.
_HOLDER = "\ue000{}\ue001"
_HELD = re.compile("\ue000(\\d+)\ue001")


class Vocabulary:
    """The vocabulary of a loaded model, which has to outlive it. Safe to read from any thread."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.handle = llama_cpp.llama_model_get_vocab(model)
        self._pieces: dict[int, bytes] = {}

    @cached_property
    def size(self) -> int:
        """How many tokens there are."""
        return int(llama_cpp.llama_vocab_n_tokens(self.handle))

    def tokens(self, text: str, *, control: bool = False) -> list[int]:
        """The token ids of a text. Control tokens written in it stay plain text unless `control` says otherwise."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.handle, data, len(data), buffer, room, False, control)
        return list(buffer[: max(0, count)])

    def piece(self, token: int) -> bytes:
        """The bytes that a token writes; a control token writes none."""
        found = self._pieces.get(token)
        if found is None:
            buffer = ctypes.create_string_buffer(_PIECE_BYTES)
            count = llama_cpp.llama_token_to_piece(self.handle, token, buffer, _PIECE_BYTES, 0, False)
            if count < 0:
                buffer = ctypes.create_string_buffer(-count)
                count = llama_cpp.llama_token_to_piece(self.handle, token, buffer, -count, 0, False)
            found = self._pieces[token] = buffer.raw[: max(0, count)]
        return found

    def ends(self, token: int) -> bool:
        """Whether the token ends what is written."""
        return bool(llama_cpp.llama_vocab_is_eog(self.handle, token))

    @cached_property
    def ending(self) -> list[int]:
        """All tokens that end what is written."""
        return [t for t in range(self.size) if self.ends(t)]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The messages as the model's own template sets them, ready for its answer. What a message says is tokenised
        apart from the template: control tokens written in it stay plain text."""
        rendered = self._rendered(messages)
        out: list[int] = []
        begin = llama_cpp.llama_vocab_bos(self.handle)
        if llama_cpp.llama_vocab_get_add_bos(self.handle) and not (
            self._begin_text and rendered.startswith(self._begin_text)
        ):
            out.append(int(begin))
        for place, part in enumerate(_HELD.split(rendered)):
            out += self.tokens(messages[int(part)].content) if place % 2 else self.tokens(part, control=True)
        return out

    def _rendered(self, messages: Sequence[Message]) -> str:
        template = self._template
        held = [{"role": m.role, "content": _HOLDER.format(i)} for i, m in enumerate(messages)]
        forms = [held]
        if len(held) > 1 and held[0]["role"] == "system":
            # Some templates know no system role: its text goes before the first message.
            forms.append([{**held[1], "content": f"{held[0]['content']}\n\n{held[1]['content']}"}, *held[2:]])
        why = ""
        for form in forms:
            try:
                text = template(form)
            except Exception as exc:  # a template may raise anything
                why = " ".join(str(exc).split())
                continue
            if all(message["content"] in text for message in held):
                return text
            why = "it leaves out a message"
        raise ModelError(f"The model's chat template fails: {why}. Choose another model.")

    @cached_property
    def _begin_text(self) -> str:
        return self._text_of(int(llama_cpp.llama_vocab_bos(self.handle)))

    def _text_of(self, token: int) -> str:
        return llama_cpp.llama_vocab_get_text(self.handle, token).decode("utf-8", "replace") if token >= 0 else ""

    @cached_property
    def _template(self) -> Callable[[list[dict[str, str]]], str]:
        own = llama_cpp.llama_model_chat_template(self._model, None)
        source = own.decode("utf-8", "replace") if own else CHATML
        end = self._text_of(int(llama_cpp.llama_vocab_eos(self.handle)))
        try:
            formatter = Jinja2ChatFormatter(source, eos_token=end, bos_token=self._begin_text)
        except Exception as exc:
            raise ModelError(f"The model's chat template can't be read: {exc}. Choose another model.") from None

        def render(messages: list[dict[str, str]]) -> str:
            # Models that can think aloud by their template don't: the schema leaves no room for it.
            return formatter(messages=messages, enable_thinking=False).prompt  # type: ignore[arg-type]

        return render
