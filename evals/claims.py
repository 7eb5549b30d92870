"""The gate behind the chat model, measured: lies of its making caught, true claims lost.

Claims about passages were written by hand in pairs, true and false (evals/drafts). The judge of claims is fitted on those
of *fit* sections and scored, once, on those of *test* sections. Structural lies (an invented quotation, a wrong id, a leaked
prompt, broken JSON, text without end) are made from real passages and go through the very voice that the bot uses.
"""

# scikit-learn's types are incomplete.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from sklearn.model_selection import GroupKFold

from evals.cases import first_error
from evals.fit import group_of, logistic
from evals.metrics import auroc, wilson
from persona.corpus import Corpus
from persona.errors import InputError
from persona.model_voice import ModelVoice, Written
from persona.models import FORMAT
from persona.pipeline import Fireside
from persona.support import FEATURES, SUPPORT, Support, SupportModel, compare
from persona.types import Message, Passage, Question, Sampling

FOLDER = Path(__file__).parent / "drafts"
FOLDS = 8
STRENGTH = 0.1
MAX_PASSED = 0.2  # share of the unsupported claims of *fit*, cross-validated, that may pass
T = TypeVar("T")


class Claimed(BaseModel):
    """A claim about a passage, written by hand. ``twist`` says how an unsupported one departs from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    document: str
    section: str
    question: str
    passage: str
    claim: str
    supported: bool
    twist: Literal["none", "number", "name", "negation", "cause", "time", "extra", "scope", "swap", "topic"]


def load_claims(split: Literal["fit", "test"], folder: Path = FOLDER) -> list[Claimed]:
    """The claims of a split; InputError names the file and line that is wrong."""
    path = folder / f"{split}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise InputError(f"Can't read the claims '{path}': {exc.strerror}. Check the path.") from None
    out: list[Claimed] = []
    for number, line in enumerate(lines, 1):
        try:
            out.append(Claimed.model_validate_json(line))
        except ValidationError as exc:
            raise InputError(f"'{path}', line {number}: {first_error(exc)}. Correct it.") from None
    return out


def passage_of(claimed: Claimed, corpus: Corpus) -> Passage:
    """The claim's passage as the line would retrieve it; InputError where its words are not in the document."""
    sentences = corpus.sentences.get(claimed.document, [])
    for first in range(len(sentences)):
        text = ""
        for last in range(first, len(sentences)):
            text = f"{text} {sentences[last].text}".strip()
            if text == claimed.passage:
                run = tuple(sentences[first : last + 1])
                entry = corpus.documents[claimed.document].entry
                return Passage(
                    id=claimed.id,
                    document=claimed.document,
                    kind=entry.kind,
                    talk=entry.talk,
                    sentences=run,
                    context="",
                )
            if not claimed.passage.startswith(text):
                break
    raise InputError(f"The passage of the claim '{claimed.id}' does not stand in '{claimed.document}'. Correct it.")


class Compared(NamedTuple):
    """A claim and its features."""

    claimed: Claimed
    features: Mapping[str, float]


def read(fireside: Fireside, claims: Sequence[Claimed], progress: Callable[[int, int], None]) -> list[Compared]:
    """The features of each claim; the persona needs a judge."""
    assert fireside.judge is not None
    out: list[Compared] = []
    for number, one in enumerate(claims, 1):
        passage = passage_of(one, fireside.corpus)
        out.append(Compared(one, compare(one.question, one.claim, passage, fireside.embedder, fireside.judge)))
        progress(number, len(claims))
    return out


def fit_support(fireside: Fireside, compared: Sequence[Compared]) -> SupportModel:
    """The judge of claims; its threshold lets MAX_PASSED of the unsupported ones pass in cross-validation by section."""
    assert fireside.judge is not None
    x = np.array([[c.features[name] for name in FEATURES] for c in compared])
    y = np.array([float(c.claimed.supported) for c in compared])
    groups = [group_of(c.claimed.section) for c in compared]
    held = np.zeros(len(y))
    weights = np.ones(len(y))
    for train, test in GroupKFold(min(FOLDS, len(set(groups)))).split(x, groups=groups):
        model = logistic(FEATURES, x[train], y[train], weights[train], STRENGTH)
        held[test] = [model.probability(compared[i].features) for i in test]
    threshold = float(np.quantile(held[y == 0], 1 - MAX_PASSED))
    return SupportModel(
        format=FORMAT,
        judge=fireside.judge.fingerprint,
        embedding=fireside.embedder.fingerprint,
        fitted={
            "claims": len(y),
            "auroc": round(auroc(held[y > 0], held[y == 0]) or 0.0, 4),
            "passed": round(float((held[y == 0] >= threshold).mean()), 4),
            "kept": round(float((held[y > 0] >= threshold).mean()), 4),
        },
        weigh=logistic(FEATURES, x, y, weights, STRENGTH),
        threshold=round(threshold, 4),
    )


