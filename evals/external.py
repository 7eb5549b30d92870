"""External sets: how well the line answers and abstains on questions and passages that it was not made for.

Formats that `load` reads:

- ``clapnq``: CLAPNQ (Rosenthal et al. 2024, arXiv:2404.02103), the folder with ``clapnq_dev_answerable.jsonl`` and
  ``clapnq_dev_unanswerable.jsonl``, or one such file. An unanswerable question brings a passage of the same page.
- ``mtrag``: MTRAG-UN (github.com/IBM/mt-rag-benchmark), the folder with ``tasks.jsonl`` and ``pooled_passages.jsonl``.
  ANSWERABLE is to be answered, UNANSWERABLE withheld, UNDERSPECIFIED asked back; PARTIAL is skipped, and counted.
- ``jsonl``: one file for a set of one's own, a line for each passage and each question, in any order::

    {"passage": {"id": "p1", "title": "Keeping bees", "text": "A hive has one queen."}}
    {"id": "q1", "question": "How many queens does a hive have?", "answerable": true, "passages": ["p1"]}
    {"id": "q2", "question": "What does a queen cost?", "answerable": false,
     "history": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}

  (each on one line). ``title`` and ``history`` may be left out; ``passages`` names those that answer, and may be left out.

What is indexed are all passages of the set ("near-miss": those that came with unanswerable questions too), or only those
that answer a question ("closed", see `ExternalSet.closed`).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StrictBool, ValidationError

from evals.baselines import PLAIN_THRESHOLD, PlainRag
from evals.cases import first_error
from evals.metrics import auroc, clopper_pearson_upper, coverage_at_false
from evals.run import ANSWERS, Figure
from evals.runs import Answerer
from evals.scoring import folded
from persona.card import AbstainLines, AnswerLines, Card, ClarifyLines, DeclineLines
from persona.corpus import Corpus, load_corpus
from persona.decision import Policy
from persona.errors import ConfigError, InputError
from persona.evidence import MAX_CHARACTERS
from persona.index import PassageIndex
from persona.models import AS_FITTED, Coefficients, Scale
from persona.pipeline import NOT_CERTIFIED, Fireside
from persona.text import clean, ends_sentence, split_sentences
from persona.types import Citation, Decision, Embedder, Judge, Question, Reason, Reply, Turn

FORMATS = ("clapnq", "mtrag", "jsonl")
CLAPNQ_FILES = ("clapnq_dev_answerable.jsonl", "clapnq_dev_unanswerable.jsonl")
MTRAG_FILES = ("tasks.jsonl", "pooled_passages.jsonl")
LINE = "this line"
PLAIN = "plain bot"

FALSE = 0.05  # share of unanswerable questions that may be answered where coverage is compared

Mode = Literal["near-miss", "closed"]


@dataclass(frozen=True)
class ExternalPassage:
    """A passage of a set, as its file has it."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class ExternalCase:
    """A question and what is right: `passages` are the ids of those that answer, `sentences` the gold ones in them."""

    question: Question
    expected: Decision  # ANSWER, ABSTAIN or CLARIFY
    passages: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExternalSet:
    """Questions with the passages that they are asked of; `skipped` counts those that are neither answerable nor not."""

    name: str
    passages: tuple[ExternalPassage, ...]
    cases: tuple[ExternalCase, ...]
    skipped: int = 0
    mode: Mode = "near-miss"

    def closed(self) -> ExternalSet:
        """The set with those passages only that answer a question: what unanswerable questions ask about is then
        mostly not there at all. InputError if no passage answers any."""
        gold = {id_ for case in self.cases if case.expected is Decision.ANSWER for id_ in case.passages}
        kept = tuple(p for p in self.passages if p.id in gold)
        if not kept:
            raise InputError(f"The set '{self.name}' names no passage that answers a question. Use all its passages.")
        return replace(self, passages=kept, mode="closed")

    def first(self, limit: int | None) -> ExternalSet:
        """The set with the first `limit` questions of each kind (all for None) and all its passages."""
        if limit is None:
            return self
        kinds = (Decision.ANSWER, Decision.ABSTAIN, Decision.CLARIFY)
        kept = {id(c) for kind in kinds for c in [c for c in self.cases if c.expected is kind][:limit]}
        return replace(self, cases=tuple(c for c in self.cases if id(c) in kept))


