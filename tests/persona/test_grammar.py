"""Whatever a model likes to write, a grammar lets through only what the JSON schema allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from persona.errors import ModelError
from persona.llama.engine import Engine, EngineOptions
from persona.llama.grammar import Gbnf, Grammar, Grammars
from persona.llama.vocabulary import Vocabulary
from scripts.random_gguf import write_gguf

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["quoted", "reported"]},
        "of": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 1, "maxItems": 3},
        "said": {"type": "string", "maxLength": 12},
    },
    "required": ["kind", "of", "said"],
    "additionalProperties": False,
}
UNFOLLOWABLE: list[Any] = [
    {"type": "nonsense"},
    {"$ref": "#/nowhere"},
    {"enum": []},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "array", "uniqueItems": True},
    {"allOf": [{"type": "string"}, {"type": "number"}]},
    {"type": "string", "minLength": 5, "maxLength": 2},
    {"const": {1, 2}},
    False,
]

Maker = Callable[[Any], Grammar]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    path = write_gguf(tmp_path_factory.mktemp("grammar") / "tiny.gguf")
    engine = Engine(path, EngineOptions(context=256, parallel=1, idle=0, threads=1))
    yield engine.vocabulary
    engine.shutdown()


@pytest.fixture(scope="module", params=["llguidance", "llama.cpp"])
def make(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Maker:
    return Grammars(vocabulary).make if request.param == "llguidance" else lambda s: Gbnf(s, vocabulary)


def follows(out: bytes, *, bounds: bool = True) -> bool:
    """Whether a text is JSON that obeys SCHEMA, with or without the bounds of its numbers and bytes."""
    value = json.loads(out.decode("utf-8", "strict" if bounds else "replace"))
    return (
        list(value) == ["kind", "of", "said"]
        and value["kind"] in ("quoted", "reported")
        and 1 <= len(value["of"]) <= 3
        and all(type(n) is int and (0 <= n <= 9 or not bounds) for n in value["of"])
        and isinstance(value["said"], str)
        and (len(value["said"]) <= 12 or not bounds)
    )


def write(grammar: Grammar, vocabulary: Vocabulary, seed: int) -> bytes:
    """What a model of whims writes: at each step the token that it likes best among those the grammar leaves."""
    random = np.random.default_rng(seed)
    out = b""
    for _ in range(400):
        logits = random.standard_normal(vocabulary.size).astype(np.float32)
        grammar.narrow(logits)
        token = int(logits.argmax())
        assert np.isfinite(logits[token])
        assert grammar.allows(token)
        tokens = [token, *grammar.accept(token)]
        out += b"".join(vocabulary.piece(t) for t in tokens)
        if vocabulary.ends(token) or grammar.done:
            return out
    raise AssertionError(f"no end: {out!r}")


@pytest.mark.parametrize("seed", range(8))
def test_what_is_written_obeys_the_schema(vocabulary: Vocabulary, seed: int):
    out = write(Grammars(vocabulary).make(SCHEMA), vocabulary, seed)
    assert follows(out), out


@pytest.mark.parametrize("seed", range(8))
def test_by_llama_cpps_grammars_it_obeys_the_schema_but_for_bounds(vocabulary: Vocabulary, seed: int):
    out = write(Gbnf(SCHEMA, vocabulary), vocabulary, seed)
    assert follows(out, bounds=False), out


def test_a_token_is_allowed_just_where_narrowing_leaves_it(make: Maker, vocabulary: Vocabulary):
    grammar = make(SCHEMA)
    random = np.random.default_rng(0)
    for _ in range(20):
        logits = random.standard_normal(vocabulary.size).astype(np.float32)
        grammar.narrow(logits)
        assert [grammar.allows(t) for t in range(vocabulary.size)] == list(np.isfinite(logits))
        grammar.accept(int(logits.argmax()))


def test_no_end_is_allowed_before_the_value_is_whole(make: Maker, vocabulary: Vocabulary):
    grammar = make({"enum": ["no", "not"]})
    rest = vocabulary.tokens('"not"')
    while rest:
        assert not any(grammar.allows(t) for t in vocabulary.ending)
        assert grammar.allows(rest[0])
        rest = rest[1 + len(grammar.accept(rest[0])) :]
    assert grammar.done or any(grammar.allows(t) for t in vocabulary.ending)


def test_two_texts_of_one_schema_go_their_own_ways(make: Maker, vocabulary: Vocabulary):
    first, second = make({"const": "one"}), make({"const": "one"})
    assert write(first, vocabulary, 1).strip() == write(second, vocabulary, 2).strip() == b'"one"'


def test_letters_of_several_tokens_are_written_whole(make: Maker, vocabulary: Vocabulary):
    assert json.loads(write(make({"enum": ["żółć 中文 🔥"]}), vocabulary, 3)) == "żółć 中文 🔥"


def test_llguidance_knows_the_only_way_on(vocabulary: Vocabulary):
    grammar = Grammars(vocabulary).make({"const": "always the same words"})
    first = vocabulary.tokens('"')[0]
    assert len(grammar.accept(first)) > 5


@pytest.mark.parametrize("schema", UNFOLLOWABLE, ids=str)
def test_a_schema_that_cannot_be_followed_is_refused_in_one_line(vocabulary: Vocabulary, schema: Any):
    with pytest.raises(ModelError, match=r"^The JSON schema can't be [^\n]*\.$"):
        Grammars(vocabulary).make(schema)


@pytest.mark.parametrize("schema", [UNFOLLOWABLE[0], UNFOLLOWABLE[1], UNFOLLOWABLE[2], UNFOLLOWABLE[7], False], ids=str)
def test_llama_cpps_grammars_refuse_what_they_can_tell(vocabulary: Vocabulary, schema: Any):
    with pytest.raises(ModelError, match=r"Simplify it\.$"):
        Gbnf(schema, vocabulary)


def test_vocabularies_that_llguidance_does_not_know_get_llama_cpps_grammars(vocabulary: Vocabulary):
    class Nameless(Vocabulary):
        """No token has a text, so there is no end either."""

        @property
        def ending(self) -> list[int]:
            raise ValueError("no such token")

    strange = Nameless.__new__(Nameless)
    vars(strange).update(vars(vocabulary))
    assert isinstance(Grammars(strange).make(SCHEMA), Gbnf)