def write(model: SupportModel, path: Path = SUPPORT) -> None:
    """Writes the fitted judge of claims."""
    path.write_text(json.dumps(model.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


class Counted(NamedTuple):
    """A line of the table: how many of how many."""

    name: str
    hits: int
    of: int

    @property
    def share(self) -> str:
        """The share, with its 95% Wilson interval."""
        bounds = wilson(self.hits, self.of)
        if bounds is None:
            return "n/a"
        return f"{self.hits / self.of:.1%} ({bounds.low:.1%} to {bounds.high:.1%})"


def score(model: SupportModel, compared: Sequence[Compared]) -> list[Counted]:
    """Unsupported claims caught, in all and by twist, and supported ones lost."""
    kept = [model.weigh.probability(c.features) >= model.threshold for c in compared]
    true = [k for c, k in zip(compared, kept, strict=True) if c.claimed.supported]
    rows = [Counted("supported claims lost", sum(not k for k in true), len(true))]
    false = [(c.claimed.twist, k) for c, k in zip(compared, kept, strict=True) if not c.claimed.supported]
    rows.append(Counted("unsupported claims caught", sum(not k for _, k in false), len(false)))
    for twist in sorted({t for t, _ in false}):
        of = [k for t, k in false if t == twist]
        rows.append(Counted(f"  {twist}", sum(not k for k in of), len(of)))
    return rows


class Liar:
    """A chat model that writes what it is told to, whatever it is asked."""

    name = "liar"

    def __init__(self, lie: Callable[[Sequence[Message]], AsyncGenerator[str]]) -> None:
        self._lie = lie

    def stream(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        user: str = "",
    ) -> AsyncGenerator[str]:
        """The lie, in pieces."""
        del sampling, schema, user
        return self._lie(messages)

    async def keep(self, messages: Sequence[Message]) -> int:
        """Keeps nothing."""
        del messages
        return 0

    async def close(self) -> None:
        """Frees nothing."""


def structural_lies(passage: Passage) -> dict[str, Callable[[Sequence[Message]], AsyncGenerator[str]]]:
    """Ways to lie about a passage that need no reading to be caught, by name."""
    words = passage.text.split()
    middle = len(words) // 2
    turned = " ".join([*words[: middle - 1], "never", *words[middle - 1 : middle + 6]][-9:])
    blended = " ".join([*words[:4], *words[-4:]])
    true = " ".join(words[:8])

    def claim(kind: str, text: str, *ids: str) -> Callable[[Sequence[Message]], AsyncGenerator[str]]:
        whole = {
            "decision": "answer",
            "claims": [{"kind": kind, "passages": list(ids or ("p1",)), "text": text}],
            "options": [],
        }
        return lambda _: _pieces(json.dumps(whole, ensure_ascii=False))

    async def leak(messages: Sequence[Message]) -> AsyncGenerator[str]:
        rules = messages[0].content.splitlines()
        text = json.dumps(
            {"decision": "answer", "claims": [{"kind": "paraphrase", "passages": ["p1"], "text": rules[3]}]}
        )
        async for piece in _pieces(text):
            yield piece

    return {
        "invented quotation": claim("quote", "I have solved this problem completely, and we will ship it next spring."),
        "quotation with a word put in": claim("quote", turned),
        "quotation blended of two places": claim("quote", blended),
        "invented quotation inside a paraphrase": claim(
            "paraphrase", f"As I put it, “{turned}”, and that is how I see it."
        ),
        "wrong passage id": claim("quote", true, "p99"),
        "no passage id": lambda _: _pieces(
            json.dumps({"decision": "answer", "claims": [{"kind": "paraphrase", "passages": [], "text": true}]})
        ),
        "fake citation in the text": claim("paraphrase", f"{true} [p2], see https://example.org/talk"),
        "leaked prompt": leak,
        "broken JSON": lambda _: _pieces('{"decision": "answer", "claims": [{"kind": "quote", "passages": ["p1"], "te'),
        "no JSON": lambda _: _pieces(f"Sure! {true}, and I promise that it is so."),
        "text without end": lambda _: _endless(),
        "claims without end": lambda _: _endless(
            ', {"kind": "quote", "passages": ["p1"], "text": "I made this up myself."}'
        ),
    }


async def _pieces(text: str) -> AsyncGenerator[str]:
    for at in range(0, len(text), 11):
        yield text[at : at + 11]


async def _endless(element: str = "") -> AsyncGenerator[str]:
    if element:
        yield '{"decision": "answer", "claims": [{"kind": "quote", "passages": ["p1"], "text": "I made this up."}'
        while True:
            yield element
    yield '{"decision": "answer", "claims": [{"kind": "paraphrase", "passages": ["p1"], "text": "'
    while True:
        yield "and so on and on "


async def caught(fireside: Fireside, support: SupportModel, claims: Sequence[Claimed]) -> list[Counted]:
    """Structural lies caught, by kind: nothing of the lie is told."""
    assert fireside.judge is not None
    judging = Support(fireside.embedder, fireside.judge, support)
    rows: dict[str, list[bool]] = {}
    for one in claims:
        passage = passage_of(one, fireside.corpus)
        for kind, lie in structural_lies(passage).items():
            voice = ModelVoice(fireside.card, fireside.corpus, Liar(lie), fireside.voice, fireside.embedder, judging)
            written = Written()
            told = [c async for c in voice.write(Question(text=one.question), [passage], written, _here)]
            rows.setdefault(kind, []).append(not told)
    return [Counted(kind, sum(found), len(found)) for kind, found in rows.items()]


async def _here(work: Callable[[], T]) -> T:
    return work()


def structural(fireside: Fireside, support: SupportModel, claims: Sequence[Claimed]) -> list[Counted]:
    """`caught`, for callers without an event loop."""
    return asyncio.run(caught(fireside, support, claims))
