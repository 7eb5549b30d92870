"""Scores replies by their fields; the text is searched for required facts alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from evals.cases import Case
from persona.types import Decision, Reply

Outcome = Literal["right", "wrong", "withheld"]


def folded(text: str) -> str:
    """Case, punctuation and spacing folded; words parted by single spaces, one at each end."""
    plain = text.lower().replace("’", "'").replace("'", "")
    return " " + " ".join(re.findall(r"[^\W_]+%?", plain)) + " "


def has_facts(facts: Sequence[Sequence[str]], text: str) -> bool:
    """Whether one alternative of every fact stands in the text as whole words."""
    there = folded(text)
    return all(any(folded(a) in there for a in alternatives) for alternatives in facts)


def says_forbidden(case: Case, text: str) -> bool:
    """Whether a text has words that no right reply to the case has."""
    return any(folded(bad) in folded(text) for bad in case.forbidden)


def outcome(case: Case, reply: Reply) -> Outcome:
    """`right`: a decision that the case allows, with its facts where it answers. `withheld`: it asked back or abstained
    although there was an answer. `wrong`: everything else, first of all an answer where there is none."""
    if says_forbidden(case, reply.text):
        return "wrong"
    if reply.decision in case.decisions:
        return "right" if reply.decision is not Decision.ANSWER or _says_enough(case, reply.text) else "wrong"
    if reply.decision in (Decision.ABSTAIN, Decision.CLARIFY) and Decision.ANSWER in case.decisions:
        return "withheld"
    return "wrong"


def _says_enough(case: Case, text: str) -> bool:
    """Whether a text has every fact; of a summary's important points half are enough."""
    if case.suite == "key_points":
        return 2 * sum(has_facts([point], text) for point in case.facts) >= len(case.facts)
    return has_facts(case.facts, text)
