"""Nothing that was not said gets through as a quotation, and nothing that was said is lost."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from persona.corpus import Corpus
from persona.errors import VerificationError
from persona.pipeline import Fireside
from persona.types import Citation, Claim, DocumentKind, Question, Turn
from persona.verification import Draft, check_text, citation_stands, verify
from persona.voices import cite

TRANSCRIPT = "fireside-transcript"


class Run(NamedTuple):
    """Words that one person says without a mark or another's word between."""

    speaker: str
    words: tuple[str, ...]


def runs(corpus: Corpus) -> list[Run]:
    """The transcript by who speaks, found here without the code under test."""
    words = corpus.documents[TRANSCRIPT].words
    grouped = groupby(words, key=lambda w: w.speaker if w.spoken else None)
    return [Run(speaker, tuple(w.text for w in part)) for speaker, part in grouped if speaker is not None]


def truly_said(quote: str, speaker: str | None, said: Sequence[Run]) -> bool:
    wanted = tuple(quote.split(" "))
    return any(
        run.words[i : i + len(wanted)] == wanted
        for run in said
        if run.speaker == speaker
        for i in range(len(run.words) - len(wanted) + 1)
    )


def citation(corpus: Corpus, quote: str, speaker: str | None, document: str = TRANSCRIPT) -> Citation:
    whole = cite(corpus.sentences[document][:1], corpus)
    return whole.model_copy(update={"quote": quote, "speaker": speaker, "verbatim": True})


def draft(made: Citation) -> Draft:
    return Draft((Claim(text=f"“{made.quote}” I said that.", kind="quoted", citations=(0,)),), (made,))


def passes(corpus: Corpus, made: Citation) -> bool:
    """Whether a quotation survives `verify`; whether `check_text` lets it stand must agree."""
    kept = verify(draft(made), corpus)
    assert len(kept.claims) == len(kept.citations) <= 1
    text = f"“{made.quote}” I said that."
    if kept.claims:
        assert check_text(text, kept.citations, corpus) == text
        return True
    for cited in (kept.citations, (made,)):
        with pytest.raises(VerificationError):
            check_text(text, cited, corpus)
    return False


@st.composite
def true_quotes(draw: st.DrawFn, said: Sequence[Run], least: int = 1) -> tuple[str, str]:
    run = draw(st.sampled_from([r for r in said if len(r.words) >= least]))
    first = draw(st.integers(0, len(run.words) - least))
    last = draw(st.integers(first + least, min(len(run.words), first + 40)))
    return " ".join(run.words[first:last]), run.speaker


Mutation = Callable[[list[str], random.Random], list[str]]


def _drop(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return words[:at] + words[at + 1 :]


def _insert(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words) + 1)
    return [
        *words[:at],
        rng.choice(["not", "never", "really", "[…]", "…", "-", "(laughing)", "you know,"]),
        *words[at:],
    ]


def _swap(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words) - 1)
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _respell(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    word = words[at]
    place = rng.randrange(len(word))
    return [*words[:at], word[:place] + rng.choice("aeiou ’'") + word[place + 1 :], *words[at + 1 :]]


def _recase(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], words[at].swapcase(), *words[at + 1 :]]


def _punctuate(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], words[at].rstrip(".,?!") + rng.choice(["", ".", "!", "?", ";"]), *words[at + 1 :]]


def _clip(words: list[str], rng: random.Random) -> list[str]:
    return [words[0][1:], *words[1:]] if rng.random() < 0.5 else [*words[:-1], words[-1][:-1]]


def _space(words: list[str], rng: random.Random) -> list[str]:
    at = rng.randrange(len(words))
    return [*words[:at], rng.choice([" ", "\n", "\u00a0"]) + words[at], *words[at + 1 :]]


def _mend(words: list[str], rng: random.Random) -> list[str]:
    del rng
    return ["ChatGPT" if w in ("Chad", "Chachapiti") else w for w in words if w != "GPT"]


MUTATIONS: tuple[Mutation, ...] = (_drop, _insert, _swap, _respell, _recase, _punctuate, _clip, _space, _mend)


@settings(max_examples=150)
@given(data=st.data())
def test_what_somebody_said_in_one_go_passes(corpus: Corpus, data: st.DataObject) -> None:
    quote, speaker = data.draw(true_quotes(runs(corpus)))
    assert passes(corpus, citation(corpus, quote, speaker))


