"""The bench: asks a configuration the cases, each suite in the way that it is meant, and keeps the replies."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from evals.cases import FOLDER, Case
from evals.runs import Answerer, Result
from evals.scoring import Outcome, has_facts, outcome
from persona.corpus import Corpus, load_corpus
from persona.errors import InputError
from persona.index import PassageIndex
from persona.pipeline import Fireside, build
from persona.types import Citation, Decision, Passage, Question, Reply, Turn
from persona.verification import citation_stands

DIGRESSION = "~digression"  # ends the id of a case that asks after another subject
TWIN = "~twin"  # ends the id of a case that asks again with the answer gone
POISONED = "poisoned.txt"
_SPEAKS = 3  # lines from which a name is one of the panel's
_TELLING = 24  # characters from which a sentence is one of a kind
LINE_ONLY = ("quote", "twin", "poisoned")  # suites that need more than an answer: a look-up, an index of their own


class Bench:
    """Asks one configuration. `answerer` is the line itself or a baseline; the line alone can do LINE_ONLY suites.

    `ask` may be called from many threads; the questions are answered one after the other.
    """

    def __init__(
        self,
        fireside: Fireside,
        answerer: Answerer | None = None,
        poison: Path | None = None,
        *,
        skip: Collection[str] = (),
    ) -> None:
        """`skip` names suites that make no sense for this configuration."""
        self.fireside = fireside
        self._skip = frozenset(skip) if answerer is None else frozenset((*skip, *LINE_ONLY))
        self.answerer = answerer or fireside
        self._poison = poison or FOLDER / POISONED
        self._poisoned: Fireside | None = None
        self._lock = threading.Lock()

    def asks(self, case: Case) -> bool:
        """Whether this configuration can be asked that case."""
        return case.suite not in self._skip

    def ask(self, case: Case) -> Result:
        """The reply to one case, scored."""
        with self._lock:
            begun = time.perf_counter()
            reply = self._reply(case)
            spent = (time.perf_counter() - begun) * 1000
        corpus = self.poisoned().corpus if case.suite == "poisoned" else self.fireside.corpus
        cited = [c for c in (*reply.citations, *reply.nearest) if c.verbatim]
        stand = sum(citation_stands(c, corpus) for c in cited)
        return Result(case, reply, came_out(case, reply), spent, quotations=(stand, len(cited)))

    def _reply(self, case: Case) -> Reply:
        match case.suite:
            case "quote":
                return _looked_up(self.fireside, case)
            case "twin":
                gone = self.fireside.without(holders(case, self.fireside.corpus))
                return gone.answer(case.asked()).reply
            case "poisoned":
                return self.poisoned().answer(case.asked()).reply
            case _:
                return self.answerer.answer(case.asked()).reply

    def poisoned(self) -> Fireside:
        """The persona with one more transcript in its corpus, which holds instructions; its index is a copy, kept."""
        if self._poisoned is None:
            self._poisoned = with_document(self.fireside, self._poison)
        return self._poisoned

    def close(self) -> None:
        """Lets the models' threads go."""
        if self._poisoned is not None:
            self._poisoned.close()
        self.fireside.close()


def came_out(case: Case, reply: Reply) -> Outcome:
    """How a reply to a case came out."""
    return _quote_outcome(case, reply) if case.suite == "quote" else outcome(case, reply)


def twins(cases: Iterable[Case]) -> list[Case]:
    """Each answerable question once more, to be asked with every passage gone that holds its answer.

    Cases with a history are left out: the answer may stand in what was said before.
    """
    return [
        case.model_copy(update={"id": case.id + TWIN, "suite": "twin", "decisions": (Decision.ABSTAIN,)})
        for case in cases
        if case.suite == "answerable" and case.facts and not case.history
    ]


def digressions(cases: Sequence[Case]) -> list[Case]:
    """Each question that the talks don't answer once more, put after an answered one of another section of its split: what
    was said before must not be told for an answer."""
    first = [c for c in cases if c.suite == "answerable" and c.facts and c.evidence and not c.history]

    @cache
    def elsewhere(split: str | None, section: str | None) -> list[Case]:
        return [c for c in first if c.split == split and c.section != section]

    out: list[Case] = []
    for number, case in enumerate(c for c in cases if c.unanswerable and not c.history):
        before = elsewhere(case.split, case.section)
        if not before:
            continue
        other = before[number % len(before)]
        history = (Turn(role="user", content=other.question), Turn(role="assistant", content=other.evidence[0].snippet))
        out.append(case.model_copy(update={"id": case.id + DIGRESSION, "suite": "digression", "history": history}))
    return out


