"""Training data: paragraphs cut into sentences, with questions and the sentences that answer them.

SQuAD 2.0 (Rajpurkar et al. 2018, CC BY-SA 4.0), SelQA (Jurczyk et al. 2016, Apache-2.0) and QED (Lamm et al. 2020,
CC BY-SA 3.0), read from one folder; none of Fireside's own cases is among them.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from persona.errors import InputError

SQUAD = "squad2-dev-37-articles.json"
SELQA = ("selqa-ass-dev.json", "selqa-ass-test.json")
QED = "qed-dev.jsonlines"
DEV_SQUAD = 3  # last articles of SQuAD, kept for evaluation
DEV_SELQA = 20  # last articles of SelQA, kept for evaluation
_SELQA_WORDS = 170
_COMMON = 3  # an answer string that stands in more places than this says little about which one is meant

Span = tuple[int, int]  # characters, the end not included


class Asked(NamedTuple):
    """A question and the numbers of the sentences that answer it."""

    question: str
    sentences: list[int]


@dataclass
class Paragraph:
    """A text, its sentences, and its questions."""

    text: str
    sentences: list[Span]
    questions: list[Asked] = field(default_factory=list[Asked])


@dataclass
class Article:
    """Paragraphs on one subject: hard negatives for each other."""

    name: str
    paragraphs: list[Paragraph]


def load(folder: Path, seed: int = 0) -> tuple[list[Article], list[Article]]:
    """The articles to train on and to evaluate on."""
    draw = random.Random(seed)
    squad, selqa, qed = _squad(folder), _selqa(folder, draw), _qed(folder)
    train = [*squad[:-DEV_SQUAD], *selqa[:-DEV_SELQA], *qed]
    return train, [*squad[-DEV_SQUAD:], *selqa[-DEV_SELQA:]]


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as exc:
        raise InputError(f"Can't read '{folder / name}': {exc.strerror}. Give the folder with the data sets.") from None


def split(text: str) -> list[Span]:
    """Sentences of written English: a full stop, question or exclamation mark before a capital or a digit."""
    out: list[Span] = []
    start = 0
    for mark in re.finditer(r"[.!?][\"')\]]?\s+(?=[A-Z0-9\"'(])", text):
        out.append((start, mark.end()))
        start = mark.end()
    if start < len(text):
        out.append((start, len(text)))
    return out


def standing(text: str, answers: Sequence[str]) -> list[Span]:
    """Where the answers stand; one that is all over the paragraph counts nowhere."""
    found: set[Span] = set()
    for answer in answers:
        places = [m.span() for m in re.finditer(re.escape(answer), text)]
        if len(places) <= _COMMON:
            found |= set(places)
    return sorted(found)


def _holding(sentences: Sequence[Span], spans: Sequence[Span]) -> list[int]:
    """The sentences in which a span begins."""
    return sorted({i for at, _ in spans for i, (a, b) in enumerate(sentences) if a <= at < b})


def squad_articles(folder: Path) -> list[Any]:
    """SQuAD's articles as its file has them."""
    loaded: Any = json.loads(_read(folder, SQUAD))
    return cast("dict[str, Any]", loaded)["data"] if isinstance(loaded, dict) else loaded


def _squad(folder: Path) -> list[Article]:
    out: list[Article] = []
    for article in squad_articles(folder):
        paragraphs: list[Paragraph] = []
        for entry in article["paragraphs"]:
            made = Paragraph(entry["context"], split(entry["context"]))
            for question in entry["qas"]:
                answers = [a if isinstance(a, str) else a["text"] for a in question["answers"]]
                spans = standing(made.text, answers)
                if spans and not question["is_impossible"]:
                    made.questions.append(Asked(question["question"], _holding(made.sentences, spans)))
            paragraphs.append(made)
        out.append(Article(f"SQuAD: {article['title']}", paragraphs))
    return out


def _selqa(folder: Path, draw: random.Random) -> list[Article]:
    """A window of sentences around the first answer, as long as a SQuAD paragraph."""
    found: dict[str, dict[str, Paragraph]] = defaultdict(dict)
    for name in SELQA:
        for entry in json.loads(_read(folder, name)):
            if not entry["answers"]:
                continue
            sentences: list[str] = entry["candidates"]
            first = last = int(entry["answers"][0])
            words = len(sentences[first].split())
            while words < _SELQA_WORDS and (first > 0 or last < len(sentences) - 1):
                if first > 0 and (last == len(sentences) - 1 or draw.random() < 0.5):
                    first -= 1
                    words += len(sentences[first].split())
                else:
                    last += 1
                    words += len(sentences[last].split())
            text, spans = "", list[Span]()
            for sentence in sentences[first : last + 1]:
                spans.append((len(text), len(text) + len(sentence) + 1))
                text += sentence + " "
            made = found[entry["article"]].setdefault(text, Paragraph(text, spans))
            held = [n - first for n in entry["answers"] if first <= n <= last]
            made.questions.append(Asked(entry["question"], held))
    return [Article(f"SelQA: {name}", list(paragraphs.values())) for name, paragraphs in found.items()]


def _qed(folder: Path) -> list[Article]:
    out: list[Article] = []
    for line in _read(folder, QED).splitlines():
        entry = json.loads(line)
        text, starts = entry["paragraph_text"], entry["sentence_starts"]
        spans = list(zip(starts, [*starts[1:], len(text)], strict=True))
        answers = [(a["start"], a["end"]) for group in entry["original_nq_answers"] for a in group]
        chosen = entry.get("annotation", {}).get("selected_sentence")
        held = _holding(spans, [(chosen["start"], chosen["end"])] if chosen else answers)
        if held:
            asked = Asked(entry["question_text"], held)
            out.append(Article(f"QED: {entry['title_text']}", [Paragraph(text, spans, [asked])]))
    return out


def misspelt(question: str, draw: random.Random) -> str:
    """The question as it is typed in a channel: now and then without its mark, or with a typing error."""
    if draw.random() < 0.3:
        question = question.rstrip("?")
    if draw.random() >= 0.12:
        return question
    words = question.split()
    at = draw.randrange(len(words)) if words else 0
    if words and len(words[at]) > 4:
        word = words[at]
        i = draw.randrange(1, len(word) - 1)
        dropped, doubled = word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:]
        swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
        words[at] = draw.choice([dropped, swapped, doubled])
    return " ".join(words)


def batches(articles: Sequence[Article], size: int, draw: random.Random) -> Iterator[list[Paragraph]]:
    """One epoch: batches of about `size` paragraphs, up to three of one article next to each other."""
    groups: list[list[Paragraph]] = []
    for article in articles:
        paragraphs = list(article.paragraphs)
        draw.shuffle(paragraphs)
        groups += [paragraphs[at : at + 3] for at in range(0, len(paragraphs), 3)]
    draw.shuffle(groups)
    batch: list[Paragraph] = []
    for group in groups:
        batch += group
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch
