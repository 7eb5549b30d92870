"""Judging: the best passages read together with the question, by a judge that says whether each holds the answer, and where.

A forward pass costs far more than all features before it, so only the passages of the best spans are read, and none where
the fitted gate has already given the question up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from persona.evidence import Span
from persona.types import Judge, Judgement, Passage

PASSAGES = 4
WORDS = 300  # of all passages that are read; about 420 tokens
_SURE = 8.0  # log odds beyond which a verdict says no more
_NOWHERE = 1e-3  # probability below which a place is as good as none


def chosen(ranked: Sequence[Span]) -> list[Passage]:
    """The passages of the best spans, best first, as many as there is time to read; always one."""
    out: dict[str, Passage] = {}
    total = 0
    for span in ranked:
        passage = span.hit.passage
        if passage.id in out:
            continue
        size = len(passage.context.split()) + len(passage.search.split())
        if out and (len(out) == PASSAGES or total + size > WORDS):
            break
        out[passage.id] = passage
        total += size
    return list(out.values())


def judged(question: str, ranked: Sequence[Span], judge: Judge) -> list[Span]:
    """The spans of the passages that were read, in their order, with what the judge says of them among their features."""
    passages = chosen(ranked)
    texts = [(p.context, *(s.search for s in p.sentences)) for p in passages]
    found = {p.id: j for p, j in zip(passages, judge.judge(question, texts), strict=True)}
    best = max((j.holds for j in found.values()), default=0.0)
    out: list[Span] = []
    for span in ranked:
        judgement = found.get(span.hit.passage.id)
        if judgement is not None:
            out.append(replace(span, features={**span.features, **_features(span, judgement, best)}))
    return out


def _features(span: Span, judgement: Judgement, best: float) -> dict[str, float]:
    passage = span.hit.passage
    first = 1 + passage.sentences.index(span.sentences[0])  # part 0 is the context
    end = first + len(span.sentences)
    begins, ends = float(judgement.begins[first:end].sum()), float(judgement.ends[first:end].sum())
    return {
        "judge": max(-_SURE, min(_SURE, judgement.holds)),
        "judge_begins": math.log(begins + _NOWHERE),
        "judge_ends": math.log(ends + _NOWHERE),
        "judge_share": (begins + ends) / (float(judgement.begins.sum() + judgement.ends.sum()) + 2 * _NOWHERE),
        "judge_nowhere": 1.0 - float(judgement.begins.sum()),
        "judge_asked": float(judgement.begins[0]),
        "judge_gap": best - judgement.holds,
    }