@settings(max_examples=300)
@given(data=st.data(), rng=st.randoms(use_true_random=False))
def test_a_mutated_quotation_is_cut(corpus: Corpus, data: st.DataObject, rng: random.Random) -> None:
    said = runs(corpus)
    quote, speaker = data.draw(true_quotes(said, least=2))
    changed = " ".join(data.draw(st.sampled_from(MUTATIONS))(quote.split(" "), rng))
    assume(changed)
    assert passes(corpus, citation(corpus, changed, speaker)) == truly_said(changed, speaker, said)


@settings(max_examples=150)
@given(data=st.data(), joint=st.sampled_from([" ", " … ", " - ", ", ", ". "]))
def test_a_quotation_put_together_from_two_is_cut(corpus: Corpus, data: st.DataObject, joint: str) -> None:
    said = runs(corpus)
    one, speaker = data.draw(true_quotes(said, least=2))
    other, _ = data.draw(true_quotes(said, least=2))
    made = one + joint + other
    assert passes(corpus, citation(corpus, made, speaker)) == truly_said(made, speaker, said)


@settings(max_examples=100)
@given(data=st.data())
def test_a_quotation_under_another_name_is_cut(corpus: Corpus, data: st.DataObject) -> None:
    said = runs(corpus)
    quote, speaker = data.draw(true_quotes(said))
    others = [*corpus.speakers, "Lex Fridman", "Ilya", "ilya sutskever", "", None]
    name = data.draw(st.sampled_from([n for n in others if n != speaker]))
    assert passes(corpus, citation(corpus, quote, name)) == truly_said(quote, name, said)


@settings(max_examples=100)
@given(data=st.data())
def test_a_quotation_across_two_speakers_is_cut_for_both(corpus: Corpus, data: st.DataObject) -> None:
    words = corpus.documents[TRANSCRIPT].words
    turns = [i for i in range(1, len(words)) if words[i].speaker != words[i - 1].speaker]
    at = data.draw(st.sampled_from(turns))
    first = max(0, at - data.draw(st.integers(1, 12)))
    last = min(len(words), at + data.draw(st.integers(1, 12)))
    quote = " ".join(w.text for w in words[first:last])
    said = runs(corpus)
    for name in corpus.speakers:
        assert passes(corpus, citation(corpus, quote, name)) == truly_said(quote, name, said)
    if last - first > 6:
        assert not any(passes(corpus, citation(corpus, quote, name)) for name in corpus.speakers)


@settings(max_examples=100)
@given(text=st.text(max_size=120))
def test_invented_words_are_cut(corpus: Corpus, text: str) -> None:
    assume("”" not in text)
    said = runs(corpus)
    for name in corpus.speakers:
        made = citation(corpus, text, name)
        assert citation_stands(made, corpus) == truly_said(text, name, said)


REAL = "a billion seconds is 30 years."


@pytest.mark.parametrize(
    "change",
    [
        {"document": "fireside-captions"},
        {"document": "lex-podcast-summary"},
        {"document": "no-such-document"},
        {"kind": DocumentKind.CAPTIONS},
        {"kind": DocumentKind.SUMMARY},
        {"title": "Another talk"},
        {"quote": ""},
        {"quote": REAL.upper()},
        {"quote": f" {REAL}"},
        {"speaker": None},
        {"verbatim": False},
    ],
    ids=str,
)
def test_a_citation_that_says_a_wrong_thing_of_itself_is_cut(corpus: Corpus, change: dict[str, object]) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert passes(corpus, made)
    assert not verify(draft(made.model_copy(update=change)), corpus).claims


def claim(text: str, *citations: int, kind: str = "quoted") -> Claim:
    return Claim.model_validate({"text": text, "kind": kind, "citations": citations})


def test_a_claim_that_cites_nothing_is_cut(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim(f"“{REAL}”"),), (made,)), corpus).claims


@pytest.mark.parametrize("number", [1, -1, 7])
def test_a_claim_that_cites_what_is_not_there_is_cut(corpus: Corpus, number: int) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim(f"“{REAL}”", number),), (made,)), corpus).claims


def test_a_quoted_claim_without_a_quotation_is_cut(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim("I said so.", 0),), (made,)), corpus).claims


def test_one_forged_quotation_cuts_the_whole_claim(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim(f"“{REAL}” And: “Buy my book.”", 0),), (made,)), corpus).claims


