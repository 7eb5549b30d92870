"""Judging: which passages are read, and what becomes of what the judge says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.conduct import CLASSES, Conduct
from persona.decision import UNJUDGED, Policy, between, decide
from persona.errors import ConfigError, ModelError
from persona.evidence import Span
from persona.judging import PASSAGES, WORDS, chosen, judged
from persona.llama import JUDGE_HEAD, LlamaJudge
from persona.models import AS_FITTED, Softmax, load_coefficients
from persona.pipeline import CAUTIOUS_THRESHOLD, Fireside
from persona.text import stems
from persona.types import Decision, Question
from tests.fakes import HashEmbedder, WordJudge
from tests.persona.corpora import assert_sentence

QUESTION = "How many layers did the network have?"
HOLDS = ("", "The network had eight layers.", "It was trained on two cards.")
LACKS = ("", "A lighthouse keeper needs patience.", "The lamp is lit at dusk.")


def spans(fireside: Fireside, text: str = QUESTION) -> list[Span]:
    """The evidence for a question, before anything is judged."""
    analysis = fireside.analyser.read(Question(text=text))
    return fireside.evidence.weigh(analysis, fireside.retriever.search(analysis.dense, analysis.lexical))


def test_the_passages_of_the_best_spans_are_read_and_no_more_than_there_is_time_for(fireside: Fireside) -> None:
    ranked = spans(fireside)
    passages = chosen(ranked)
    assert passages[0] == ranked[0].hit.passage
    assert len({p.id for p in passages}) == len(passages) <= PASSAGES
    assert sum(len(p.context.split()) + len(p.search.split()) for p in passages) <= WORDS


def test_what_the_judge_says_joins_the_features_of_the_passages_it_read(fireside: Fireside) -> None:
    judge = WordJudge()
    found = judged(QUESTION, spans(fireside), judge)
    assert {s.hit.passage.id for s in found} == {p.id for p in chosen(spans(fireside))}
    assert len(judge.judged) == len(chosen(spans(fireside)))
    with_words = max(found, key=lambda s: s.features["judge_begins"])
    assert set(stems(QUESTION)) & set(stems(with_words.search))
    assert all(0 <= s.features["judge_share"] <= 1 and s.features["judge_gap"] >= 0 for s in found)


def test_a_span_has_the_share_of_its_own_sentences(fireside: Fireside) -> None:
    by_place: dict[tuple[str, int, int], float] = {}
    for span in judged(QUESTION, spans(fireside), WordJudge()):
        by_place[span.hit.passage.id, span.sentences[0].number, span.sentences[-1].number] = span.features[
            "judge_begins"
        ]
    wider = [(by_place[p, a, a], by_place[p, a, b]) for p, a, b in by_place if a != b and (p, a, a) in by_place]
    assert wider
    assert all(more >= less for less, more in wider)


def test_a_question_that_the_gate_gives_up_is_never_judged(fireside: Fireside, card_line: Fireside) -> None:
    judge = card_line.judge
    assert isinstance(judge, WordJudge)
    card_line.answer(Question(text="How do I bake sourdough bread with rye flour?"))
    assert judge.judged == []
    card_line.answer(Question(text="What does he say about reliability?"))
    assert judge.judged


@pytest.fixture
def card_line(fireside: Fireside) -> Fireside:
    """The bundled line with a judge that counts what it reads."""
    return Fireside(
        fireside.card,
        fireside.corpus,
        fireside.index,
        fireside.embedder,
        fireside.policy.coefficients,
        fireside.policy,
        WordJudge(),
    )


def test_the_confidence_lies_between_what_is_known_with_the_judge_and_without(fireside: Fireside) -> None:
    fitted = Policy(fireside.policy.coefficients, 0.0, "not certified", AS_FITTED)
    text = "What does he say about reliability?"
    analysis = fireside.analyser.read(Question(text=text))
    first, both = (
        decide(analysis, spans(fireside, text), fitted, fireside.corpus, judge) for judge in (None, fireside.judge)
    )
    assert fitted.coefficients.judged is not None
    alone = fitted.coefficients.judged.probability(both.features)
    assert both.confidence == pytest.approx(between(alone, first.confidence, UNJUDGED))
    assert min(alone, first.confidence) < both.confidence < max(alone, first.confidence)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_between_two_probabilities(one: float, other: float, share: float) -> None:
    low, high = sorted((one, other))
    assert low - 2e-4 <= between(one, other, share) <= high + 2e-4  # of four digits, and neither 0 nor 1
    assert between(one, other, 0.0) == pytest.approx(one, abs=2e-4)
    assert between(one, other, 1.0) == pytest.approx(other, abs=2e-4)


def test_without_a_judge_it_still_answers_and_claims_no_calibration(fireside: Fireside) -> None:
    line = Fireside.open(fireside.card, fireside.index, fireside.embedder, corpus=fireside.corpus)
    assert (line.policy.threshold, line.policy.risk) == (CAUTIOUS_THRESHOLD, "not certified")
    reply = line.at(0.0).answer(Question(text="What does he say about reliability?")).reply
    assert reply.decision is Decision.ANSWER


def test_coefficients_fitted_with_another_judge_are_refused(fireside: Fireside) -> None:
    with pytest.raises(ConfigError) as caught:
        Fireside.open(fireside.card, fireside.index, fireside.embedder, judge=WordJudge(), corpus=fireside.corpus)
    assert_sentence(caught.value, "words:1", "calibrate")


def test_conduct_is_the_mean_of_two_opinions() -> None:
    even = Softmax(classes=CLASSES, weights=(), intercept=(0.0,) * len(CLASSES))
    embedder = HashEmbedder()
    alone = Conduct(even, embedder, ["Ada"]).classify("hello there")
    both = Conduct(even, embedder, ["Ada"], WordJudge()).classify("hello there")
    assert both.reason.value == "greeting"
    assert both.probability > alone.probability


def test_the_judge_tells_a_passage_that_answers_and_where(judge: LlamaJudge) -> None:
    holds, lacks = judge.judge(QUESTION, [HOLDS, LACKS])
    assert holds.holds > lacks.holds
    assert holds.begins.shape == holds.ends.shape == (3,)
    assert holds.begins.argmax() == holds.ends.argmax() == 1
    assert lacks.begins.sum() < holds.begins.sum() <= 1 + 1e-6


def test_a_judgement_is_the_same_alone_and_among_others(judge: LlamaJudge) -> None:
    many = judge.judge(QUESTION, [LACKS, HOLDS, *[("", f"Sentence {i} " * (i % 7 + 1)) for i in range(40)]])
    (alone,) = judge.judge(QUESTION, [HOLDS])
    assert many[1].holds == pytest.approx(alone.holds, abs=0.1)
    assert np.allclose(many[1].begins, alone.begins, atol=0.03)


@pytest.mark.parametrize(
    "passage", [("",), ("", ""), ("word " * 900, "and more."), ("🙂", "\u0000", "[SEP] [CLS]"), tuple("abc" * 30)]
)
def test_any_passage_has_a_judgement(judge: LlamaJudge, passage: Sequence[str]) -> None:
    (found,) = judge.judge("word " * 500, [passage])
    assert np.isfinite(found.holds)
    assert found.begins.shape == found.ends.shape == (len(passage),)
    assert found.begins.sum() <= 1 + 1e-6


def test_nothing_to_judge_is_no_judgement(judge: LlamaJudge) -> None:
    assert judge.judge(QUESTION, []) == []
    assert judge.kinds([]) == []


def test_the_judge_knows_every_kind_of_conduct(judge: LlamaJudge) -> None:
    (kinds,) = judge.kinds(["hello, good morning!"])
    assert set(kinds) == set(CLASSES)
    assert sum(kinds.values()) == pytest.approx(1)
    assert max(kinds, key=lambda k: kinds[k]) == "greeting"


def test_the_bundled_coefficients_were_fitted_with_the_bundled_judge(judge: LlamaJudge) -> None:
    assert load_coefficients().judge == judge.fingerprint


def test_a_broken_head_is_one_sentence(tmp_path: Path) -> None:
    bad = tmp_path / JUDGE_HEAD.name
    bad.write_bytes(b"no arrays")
    with pytest.raises(ModelError) as caught:
        LlamaJudge(head=bad)
    assert_sentence(caught.value, str(bad), "Reinstall")
