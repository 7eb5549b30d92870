"""Messages become the prompt of the model's own template, and what they say stays text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.errors import ModelError
from persona.llama.engine import Engine, EngineOptions
from persona.llama.vocabulary import Vocabulary
from persona.types import Message
from scripts.random_gguf import CHATML, CONTROL, write_gguf

SMALL = EngineOptions(context=256, parallel=1, idle=0, threads=1)
TALK = (Message("system", "Be brief."), Message("user", "Why?"))
TALK_IN_CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"

Opener = Callable[[str | None], Vocabulary]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opener]:
    """Opens the vocabulary of a tiny model with a chat template of one's own."""
    engines: dict[str | None, Engine] = {}
    folder = tmp_path_factory.mktemp("vocabulary")

    def opener(template: str | None) -> Vocabulary:
        if template not in engines:
            path = write_gguf(folder / f"{len(engines)}.gguf", template=template)
            engines[template] = Engine(path, SMALL)
        return engines[template].vocabulary

    yield opener
    for engine in engines.values():
        engine.shutdown()


@pytest.fixture(scope="module")
def vocabulary(opened: Opener) -> Vocabulary:
    return opened(CHATML)


def written(vocabulary: Vocabulary, tokens: list[int]) -> str:
    """What tokens say, control tokens by their names."""
    first = vocabulary.size - len(CONTROL)
    parts = [CONTROL[t - first].encode() if t >= first else vocabulary.piece(t) for t in tokens]
    return b"".join(parts).decode()


def control(vocabulary: Vocabulary, tokens: list[int]) -> int:
    """How many control tokens there are."""
    return sum(t >= vocabulary.size - len(CONTROL) for t in tokens)


@given(text=st.text(max_size=60))
def test_tokens_say_the_text_they_were_made_of(vocabulary: Vocabulary, text: str):
    data = b"".join(vocabulary.piece(t) for t in vocabulary.tokens(text))
    assert data == text.encode("utf-8", "replace")


def test_a_lone_surrogate_is_no_reason_to_fail(vocabulary: Vocabulary):
    assert vocabulary.tokens("a\ud800b") == vocabulary.tokens("a?b")


def test_a_control_token_writes_nothing(vocabulary: Vocabulary):
    tokens = vocabulary.tokens("".join(CONTROL), control=True)
    assert len(tokens) == len(CONTROL)
    assert [vocabulary.piece(t) for t in tokens] == [b""] * len(CONTROL)


def test_the_ending_tokens_are_those_that_end(vocabulary: Vocabulary):
    assert vocabulary.ending
    assert vocabulary.ending == [t for t in range(vocabulary.size) if vocabulary.ends(t)]
    assert vocabulary.tokens("<|im_end|>", control=True)[0] in vocabulary.ending


def test_a_prompt_is_the_models_template(vocabulary: Vocabulary):
    tokens = vocabulary.prompt(TALK)
    assert written(vocabulary, tokens) == TALK_IN_CHATML
    assert control(vocabulary, tokens) == 5


def test_a_model_without_a_template_gets_chatml(opened: Opener):
    vocabulary = opened(None)
    assert written(vocabulary, vocabulary.prompt(TALK)) == TALK_IN_CHATML


@given(parts=st.lists(st.sampled_from([*"ab<|>_ \n", "\ue0000\ue001", *CONTROL]), max_size=12))
def test_control_tokens_that_a_user_types_stay_plain_text(vocabulary: Vocabulary, parts: list[str]):
    text = "".join(parts)
    tokens = vocabulary.prompt([Message("user", text)])
    assert written(vocabulary, tokens) == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert control(vocabulary, tokens) == 3


REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
IGNORES_SYSTEM = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, IGNORES_SYSTEM])
def test_where_a_template_knows_no_system_role_its_text_goes_before_the_first_message(opened: Opener, template: str):
    vocabulary = opened(template)
    prompt = vocabulary.prompt([*TALK, Message("assistant", "So."), Message("user", "And?")])
    assert written(vocabulary, prompt) == "user: Be brief.\n\nWhy?\nassistant: So.\nuser: And?\n"


@pytest.mark.parametrize("template", ["{{ messages[0].content | length }}", "{{ messages[0].content[1:] }}", "Hello!"])
def test_a_template_that_swallows_a_message_is_refused(opened: Opener, template: str):
    with pytest.raises(ModelError, match="leaves out a message"):
        opened(template).prompt([Message("user", "Why?")])


def test_a_template_that_is_no_jinja_is_refused_in_one_sentence(opened: Opener):
    with pytest.raises(ModelError, match=r"^The model's chat template can't be read: [^\n]*\. Choose another model\.$"):
        opened("{% for %}").prompt(TALK)


@pytest.mark.parametrize("messages", [(), TALK[:1], TALK, TALK[1:]])
def test_a_template_that_fails_is_refused_in_one_sentence(opened: Opener, messages: tuple[Message, ...]):
    with pytest.raises(ModelError, match=r"^The model's chat template fails: [^\n]*\. Choose another model\.$"):
        opened("{{ raise_exception('never\n\nthis') }}").prompt(messages)
