"""Training data of our own: what retrieval finds for the *fit* cases, and their kinds of conduct.

`evals.fit.taught` says which cases a judge learns from before the coefficients are fitted on the others: on questions that
it was trained on it is surer than on any other. *certify* and *test* take no part in either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from evals.bench import holders
from evals.cases import UNANSWERABLE, Case
from evals.fit import kind_of, showing_conduct
from evals.scoring import has_facts
from persona.conduct import neutral, own_name_pattern
from persona.pipeline import Fireside
from persona.types import Decision, Passage
from scripts.judge.pairs import Pair
from scripts.reader.pairs import misspelt

HOLDING = 3  # passages with the answer, of a question
OTHERS = {"answerable": 3, "off_topic": 1}  # passages without it
_OTHERS = 3
_FIRST = 8  # of the retrieved passages: others are drawn among them


def pairs(fireside: Fireside, cases: Sequence[Case], draw: random.Random) -> Iterator[Pair]:
    """What retrieval finds for each question: passages that hold its answer, and others that don't."""
    for case in cases:
        if case.suite not in ("answerable", *UNANSWERABLE):
            continue
        answerable = case.suite == "answerable"
        if not answerable and case.decisions != (Decision.ABSTAIN,):
            continue
        analysis = fireside.analyser.read(case.asked())
        if analysis.dangling:
            continue
        found = [h.passage for h in fireside.retriever.search(analysis.dense, analysis.lexical).hits]
        question = misspelt(analysis.dense, draw)
        holding = set(holders(case, fireside.corpus)) if answerable else set[str]()
        if answerable:
            right = [p for p in fireside.corpus.passages if p.id in holding and has_facts(case.facts, p.search)]
            for passage in draw.sample(right, min(HOLDING, len(right))):
                text, answers = _marked(passage, case.facts)
                yield Pair(question, text, answers, "own, right")
        others = [p for p in found if p.id not in holding][:_FIRST]
        for passage in draw.sample(others, min(OTHERS.get(case.suite, _OTHERS), len(others))):
            yield Pair(question, _marked(passage, ())[0], (), f"own, {case.suite}")


def _marked(passage: Passage, facts: Sequence[Sequence[str]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The passage with its context before it, and the characters of the sentences that hold a fact."""
    text, spans = passage.context, list[tuple[int, int]]()
    for sentence in passage.sentences:
        text += " " if text else ""
        if any(has_facts([fact], sentence.search) for fact in facts):
            spans.append((len(text), len(text) + len(sentence.search)))
        text += sentence.search
    return text, tuple(spans)


def conduct(fireside: Fireside, cases: Sequence[Case]) -> list[tuple[str, str]]:
    """Texts and their kinds of conduct, the speaker's name replaced."""
    own = own_name_pattern((fireside.card.speaker, *fireside.card.short_names))
    return [(neutral(c.question, own), kind_of(c)) for c in showing_conduct(cases) if not c.history]
