"""Training pairs: a question, a passage, and where in it the answer stands (nowhere: a counterexample).

SQuAD 2.0 (Rajpurkar et al. 2018, CC BY-SA 4.0), SelQA (Jurczyk et al. 2016, Apache-2.0) and QED (Lamm et al. 2020,
CC BY-SA 3.0), cut as Fireside cuts its talks. Ordinary counterexamples (another passage of the article, the passage without
its answer, any passage) outnumber those that people or a swap made to look answerable: the other way round the model
learns that a high overlap of words means "no".
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persona.corpus.passages import stretches
from persona.text import STOPWORDS, stem, words
from scripts import talks
from scripts.reader.pairs import Span, load, misspelt, split, squad_articles, standing

HELD_SQUAD = 3  # last articles of SQuAD 2.0 (those with near-misses), kept for evaluation
SIZES = (40, 60, 90)  # words of a passage, as those of a talk vary
CONTEXT = 0.4  # share of passages that have their article's title before them, as ours have a heading

# Counterexamples: how many of each kind a question has on average.
WITHOUT_ANSWER, SAME_ARTICLE, ELSEWHERE, SWAPPED = 0.45, 0.6, 0.25, 0.15
NEAR_MISS, NEAR_MISS_ELSEWHERE = 1.0, 0.3
_NEAREST = 5  # passages of the article that share the most words with the question: one of them is drawn


@dataclass(frozen=True)
class Pair:
    """A question, a passage, and the characters of the passage's answers; none if it holds none."""

    question: str
    text: str
    answers: tuple[Span, ...]
    kind: str


@dataclass
class Asked:
    """A question with the characters of its answers in the paragraph, and the answers' words; none if it has no answer."""

    question: str
    spans: list[Span]
    answers: list[str]


@dataclass
class Paragraph:
    """A text, its sentences, and its questions."""

    text: str
    sentences: list[Span]
    questions: list[Asked] = field(default_factory=list[Asked])


@dataclass
class Article:
    """Paragraphs on one subject."""

    name: str
    paragraphs: list[Paragraph]


def articles(folder: Path, seed: int = 0) -> tuple[list[Article], list[Article]]:
    """The articles to train on and to evaluate on."""
    squad = _squad(folder)
    others, _ = load(folder, seed)
    converted = [
        Article(
            a.name.split(": ", 1)[1],
            [
                Paragraph(
                    p.text,
                    p.sentences,
                    [Asked(q.question, [p.sentences[n] for n in q.sentences], []) for q in p.questions],
                )
                for p in a.paragraphs
            ],
        )
        for a in others
        if not a.name.startswith("SQuAD")
    ]
    tricky = [a for a in squad if any(not q.spans for p in a.paragraphs for q in p.questions)]
    away = {a.name for a in tricky[-HELD_SQUAD:]}
    return [*(a for a in squad if a.name not in away), *converted], tricky[-HELD_SQUAD:]


def talk_articles() -> list[Article]:
    """The invented talks: each document asked what it answers, and as a near-miss what only the other one does."""
    out: list[Article] = []
    for pair in talks.load():
        for document, asked in pair.sides():
            made = Article(document.title, [Paragraph(text, split(text)) for text in document.paragraphs])
            for question, answers in asked:
                wanted = content(question)
                holding = [p for p in made.paragraphs if any(a in p.text for a in answers)]
                for paragraph in holding or [max(made.paragraphs, key=lambda p: len(wanted & content(p.text)))]:
                    paragraph.questions.append(Asked(question, standing(paragraph.text, answers), list(answers)))
            out.append(made)
    return out


def _squad(folder: Path) -> list[Article]:
    out: list[Article] = []
    for entry in squad_articles(folder):
        paragraphs: list[Paragraph] = []
        for part in entry["paragraphs"]:
            made = Paragraph(part["context"], split(part["context"]))
            for question in part["qas"]:
                text = question["question"].strip()
                if question["is_impossible"]:
                    made.questions.append(Asked(text, [], []))
                    continue
                answers = [a if isinstance(a, str) else a["text"] for a in question["answers"]]
                spans = standing(made.text, answers)
                if spans:
                    made.questions.append(Asked(text, spans, answers))
            paragraphs.append(made)
        out.append(Article(entry["title"].replace("_", " "), paragraphs))
    return out


@dataclass(frozen=True)
class Window:
    """Consecutive sentences of a paragraph: sentence numbers (the last included) and characters."""

    first: int
    last: int
    start: int
    end: int


def windows(paragraph: Paragraph, size: int) -> list[Window]:
    """Windows of at most `size` words, each beginning about half a window after the one before (at least a sentence)."""
    counts = [len(paragraph.text[a:b].split()) for a, b in paragraph.sentences]
    return [
        Window(first, end - 1, paragraph.sentences[first][0], paragraph.sentences[end - 1][1])
        for first, end in stretches(counts, size, size / 2)
    ]


def content(text: str) -> set[str]:
    """The stems that carry a topic."""
    return {stem(w) for w in words(text) if w not in STOPWORDS}


_SWAPPABLE = re.compile(r"(?<=\s)(?:[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*|\d[\d,.]*\d|\d)\b")