def generated(cases: Sequence[Case]) -> list[Case]:
    """The cases that are made of others."""
    return [*twins(cases), *digressions(cases)]


def holders(case: Case, corpus: Corpus) -> list[str]:
    """The ids of the passages, of any document, that hold a case's answer: all its facts, or a snippet of its evidence."""
    snippets = [" ".join(e.snippet.split()) for e in case.evidence]
    return [p.id for p in corpus.passages if _holds(p, case.facts, snippets)]


def _holds(passage: Passage, facts: Sequence[Sequence[str]], snippets: Sequence[str]) -> bool:
    said = " ".join(s.text for s in passage.sentences)
    searched = f"{passage.context} {' '.join(s.search for s in passage.sentences)}"
    if has_facts(facts, said) or has_facts(facts, searched):
        return True
    # A snippet may span sentences; a sentence as short as "Yes." stands in many snippets that it has no part in.
    whole = [s.text for s in passage.sentences if len(s.text) >= _TELLING]
    return any(snippet in said or any(text in snippet for text in whole) for snippet in snippets)


def with_document(fireside: Fireside, transcript: Path) -> Fireside:
    """The same persona and coefficients over the same documents and one more: a transcript of lines "Name: words"."""
    if not transcript.is_file():
        raise InputError(f"No transcript at '{transcript}'. The suite 'poisoned' needs it beside its cases.")
    catalog, index = fireside.corpus.catalog, fireside.index
    if index.folder is None:
        raise InputError("The suite 'poisoned' needs an index on disk. Leave chroma_url unset for it.")
    home = index.folder.with_name(f"{index.folder.name}-{transcript.stem}")
    seeds = home / "seeds"
    if seeds.exists():
        shutil.rmtree(seeds)
    shutil.copytree(catalog.folder, seeds, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(transcript, seeds / transcript.name)
    lines = transcript.read_text(encoding="utf-8").splitlines()
    named = Counter(line.split(":", 1)[0] for line in lines if ":" in line)
    # A name that opens a line or two may be part of what somebody smuggled in.
    speakers = ", ".join(f'"{name}"' for name, count in named.items() if count >= _SPEAKS)
    path = seeds / fireside.card.catalog.name
    path.write_text(
        path.read_text(encoding="utf-8")
        + f'\n[[talk]]\nid = "{transcript.stem}"\ntitle = "A panel"\nname = "a panel"\n'
        + f'\n[[document]]\nid = "{transcript.stem}"\nfile = "{transcript.name}"\ntitle = "A panel"\n'
        + f'kind = "transcript"\ntalk = "{transcript.stem}"\nspeakers = [{speakers}]\n',
        encoding="utf-8",
    )
    corpus = load_corpus(path, fireside.card.aliases)
    rows = home / "index"
    if not rows.exists():
        # What is indexed already need not be embedded again.
        shutil.copytree(index.folder, rows)
    copy = PassageIndex(fireside.card.id, folder=rows)
    if not copy.is_current(corpus, fireside.embedder):
        build(corpus, copy, fireside.embedder)
    policy = fireside.policy
    return Fireside(fireside.card, corpus, copy, fireside.embedder, policy.coefficients, policy, fireside.judge)


def _looked_up(fireside: Fireside, case: Case) -> Reply:
    """A look-up's result in the shape of a reply: found, or not."""
    found = [Citation(**c.model_dump(exclude={"score"})) for c in fireside.lookup.quotes(case.question)]
    empty = fireside.answer(Question(id=case.id, text="…")).reply
    decision = Decision.ANSWER if found else Decision.ABSTAIN
    text = " ".join(c.quote for c in found)
    return empty.model_copy(
        update={"question": case.question, "decision": decision, "citations": tuple(found), "text": text}
    )


def _quote_outcome(case: Case, reply: Reply) -> Outcome:
    if Decision.ANSWER not in case.decisions:
        return "wrong" if reply.citations else "right"
    good = [c for c in reply.citations if has_facts(case.facts, c.quote)]
    if not reply.citations:
        return "withheld"
    return "right" if good and (case.speaker is None or any(c.speaker == case.speaker for c in good)) else "wrong"