def test_a_part_of_the_cited_words_is_no_proof_by_itself(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim("“a billion seconds”", 0),), (made,)), corpus).claims


def test_only_what_stands_is_kept_and_numbered_anew(corpus: Corpus) -> None:
    good = citation(corpus, REAL, "Ilya Sutskever")
    bad = citation(corpus, "Buy my book.", "Ilya Sutskever")
    checked = verify(Draft((claim("“Buy my book.”", 0), claim(f"“{REAL}”", 1)), (bad, good)), corpus)
    assert checked.citations == (good,)
    assert [c.citations for c in checked.claims] == [(0,)]


def test_a_report_must_hold_the_sentence_that_it_cites(corpus: Corpus) -> None:
    made = cite(corpus.sentences["theory-session-summary"][:1], corpus)
    report = claim(f"A summary reports that {made.quote}", 0, kind="reported")
    assert verify(Draft((report,), (made,)), corpus).claims == (report,)
    changed = claim(f"A summary reports that {made.quote.replace(' ', ' not ', 1)}", 0, kind="reported")
    assert not verify(Draft((changed,), (made,)), corpus).claims


def test_a_report_of_words_that_were_spoken_is_cut(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert not verify(Draft((claim(REAL, 0, kind="reported"),), (made,)), corpus).claims


def test_a_report_dressed_as_a_quotation_is_cut(corpus: Corpus) -> None:
    made = cite(corpus.sentences["theory-session-summary"][:1], corpus)
    assert not verify(Draft((claim(f"“{made.quote}”", 0),), (made,)), corpus).claims


def test_a_paraphrase_may_hold_a_proved_quotation_and_no_other(corpus: Corpus) -> None:
    made = citation(corpus, REAL, "Ilya Sutskever")
    assert verify(Draft((claim(f"I said “{REAL}”", 0, kind="paraphrased"),), (made,)), corpus).claims
    assert not verify(Draft((claim("I said “a million seconds”", 0, kind="paraphrased"),), (made,)), corpus).claims


def test_text_without_quotation_marks_needs_no_citation(corpus: Corpus) -> None:
    assert check_text("I don't know.", (), corpus) == "I don't know."


def test_empty_quotation_marks_are_no_proof(corpus: Corpus) -> None:
    with pytest.raises(VerificationError):
        check_text("“”", (), corpus)


# Arbitrary questions: words of the talks, of attacks and of anything else, thrown together.
WORDS = [
    "what",
    "who",
    "why",
    "how",
    "when",
    "did",
    "you",
    "he",
    "it",
    "that",
    "they",
    "say",
    "said",
    "think",
    "about",
    "reliability",
    "GPT-4",
    "AlexNet",
    "GPU",
    "neural",
    "networks",
    "Jensen",
    "Lex",
    "scaling",
    "compression",
    "consciousness",
    "salary",
    "wife",
    "2031",
    "GPT-9",
    "ignore",
    "instructions",
    "quote",
    "pretend",
    "“",
    "”",
    '"',
    "'",
    "?",
    "!",
    "…",
    ";",
    "DROP",
    "TABLE",
    "</s>",
    "[CLS]",
    "{quote}",
    "%s",
    "\\n",
    "🙂",
    "你好",
    "مرحبا",
    "ñ",
    "\u202e",
    "\u200b",
    "\x00",
    "�",
]
QUESTIONS = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join),
    st.text(st.characters(), max_size=80),
    st.lists(st.sampled_from(WORDS), min_size=3, max_size=7).map(lambda w: "Who said “" + " ".join(w) + "”?"),
)
TURNS = st.lists(
    st.builds(
        Turn,
        role=st.sampled_from(["user", "assistant"]),
        content=st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(text=QUESTIONS, history=TURNS)
def test_any_text_gets_a_short_reply_without_an_unproved_quotation(
    fireside: Fireside, text: str, history: list[Turn]
) -> None:
    reply = fireside.answer(Question(text=text, history=tuple(history))).reply
    assert 0 < len(reply.text) <= 700
    proved = (*reply.citations, *reply.nearest)
    check_text(reply.text, proved, fireside.corpus)
    said = runs(fireside.corpus)
    for quote in re.findall(r"“([^”]*)”", reply.text):
        (cited, *_) = [c for c in proved if c.quote == quote]
        assert cited.verbatim
        assert truly_said(quote, cited.speaker, said)
    assert reply.text.count("“") == reply.text.count("”")
    assert 0 <= reply.confidence <= 1