@dataclass(frozen=True)
class ExternalResult:
    """A case and the reply to it; `passage` and `sentence`: whether it cites a gold passage, quotes a gold sentence."""

    case: ExternalCase
    reply: Reply
    passage: bool
    sentence: bool


@dataclass(frozen=True)
class SystemScore:
    """How one answerer did. Shares with their counts; `bound` is the upper 95% bound of the share of unanswerable
    questions that it answered, `auroc` of its confidence over `weighed` questions, `coverage` the share of the answerable
    ones that it could answer if FALSE of the unanswerable ones may be; None is undefined."""

    name: str
    threshold: float
    figures: tuple[Figure, ...]
    bound: float | None
    auroc: float | None
    coverage: float | None
    weighed: int
    results: tuple[ExternalResult, ...]


@dataclass(frozen=True)
class ExternalScore:
    """A set's score: the line's first, the plain bot's beside it."""

    name: str
    mode: Mode
    passages: int
    questions: int
    skipped: int
    systems: tuple[SystemScore, ...]


def load(format: str, path: Path) -> ExternalSet:  # noqa: A002 - the option that people type
    """A set in one of FORMATS (see the module); InputError names file, line and key of what is wrong."""
    match format:
        case "clapnq":
            found = _clapnq(path)
        case "mtrag":
            found = _mtrag(path)
        case "jsonl":
            found = _own(path)
        case _:
            raise InputError(f"No format '{format}'. Use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if not found.cases:
        raise InputError(f"'{path}' holds no question. Check that it is a set in the format '{format}'.")
    if not found.passages:
        raise InputError(f"'{path}' holds no passage to ask about. Add the passages.")
    return found


def _has_words(text: str) -> str:
    if not re.search(r"\w", clean(text)):
        raise ValueError("it holds no word")
    return text


_Text = Annotated[str, AfterValidator(_has_words)]


class _Given(BaseModel):
    """A row of somebody else's file: keys that we don't need may stand in it."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Own(BaseModel):
    """A row of our own format: an unknown key is a slip."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Row = TypeVar("Row", bound=BaseModel)


def _rows(file: Path, kind: Callable[[object], type[Row]], what: str) -> Iterator[tuple[str, Row]]:
    """The rows of a JSON-lines file, each with its place in words; `kind` says which model a row is of."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"No file '{file}'. Check the path.") from None
    except UnicodeDecodeError as exc:
        raise InputError(f"'{file}' is not UTF-8 text (byte {exc.start}). Save it as UTF-8.") from None
    except OSError as exc:
        raise InputError(f"Can't read '{file}': {exc.strerror}. Give a {what}.") from None
    # Not splitlines: JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        place = f"Line {number} of '{file}'"
        try:
            row: object = json.loads(line)
        except ValueError as exc:
            raise InputError(f"{place} is not JSON: {exc}. Correct it.") from None
        try:
            yield place, kind(row).model_validate(row)
        except ValidationError as exc:
            raise InputError(f"{place} is wrong at {first_error(exc)}. Correct it.") from None


class _ClapnqPassage(_Given):
    title: str = ""
    text: _Text


class _ClapnqOutput(_Given):
    answer: str
    selected_sentences: tuple[str, ...] = ()


class _ClapnqRow(_Given):
    id: str
    input: _Text
    passages: tuple[_ClapnqPassage, ...]
    output: tuple[_ClapnqOutput, ...]


def _clapnq(path: Path) -> ExternalSet:
    files = [path / name for name in CLAPNQ_FILES if (path / name).exists()] if path.is_dir() else [path]
    if not files:
        raise InputError(f"The folder '{path}' has no {' or '.join(CLAPNQ_FILES)}. Give a folder with these files.")
    ids: dict[tuple[str, str], str] = {}
    passages: list[ExternalPassage] = []
    cases: list[ExternalCase] = []
    seen = _Seen("id")
    for file in files:
        for place, row in _rows(file, lambda _: _ClapnqRow, "CLAPNQ file or folder"):
            seen.new(row.id, place)
            for n, p in enumerate(row.passages):
                # Some questions share a passage: it is one, whichever of them it came with.
                id_ = ids.setdefault((p.title, p.text), f"{row.id}-{n}")
                if id_ == f"{row.id}-{n}":
                    passages.append(ExternalPassage(id_, p.title, p.text))
            answerable = any(o.answer.strip() for o in row.output)
            gold = [ids[p.title, p.text] for p in row.passages] if answerable else []
            sentences = dict.fromkeys(s for o in row.output for s in o.selected_sentences)
            expected = Decision.ANSWER if answerable else Decision.ABSTAIN
            asked = Question(id=row.id, text=row.input)
            cases.append(ExternalCase(asked, expected, tuple(gold), tuple(sentences) if answerable else ()))
    return ExternalSet("clapnq", tuple(passages), tuple(cases))


class _MtragTurn(_Given):
    speaker: Literal["user", "agent"]
    text: str


class _MtragTask(_Given):
    task_id: str
    answerability: Literal["ANSWERABLE", "UNANSWERABLE", "UNDERSPECIFIED", "PARTIAL"]
    history: tuple[_MtragTurn, ...] = ()
    question: _Text
    gold_doc_ids: tuple[str, ...] = ()


class _MtragPassage(_Given):
    document_id: str
    title: str = ""
    text: _Text


_EXPECTED = {
    "ANSWERABLE": Decision.ANSWER,
    "UNANSWERABLE": Decision.ABSTAIN,
    "UNDERSPECIFIED": Decision.CLARIFY,
}


def _mtrag(path: Path) -> ExternalSet:
    if not path.is_dir():
        raise InputError(f"'{path}' is no folder. Give the folder with {' and '.join(MTRAG_FILES)}.")
    tasks, pooled = (path / name for name in MTRAG_FILES)
    passages: dict[str, ExternalPassage] = {}
    seen = _Seen("document_id")
    for place, row in _rows(pooled, lambda _: _MtragPassage, "file of passages"):
        seen.new(row.document_id, place)
        passages[row.document_id] = ExternalPassage(row.document_id, row.title, row.text)
    cases: list[ExternalCase] = []
    skipped = 0
    seen = _Seen("task_id")
    for place, row in _rows(tasks, lambda _: _MtragTask, "file of tasks"):
        seen.new(row.task_id, place)
        _known(row.gold_doc_ids, passages, "gold_doc_ids", place)
        expected = _EXPECTED.get(row.answerability)
        if expected is None:
            skipped += 1
            continue
        turns = tuple(Turn(role="user" if t.speaker == "user" else "assistant", content=t.text) for t in row.history)
        gold = row.gold_doc_ids if expected is Decision.ANSWER else ()
        cases.append(ExternalCase(Question(id=row.task_id, text=row.question, history=turns), expected, gold))
    return ExternalSet("mtrag", tuple(passages.values()), tuple(cases), skipped)


class _OwnPassage(_Own):
    id: str
    title: str = ""
    text: _Text


class _OwnPassageRow(_Own):
    passage: _OwnPassage


class _OwnQuestionRow(_Own):
    id: str
    question: _Text
    answerable: StrictBool
    history: tuple[Turn, ...] = ()
    passages: tuple[str, ...] = ()


def _kind_of_own(row: object) -> type[_OwnPassageRow | _OwnQuestionRow]:
    return _OwnPassageRow if isinstance(row, dict) and "passage" in row else _OwnQuestionRow


def _own(path: Path) -> ExternalSet:
    passages: dict[str, ExternalPassage] = {}
    asked: list[tuple[str, _OwnQuestionRow]] = []
    passage_ids, question_ids = _Seen("passage.id"), _Seen("id")
    for place, row in _rows(path, _kind_of_own, "JSON-lines file"):
        if isinstance(row, _OwnPassageRow):
            passage_ids.new(row.passage.id, place)
            passages[row.passage.id] = ExternalPassage(row.passage.id, row.passage.title, row.passage.text)
        else:
            question_ids.new(row.id, place)
            asked.append((place, row))
    cases: list[ExternalCase] = []
    for place, row in asked:
        _known(row.passages, passages, "passages", place)
        if row.passages and not row.answerable:
            raise InputError(
                f"{place} names 'passages' that answer although 'answerable' is false. Take one of the two back."
            )
        expected = Decision.ANSWER if row.answerable else Decision.ABSTAIN
        cases.append(ExternalCase(Question(id=row.id, text=row.question, history=row.history), expected, row.passages))
    return ExternalSet(path.stem, tuple(passages.values()), tuple(cases))


class _Seen:
    """Refuses an id that was there before."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._places: dict[str, str] = {}

    def new(self, id_: str, place: str) -> None:
        if id_ in self._places:
            first = self._places[id_]
            raise InputError(f"{place} repeats the '{self._key}' {id_!r} of {first[0].lower()}{first[1:]}. Rename one.")
        self._places[id_] = place


def _known(ids: Iterable[str], passages: dict[str, ExternalPassage], key: str, place: str) -> None:
    for id_ in ids:
        if id_ not in passages:
            raise InputError(
                f"{place} names {id_!r} in '{key}', but there is no such passage. Add it or correct the id."
            )


# --- the set as a corpus -----------------------------------------------------------------------------------------------

_MAX_TITLE = 80  # characters: three titles must fit into one question back
_TABLE = re.compile(r"\s*\|[\s|:-]*|(?:[-=_*#~.]\s?){4,}")
_MARKER = re.compile(r"^(?:[-–—•*+#>]+\s+)+")
_NAME = "Docent"  # a name that no question uses: the line takes the speaker's name out of what it reads


def cleaned(text: str) -> str:
    """A passage as one paragraph of sentences that are short enough to quote.

    Table rules, list marks and repeated lines go; a line that ends without a full stop gets one, as does a piece of a
    sentence longer than a span may be, so that no menu or table becomes one sentence of thousands of characters.
    """
    out: list[str] = []
    for line in dict.fromkeys(_MARKER.sub("", clean(_TABLE.sub(" ", row))) for row in text.split("\n")):
        for sentence in split_sentences(line):
            for piece in textwrap.wrap(sentence, MAX_CHARACTERS, break_on_hyphens=False):
                out.append(piece if ends_sentence(piece.rsplit(maxsplit=1)[-1]) else f"{piece}.")
    return " ".join(out)


def _title(text: str) -> str:
    plain = clean(text).translate(str.maketrans("“”", "‘’")).lstrip("#*- ").rstrip(":")
    return textwrap.shorten(plain, _MAX_TITLE, placeholder=" …")


def write_catalog(passages: Sequence[ExternalPassage], folder: Path) -> dict[str, str]:
    """Writes passages as a catalog and its documents into a folder; the document id of each passage id.

    Each passage is a document of its own, of the kind "notes" (nobody's spoken words), so that a citation names the
    passage; passages with the same title are of one talk, so that one which only repeats another is not indexed twice.
    A passage that holds no words once it is cleaned is left out.
    """
    talks: dict[str, str] = {}
    entries: list[str] = []
    documents: dict[str, str] = {}
    for number, passage in enumerate(passages):
        text = cleaned(passage.text)
        if not re.search(r"\w", text):
            continue
        id_, title = f"p{number}", _title(passage.title)
        talk = talks.setdefault(title or id_, f"t{len(talks)}")
        # A bullet: any other line might be taken for a heading, which can't be quoted.
        (folder / f"{id_}.txt").write_text((f"# {title}\n" if title else "") + f"- {text}\n", encoding="utf-8")
        entries.append(_toml("document", id=id_, file=f"{id_}.txt", title=title, kind="notes", talk=talk))
        documents[passage.id] = id_
    # All talks have the same name: the line takes the words of one that stands out for a wish to hear of that talk only.
    heads = [_toml("talk", id=id_, title=title, name="documents") for title, id_ in talks.items()]
    (folder / "catalog.toml").write_text("\n".join([*heads, *entries]), encoding="utf-8")
    return documents


def _toml(head: str, /, **values: str) -> str:
    # A JSON string without escapes of its own is a TOML string too.
    rows = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return f"[[{head}]]\n{rows}"


def _card(catalog: Path) -> Card:
    """A persona that is nobody: it reports what documents say."""
    line = "The documents say: {sentence}"
    own = "“{quote}”"
    return Card(
        name="the documents",
        speaker=_NAME,
        person="third",
        disclosure="This is a bot that answers from documents.",
        identity="This is a bot that answers from documents.",
        greeting="Hello! Ask about the documents.",
        catalog=catalog,
        answer=AnswerLines(
            quoted=own,
            quoted_other=own,
            attributed=own,
            attributed_other=own,
            unsure_who="",
            noted=line,
            reported=line,
            reported_more="{sentence}",
            more=own,
            corrected="{answer}",
        ),
        abstain=AbstainLines(
            out_of_corpus="Unknown: no document is about that.",
            not_stated="Unknown: the documents don't say that.",
            after_the_talks="Unknown: that lies after the documents.",
            false_premise="Unknown: the documents don't bear that out.",
            unsupported="Unknown: no answer could be backed.",
            unavailable="Nothing can be looked up right now.",
            nearest="The nearest: “{quote}” ({source})",
            nearest_reported="The nearest: {sentence}",
        ),
        clarify=ClarifyLines(
            unresolved="What does that refer to?",
            ambiguous="Which is meant: {options}?",
            empty="There is no question in that.",
            too_long="That is {length} characters long; up to {limit} are read.",
        ),
        decline=DeclineLines(
            injection="This bot answers from documents.",
            impersonation="This bot speaks as nobody.",
            fabrication="This bot makes up no quotes.",
            unsafe="This bot won't help with that.",
        ),
        path=Path("external.toml"),
    )


# --- scoring -----------------------------------------------------------------------------------------------------------


def evaluate(
    external: ExternalSet,
    embedder: Embedder,
    coefficients: Coefficients,
    threshold: float,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    *,
    limit: int | None = None,
    plain_threshold: float = PLAIN_THRESHOLD,
    judge: Judge | None = None,
    scale: Scale = AS_FITTED,
) -> ExternalScore:
    """Asks the line and the plain bot every question of a set, of an index of its passages made for this run in memory.

    `threshold` (0..1) and `scale` are the line's; the coefficients are the fitted ones, so nothing is learned from the set.
    `limit` keeps the first n questions of each kind. `progress` is told (done, all), first of the rows embedded, then of the
    questions asked. ConfigError if the coefficients are for another embedding.
    """
    if coefficients.embedding != embedder.fingerprint:
        raise ConfigError(
            f"The coefficients were fitted for the embedding '{coefficients.embedding}', not '{embedder.fingerprint}'. "
            "Use the bundled embedding, or run `fireside eval calibrate`."
        )
    asked = external.first(limit)
    with TemporaryDirectory(prefix="fireside-external-") as folder:
        documents = write_catalog(asked.passages, Path(folder))
        card = _card(Path(folder) / "catalog.toml")
        corpus = load_corpus(card.catalog, card.aliases)
        # Indexes in memory share one store within the process: the hash keeps two sets apart.
        index = PassageIndex(f"external-{corpus.fingerprint[-16:]}")
        try:
            index.build(corpus, embedder, progress)
            policy = Policy(coefficients, threshold, NOT_CERTIFIED, scale)
            fireside = Fireside(card, corpus, index, embedder, coefficients, policy, judge)
            plain = PlainRag(fireside, plain_threshold)
            try:
                results = _ask(asked, fireside, plain, documents, progress)
            finally:
                fireside.close()
        finally:
            index.wipe()
    return ExternalScore(
        name=external.name,
        mode=external.mode,
        passages=len(documents),
        questions=len(asked.cases),
        skipped=external.skipped,
        systems=(
            score(LINE, threshold, [own for own, _ in results]),
            score(PLAIN, plain_threshold, [other for _, other in results]),
        ),
    )


def _ask(
    external: ExternalSet,
    fireside: Fireside,
    plain: PlainRag,
    documents: dict[str, str],
    progress: Callable[[int, int], None],
) -> list[tuple[ExternalResult, ExternalResult]]:
    out: list[tuple[ExternalResult, ExternalResult]] = []
    for number, case in enumerate(external.cases, 1):
        gold = [documents[id_] for id_ in case.passages if id_ in documents]
        own, other = (_result(case, answerer, gold, fireside.corpus) for answerer in (fireside, plain))
        out.append((own, other))
        progress(number, len(external.cases))
    return out


def _result(case: ExternalCase, answerer: Answerer, gold: Sequence[str], corpus: Corpus) -> ExternalResult:
    reply = answerer.answer(case.question).reply
    cited = any(_from(c, gold, corpus) for c in reply.citations)
    return ExternalResult(case, reply, cited, quotes_gold(reply, case.sentences))


def _from(citation: Citation, gold: Sequence[str], corpus: Corpus) -> bool:
    """Whether a gold passage is cited: it, or another one for words that stand in it too."""
    return any(citation.document == id_ or citation.quote in corpus.documents[id_].spoken for id_ in gold)


_MIN_OVERLAP = 4  # words: a shorter piece stands in anything


def quotes_gold(reply: Reply, sentences: Sequence[str]) -> bool:
    """Whether a sentence that the reply cites is, holds, or is a piece of at least four words of a gold sentence."""
    gold = [g for g in map(folded, sentences) if g.strip()]
    own = [folded(s) for c in reply.citations for s in split_sentences(c.quote)]
    return any(g in o or (len(o.split()) >= _MIN_OVERLAP and o in g) for o in own for g in gold)


def score(name: str, threshold: float, results: Sequence[ExternalResult]) -> SystemScore:
    """The figures of one answerer's results. A share of nothing is n/a; gold and vague questions that a set lacks have no
    row. "Answered" is answered from passages: a reply on what the bot is, a greeting or a refusal is neither that nor an
    abstention, and has a row of its own."""
    answerable = [r for r in results if r.case.expected is Decision.ANSWER]
    nothing = [r for r in results if r.case.expected is Decision.ABSTAIN]
    vague = [r for r in results if r.case.expected is Decision.CLARIFY]
    located = [r for r in answerable if r.case.passages]
    marked = [r for r in answerable if r.case.sentences]
    figures = [
        _share("answerable: answered", answerable, _answered),
        _share("answerable: asked back", answerable, _asked_back),
        _share("answerable: taken for no question", answerable, _misread),
    ]
    if located:
        figures += [
            _share("answerable: answered from a gold passage", located, lambda r: _answered(r) and r.passage),
            _share("answers to answerables: from a gold passage", [r for r in located if _answered(r)], _passage),
        ]
    if marked:
        figures += [
            _share("answerable: answered with a gold sentence", marked, lambda r: _answered(r) and r.sentence),
            _share("answers to answerables: with a gold sentence", [r for r in marked if _answered(r)], _sentence),
        ]
    figures += [
        _share("unanswerable: answered", nothing, _answered),
        _share("unanswerable: asked back", nothing, _asked_back),
        _share("unanswerable: taken for no question", nothing, _misread),
    ]
    if vague:
        figures += [
            _share("underspecified: asked back", vague, _asked_back),
            _share("underspecified: answered", vague, _answered),
        ]
    sure, unsure = _weighed(answerable), _weighed(nothing)
    return SystemScore(
        name=name,
        threshold=threshold,
        figures=tuple(figures),
        bound=clopper_pearson_upper(sum(map(_answered, nothing)), len(nothing)),
        auroc=auroc(sure, unsure),
        coverage=coverage_at_false(sure, unsure, FALSE),
        weighed=len(sure) + len(unsure),
        results=tuple(results),
    )


def _share(name: str, of: Sequence[ExternalResult], hit: Callable[[ExternalResult], bool]) -> Figure:
    return Figure(name, sum(map(hit, of)), len(of))


def _answered(result: ExternalResult) -> bool:
    return result.reply.reason in ANSWERS


def _asked_back(result: ExternalResult) -> bool:
    return result.reply.decision is Decision.CLARIFY


def _misread(result: ExternalResult) -> bool:
    """Greeted, declined, or told what the bot is: all questions of these sets are about their passages."""
    reason = result.reply.reason
    return reason in _ABOUT_THE_BOT or reason.decision is Decision.DECLINE


_ABOUT_THE_BOT = (Reason.IDENTITY, Reason.GREETING)


def _passage(result: ExternalResult) -> bool:
    return result.passage


def _sentence(result: ExternalResult) -> bool:
    return result.sentence


def _weighed(results: Sequence[ExternalResult]) -> list[float]:
    """The confidences of the replies that the threshold decided about: a question back or a refusal has none."""
    undecided = (*_ABOUT_THE_BOT, Reason.UNAVAILABLE)
    return [
        r.reply.confidence
        for r in results
        if r.reply.decision in (Decision.ANSWER, Decision.ABSTAIN) and r.reply.reason not in undecided
    ]


def table(score: ExternalScore) -> list[tuple[str, str, str, int]]:
    """Rows (name, value, 95% interval, n) for printing, answerer by answerer; "n/a" where a value is undefined.

    The bound is the one-sided exact one (Clopper & Pearson 1934), the intervals are Wilson's.
    """
    rows: list[tuple[str, str, str, int]] = []
    for system in score.systems:
        for figure in system.figures:
            rows.append((f"{system.name}, {figure.name}", str(figure), figure.interval, figure.of))
            if figure.name == "unanswerable: answered":
                rows.append((f"{system.name}, upper 95% bound of that", _percent(system.bound), "", figure.of))
        value = "n/a" if system.auroc is None else f"{system.auroc:.3f}"
        rows.append((f"{system.name}, AUROC of the confidence", value, "", system.weighed))
        rows.append(
            (f"{system.name}, coverage at {FALSE:.0%} false answers", _percent(system.coverage), "", system.weighed)
        )
    return rows


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
