"""What stood behind a reply, what the talks are, and which commands there are: shared by every place that shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from bot.rendering import shorten
from persona.corpus import Corpus
from persona.corpus.catalog import Catalog
from persona.index import vocabulary
from persona.models import Coefficients, Logistic
from persona.pipeline import Answered
from persona.voices import clock

WHY_PASSAGES = 5
WHY_FEATURES = 6
_SNIPPET = 100
_TOPICS = 400
_TOPIC_LETTERS = 4  # shorter words name no topic worth completing


class Line(NamedTuple):
    """One line of an explanation, and how it stands out where there are colours."""

    text: str
    tone: Literal["", "title", "quiet", "cut"] = ""


class Command(NamedTuple):
    """A command; ``takes`` names its argument."""

    name: str
    takes: str
    does: str


class Weighed(NamedTuple):
    """A feature of the evidence, its value, and by how much it moved the log odds of an answer."""

    name: str
    value: float
    weight: float


def why(answered: Answered, coefficients: Coefficients) -> list[Line]:
    """What stood behind a reply: decision, confidence, passages, what was cut, the features that weighed most."""
    reply, trace = answered.reply, answered.trace
    out = [Line(f"{reply.decision} ({reply.reason}), by the {reply.voice} voice")]
    if reply.id:
        out.append(Line(f"reply {reply.id}", "quiet"))  # as the log and the feedback have it
    if not trace.hits:
        return [*out, Line("No passage was looked up: the question itself settled that.", "quiet")]
    compared = "at or above" if reply.confidence >= reply.threshold else "below"
    out.append(
        Line(f"confidence {reply.confidence:.2f}, {compared} the threshold {reply.threshold:.2f} (risk: {reply.risk})")
    )
    if trace.standalone:
        out.append(Line(f"searched as: {trace.standalone}"))
    out.append(Line("passages, best first:"))
    for rank, hit in enumerate(trace.hits[:WHY_PASSAGES], 1):
        start = clock(hit.passage.sentences[0].start)
        place = ", ".join(part for part in (hit.passage.speaker or "", start, hit.passage.document) if part)
        out.append(Line(f"  {rank}. cosine {hit.cosine:.2f}, BM25 {hit.bm25:.1f} · {place}"))
        out.append(Line(f"     {shorten(hit.passage.text, _SNIPPET)}", "quiet"))
    out += (Line(f"cut ({cut.why}): {shorten(cut.text, _SNIPPET)}", "cut") for cut in trace.cuts)
    weighed = main_features(coefficients.confidence(trace.features), trace.features)
    if weighed:
        out.append(Line("what weighed most (+ for an answer, − against one):"))
    for feature in weighed:
        sign = "+" if feature.weight >= 0 else "−"
        out.append(Line(f"  {sign}{abs(feature.weight):.2f} {feature.name} = {feature.value:.2f}"))
    return out


def main_features(model: Logistic, features: dict[str, float], count: int = WHY_FEATURES) -> list[Weighed]:
    """The features that moved a decision most, against an average question."""
    moved = [
        Weighed(name, features[name], weight * (features[name] - mean) / scale)
        for name, mean, scale, weight in zip(model.features, model.mean, model.scale, model.weights, strict=True)
        if name in features
    ]
    return sorted(moved, key=lambda f: -abs(f.weight))[:count]


def talks(catalog: Catalog) -> list[Line]:
    """The talks, and below each the documents that record it."""
    out: list[Line] = []
    for talk in catalog.talk:
        out.append(Line(" · ".join(part for part in (talk.title, talk.date) if part), "title"))
        for entry in (d for d in catalog.document if d.talk == talk.id):
            use = "quoted" if entry.kind.verbatim else "reported"
            parts = (f"{entry.kind}, {use}", entry.title, entry.date, entry.url)
            out.append(Line("  " + " · ".join(part for part in parts if part)))
    return out


def topics(corpus: Corpus) -> list[str]:
    """The words that the talks use most, for completion."""
    return [word for word in vocabulary(corpus).values() if len(word) >= _TOPIC_LETTERS and word.isalpha()][:_TOPICS]


def listed(commands: Iterable[Command]) -> list[str]:
    """Commands with what they do, one to a line, aligned."""
    rows = [(f"{c.name} {c.takes}".strip(), c.does) for c in commands]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {does}" for name, does in rows]


def joined(lines: Iterable[Line]) -> str:
    """The lines as one text."""
    return "\n".join(line.text for line in lines)