class Maker:
    """Draws the pairs of one epoch."""

    def __init__(self, corpus: Sequence[Article], draw: random.Random) -> None:
        self._articles = corpus
        self._draw = draw
        self._flat = [(a, p) for a in corpus for p in a.paragraphs]

    def pairs(self) -> Iterator[Pair]:
        """Every question's pairs, article by article."""
        for article in self._articles:
            cut = [(p, windows(p, self._draw.choice(SIZES))) for p in article.paragraphs]
            pool = [(p, w, content(p.text[w.start : w.end])) for p, parts in cut for w in parts]
            names = sorted(
                {m[0] for p in article.paragraphs for q in p.questions for m in _SWAPPABLE.finditer(q.question)}
            )
            for paragraph, parts in cut:
                for asked in paragraph.questions:
                    yield from self._of(article, paragraph, parts, asked, pool, names)

    def _of(
        self,
        article: Article,
        paragraph: Paragraph,
        parts: Sequence[Window],
        asked: Asked,
        pool: Sequence[tuple[Paragraph, Window, set[str]]],
        names: Sequence[str],
    ) -> Iterator[Pair]:
        question = misspelt(asked.question, self._draw)
        wanted = content(asked.question)
        if not asked.spans:
            if self._draw.random() < NEAR_MISS:
                own = max(parts, key=lambda w: len(wanted & content(paragraph.text[w.start : w.end])))
                yield self._pair(question, article, paragraph, own, (), "near_miss")
            if self._draw.random() < NEAR_MISS_ELSEWHERE:
                yield from self._elsewhere(question)
            return
        holders = [w for w in parts if any(w.start <= a and b <= w.end for a, b in asked.spans)]
        if not holders:
            return
        window = self._draw.choice(holders)
        spans = tuple((a, b) for a, b in asked.spans if window.start <= a and b <= window.end)
        yield self._pair(question, article, paragraph, window, spans, "right")
        if self._draw.random() < WITHOUT_ANSWER:
            yield from self._without(question, article, paragraph, window, asked)
        if self._draw.random() < SAME_ARTICLE:
            others = [(p, w, len(wanted & have)) for p, w, have in pool if not self._answers(asked, paragraph, p, w)]
            if others:
                others.sort(key=lambda o: -o[2])
                other, place, _ = self._draw.choice(others[:_NEAREST])
                yield self._pair(question, article, other, place, (), "same_article")
        if self._draw.random() < ELSEWHERE:
            yield from self._elsewhere(question)
        if self._draw.random() < SWAPPED:
            swapped = self._swap(question, paragraph.text, names)
            if swapped:
                yield self._pair(swapped, article, paragraph, window, (), "swapped")

    @staticmethod
    def _answers(asked: Asked, own: Paragraph, other: Paragraph, window: Window) -> bool:
        if own is other and any(a < window.end and window.start < b for a, b in asked.spans):
            return True
        text = other.text[window.start : window.end].casefold()
        return any(a.casefold() in text for a in asked.answers)

    def _without(
        self, question: str, article: Article, paragraph: Paragraph, window: Window, asked: Asked
    ) -> Iterator[Pair]:
        """The passage without the sentences of its answer, and others of the paragraph in their place."""
        out = {i for i, (a, b) in enumerate(paragraph.sentences) if any(a < t and s < b for s, t in asked.spans)}
        near = range(max(0, window.first - 1), min(len(paragraph.sentences), window.last + 2))
        kept = [paragraph.text[slice(*paragraph.sentences[i])].strip() for i in near if i not in out]
        text = " ".join(kept)
        if kept and not any(a.casefold() in text.casefold() for a in asked.answers):
            yield Pair(question, self._headed(article, text)[0], (), "without_answer")

    def _elsewhere(self, question: str) -> Iterator[Pair]:
        article, paragraph = self._draw.choice(self._flat)
        window = self._draw.choice(windows(paragraph, self._draw.choice(SIZES)))
        yield self._pair(question, article, paragraph, window, (), "elsewhere")

    def _swap(self, question: str, text: str, names: Sequence[str]) -> str | None:
        """The question with one name or number of the article in the place of another that its passage lacks."""
        found = list(_SWAPPABLE.finditer(question))
        if not found:
            return None
        at = self._draw.choice(found)
        digits = at[0][0].isdigit()
        fitting = [n for n in names if n[0].isdigit() == digits and n not in text and n not in question]
        if not fitting:
            return None
        return question[: at.start()] + self._draw.choice(fitting) + question[at.end() :]

    def _pair(
        self, question: str, article: Article, paragraph: Paragraph, window: Window, spans: Sequence[Span], kind: str
    ) -> Pair:
        text = paragraph.text[window.start : window.end].rstrip()
        headed, shift = self._headed(article, text)
        moved = tuple((a - window.start + shift, min(b - window.start, len(text)) + shift) for a, b in spans)
        return Pair(question, headed, moved, kind)

    def _headed(self, article: Article, text: str) -> tuple[str, int]:
        if self._draw.random() >= CONTEXT:
            return text, 0
        head = article.name + ": "
        return head + text, len(head)
