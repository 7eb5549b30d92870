"""External sets: what is read of them, what is refused, and what is scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from evals.external import (
    ExternalCase,
    ExternalPassage,
    ExternalResult,
    ExternalScore,
    ExternalSet,
    cleaned,
    evaluate,
    load,
    quotes_gold,
    score,
    table,
    write_catalog,
)
from persona.conduct import CLASSES, conduct_vector
from persona.corpus import load_corpus
from persona.errors import ConfigError, InputError
from persona.evidence import MAX_CHARACTERS
from persona.llama import LlamaEmbedder
from persona.models import Softmax, blank, load_coefficients
from persona.text import split_sentences
from persona.types import Citation, Decision, DocumentKind, Question, Reason
from tests.evals.made import reply
from tests.fakes import HashEmbedder

BEES = "A hive has one queen. She lives for up to five years. In summer, fifty thousand bees live in a hive."
TIDES = "The moon pulls at the sea. So the tide comes in twice a day. Spring tides come with a full moon."


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def clapnq(id_: str, question: str, title: str, text: str, *, answer: str = "", gold: Sequence[str] = ()) -> object:
    return {
        "id": id_,
        "input": question,
        "passages": [{"title": title, "text": text, "sentences": text.split(". ")}],
        "output": [{"answer": answer, "selected_sentences": list(gold), "meta": {}}],
    }


def clapnq_folder(folder: Path) -> Path:
    write(
        folder / "clapnq_dev_answerable.jsonl",
        [
            clapnq("1", "how many queens has a hive", "Bee", BEES, answer="One.", gold=["A hive has one queen."]),
            clapnq("2", "how long does a queen live", "Bee", BEES, answer="5 years.", gold=["She lives long."]),
        ],
    )
    write(folder / "clapnq_dev_unanswerable.jsonl", [clapnq("3", "how high is the tide in rome", "Tide", TIDES)])
    return folder


def mtrag_folder(folder: Path) -> Path:
    history = [{"speaker": "user", "text": "Tell me of bees."}, {"speaker": "agent", "text": "They make honey."}]
    rows = [
        ("a", "ANSWERABLE", ["d1"]),
        ("b", "UNANSWERABLE", []),
        ("c", "UNDERSPECIFIED", ["d1"]),
        ("d", "PARTIAL", []),
    ]
    write(
        folder / "tasks.jsonl",
        [
            {
                "task_id": id_,
                "answerability": kind,
                "history": history,
                "question": "How many queens?",
                "gold_doc_ids": gold,
            }
            for id_, kind, gold in rows
        ],
    )
    passages = [("d1", "Bee\u2028keeping", BEES), ("d2", "", TIDES)]
    write(
        folder / "pooled_passages.jsonl",
        [{"collection": "x", "document_id": id_, "title": title, "text": text} for id_, title, text in passages],
    )
    return folder


OWN: list[object] = [
    {"id": "q1", "question": "How many queens does a hive have?", "answerable": True, "passages": ["p1"]},
    {"passage": {"id": "p1", "title": "Bees", "text": BEES}},
    {"passage": {"id": "p2", "text": TIDES}},
    {"id": "q2", "question": "What does a queen cost?", "answerable": False},
    {
        "id": "q3",
        "question": "How long does she live?",
        "answerable": True,
        "history": [{"role": "user", "content": "What about the queen of a hive?"}],
        "passages": ["p1"],
    },
]


def test_clapnq_is_read_with_its_gold(tmp_path: Path) -> None:
    found = load("clapnq", clapnq_folder(tmp_path))
    assert [p.id for p in found.passages] == ["1-0", "3-0"]  # the two questions on bees share theirs
    assert [(c.question.id, c.expected, c.passages) for c in found.cases] == [
        ("1", Decision.ANSWER, ("1-0",)),
        ("2", Decision.ANSWER, ("1-0",)),
        ("3", Decision.ABSTAIN, ()),
    ]
    assert found.cases[0].sentences == ("A hive has one queen.",)
    closed = found.closed()
    assert ([p.title for p in closed.passages], len(closed.cases), closed.mode) == (["Bee"], 3, "closed")


def test_one_clapnq_file_is_a_set_too(tmp_path: Path) -> None:
    found = load("clapnq", clapnq_folder(tmp_path) / "clapnq_dev_unanswerable.jsonl")
    assert [c.expected for c in found.cases] == [Decision.ABSTAIN]
    with pytest.raises(InputError, match="names no passage that answers a question"):
        found.closed()


def test_mtrag_is_read_with_its_history_and_partials_are_skipped(tmp_path: Path) -> None:
    found = load("mtrag", mtrag_folder(tmp_path))
    assert [c.expected for c in found.cases] == [Decision.ANSWER, Decision.ABSTAIN, Decision.CLARIFY]
    assert found.skipped == 1
    assert [t.role for t in found.cases[0].question.history] == ["user", "assistant"]
    assert found.cases[0].passages == ("d1",)
    assert found.passages[0].title == "Bee\u2028keeping"  # a line end to str.splitlines, not to JSON


def test_ones_own_set_is_read_in_any_order(tmp_path: Path) -> None:
    found = load("jsonl", write(tmp_path / "mine.jsonl", OWN))
    assert (found.name, len(found.passages), found.skipped) == ("mine", 2, 0)
    assert [c.expected for c in found.cases] == [Decision.ANSWER, Decision.ABSTAIN, Decision.ANSWER]
    assert found.cases[2].question.history[0].role == "user"
    assert [c.question.id for c in found.first(1).cases] == ["q1", "q2"]
    assert len(found.first(1).passages) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "Line 6 of '{file}' is not JSON: "),
        ("[1]", "Line 6 of '{file}' is wrong at 'line': "),
        (
            '{"id": "q9", "question": "Why?"}',
            "Line 6 of '{file}' is wrong at 'answerable': Field required. Correct it.",
        ),
        (
            '{"id": "q9", "question": "Why?", "answerable": "no"}',
            "Line 6 of '{file}' is wrong at 'answerable': Input should be a valid boolean. Correct it.",
        ),
        (
            '{"id": "q9", "question": " ? ", "answerable": true}',
            "Line 6 of '{file}' is wrong at 'question': it holds no word.",
        ),
        ('{"passage": {"id": "p9", "text": "--"}}', "Line 6 of '{file}' is wrong at 'passage.text': it holds no word."),
        ('{"passage": {"id": "p9", "text": "A.", "body": 1}}', "Line 6 of '{file}' is wrong at 'passage.body': "),
        (
            '{"passage": {"id": "p1", "text": "Other."}}',
            "Line 6 of '{file}' repeats the 'passage.id' 'p1' of line 2 of '{file}'. Rename one.",
        ),
        ('{"id": "q1", "question": "Why?", "answerable": true}', "Line 6 of '{file}' repeats the 'id' 'q1' of line 1 "),
        (
            '{"id": "q9", "question": "Why?", "answerable": true, "passages": ["p7"]}',
            "Line 6 of '{file}' names 'p7' in 'passages', but there is no such passage. Add it or correct the id.",
        ),
        (
            '{"id": "q9", "question": "Why?", "answerable": false, "passages": ["p1"]}',
            "Line 6 of '{file}' names 'passages' that answer although 'answerable' is false. ",
        ),
        (
            '{"id": "q9", "question": "Why?", "answerable": true, "history": [{"role": "bot", "content": "a"}]}',
            "Line 6 of '{file}' is wrong at 'history.0.role': ",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path / "mine.jsonl", OWN)
    path.write_text(path.read_text(encoding="utf-8") + row + "\n", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        load("jsonl", path)
    assert str(raised.value).startswith(message.replace("{file}", str(path)))
    assert "\n" not in str(raised.value)


def test_a_set_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    for format_, message in [
        ("squad", "No format 'squad'. Use clapnq, mtrag or jsonl."),
        ("clapnq", "has no clapnq_dev_answerable.jsonl or clapnq_dev_unanswerable.jsonl."),
        ("mtrag", "No file '.*pooled_passages.jsonl'. Check the path."),
        ("jsonl", "Can't read .*: Is a directory. Give a JSON-lines file."),
    ]:
        with pytest.raises(InputError, match=message):
            load(format_, tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        load("mtrag", tmp_path / "none")
    with pytest.raises(InputError, match=r"No file '.*none\.jsonl'"):
        load("clapnq", tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 8\)"):
        load("jsonl", tmp_path / "latin.jsonl")
    with pytest.raises(InputError, match="holds no question"):
        load("jsonl", write(tmp_path / "empty.jsonl", OWN[1:2]))
    with pytest.raises(InputError, match="holds no passage"):
        load("jsonl", write(tmp_path / "bare.jsonl", OWN[3:4]))


def test_wrong_rows_of_known_sets_are_named(tmp_path: Path) -> None:
    folder = mtrag_folder(tmp_path)
    task = {"task_id": "e", "answerability": "MAYBE", "question": "Why?"}
    write(folder / "tasks.jsonl", [task])
    with pytest.raises(InputError, match=r"Line 1 of '.*tasks.jsonl' is wrong at 'answerability': "):
        load("mtrag", folder)
    write(folder / "tasks.jsonl", [task | {"answerability": "ANSWERABLE", "gold_doc_ids": ["d9"]}])
    with pytest.raises(InputError, match=r"Line 1 of '.*tasks.jsonl' names 'd9' in 'gold_doc_ids'"):
        load("mtrag", folder)
    path = write(tmp_path / "x.jsonl", [{"id": "1", "input": "why", "passages": [{"title": "T"}], "output": []}])
    with pytest.raises(InputError, match=r"Line 1 of '.*x.jsonl' is wrong at 'passages.0.text': Field required"):
        load("clapnq", path)


def test_noisy_passages_become_sentences_short_enough_to_quote() -> None:
    text = "Home\nHome\n* Fees\n| a | b |\n|---|---|\nA fee is due. It is small\x00\n" + "menu item " * 200
    made = cleaned(text)
    sentences = split_sentences(made)
    assert sentences[:4] == ["Home.", "Fees.", "a b.", "A fee is due."]
    assert sentences[4] == "It is small."
    assert max(map(len, sentences)) <= MAX_CHARACTERS + 1
    assert cleaned("A hive has one queen . She lives .") == "A hive has one queen . She lives ."


def test_every_word_of_a_passage_can_be_quoted(tmp_path: Path) -> None:
    passages = [
        ExternalPassage("x/1", 'A "title" \\ with: “marks”', "Note: this is\n1. first\n# second\n[1]\n0:00:01 third"),
        ExternalPassage("x/2", "", "A short line"),
        ExternalPassage("x/3", "Nothing", "| --- | --- |"),
    ]
    documents = write_catalog(passages, tmp_path)
    assert documents == {"x/1": "p0", "x/2": "p1"}
    corpus = load_corpus(tmp_path / "catalog.toml", {})
    assert corpus.documents["p0"].entry.title == 'A "title" \\ with: ‘marks’'
    assert " ".join(s.text for s in corpus.sentences["p0"]) == "Note: this is. 1. first. second. [1]. 0:00:01 third."
    assert [s.text for s in corpus.sentences["p1"]] == ["A short line."]


def result(
    expected: Decision, reason: Reason, confidence: float, *, passage: bool = False, sentence: bool = False
) -> ExternalResult:
    case = ExternalCase(Question(text="q"), expected, ("p",), ("s",) if expected is Decision.ANSWER else ())
    return ExternalResult(case, reply(reason, confidence), passage, sentence)


def test_figures_are_counted() -> None:
    made = score(
        "x",
        0.5,
        [
            result(Decision.ANSWER, Reason.SUPPORTED, 0.9, passage=True, sentence=True),
            result(Decision.ANSWER, Reason.SUPPORTED, 0.7, passage=True),
            result(Decision.ANSWER, Reason.NOT_STATED, 0.2),
            result(Decision.ANSWER, Reason.UNRESOLVED, 0.0),
            result(Decision.ABSTAIN, Reason.SUPPORTED, 0.6),
            result(Decision.ABSTAIN, Reason.NOT_STATED, 0.1),
            result(Decision.ABSTAIN, Reason.UNSAFE, 0.8),
            result(Decision.ABSTAIN, Reason.IDENTITY, 0.99),
            result(Decision.CLARIFY, Reason.AMBIGUOUS, 0.3),
        ],
    )
    counts = {f.name: (f.hits, f.of) for f in made.figures}
    assert counts == {
        "answerable: answered": (2, 4),
        "answerable: asked back": (1, 4),
        "answerable: taken for no question": (0, 4),
        "answerable: answered from a gold passage": (2, 4),
        "answers to answerables: from a gold passage": (2, 2),
        "answerable: answered with a gold sentence": (1, 4),
        "answers to answerables: with a gold sentence": (1, 2),
        "unanswerable: answered": (1, 4),
        "unanswerable: asked back": (0, 4),
        "unanswerable: taken for no question": (2, 4),
        "underspecified: asked back": (1, 1),
        "underspecified: answered": (0, 1),
    }
    # 0.9 and 0.7 beat both 0.6 and 0.1; 0.2 beats 0.1; a question back and a refusal have no confidence.
    assert (made.auroc, made.weighed) == (pytest.approx(5 / 6), 5)
    # Of four, one: the bound p has (1 - p)⁴ + 4p(1 - p)³ = 0.05.
    assert made.bound is not None
    assert (1 - made.bound) ** 4 + 4 * made.bound * (1 - made.bound) ** 3 == pytest.approx(0.05)


def test_what_a_set_has_none_of_is_undefined() -> None:
    made = score("x", 0.5, [result(Decision.ANSWER, Reason.SUPPORTED, 0.9)])
    assert (made.bound, made.auroc) == (None, None)
    rows = {
        name: (value, interval, n) for name, value, interval, n in table(ExternalScore("s", "closed", 1, 1, 0, (made,)))
    }
    assert rows["x, unanswerable: answered"] == ("n/a", "n/a", 0)
    assert rows["x, upper 95% bound of that"] == ("n/a", "", 0)
    assert rows["x, AUROC of the confidence"] == ("n/a", "", 1)
    assert rows["x, answerable: answered"] == ("100.0%", "21% to 100%", 1)
    assert not [name for name in rows if "underspecified" in name]


@pytest.mark.parametrize(
    ("quote", "gold", "expected"),
    [
        ("A hive has one queen. She lives long.", "a hive has one queen .", True),
        ("has one queen in it.", "A hive has one queen in it and many drones.", True),
        ("queen.", "A hive has one queen.", False),
        ("A hive has no king at all.", "A hive has one queen.", False),
    ],
)
def test_a_gold_sentence_is_found_in_what_is_cited(quote: str, gold: str, expected: bool) -> None:
    cited = Citation(
        document="d",
        title="",
        date=None,
        talk="",
        kind=DocumentKind.NOTES,
        speaker=None,
        start=None,
        end=None,
        url=None,
        quote=quote,
        verbatim=False,
    )
    reply = result(Decision.ANSWER, Reason.SUPPORTED, 0.9).reply.model_copy(update={"citations": (cited,)})
    assert quotes_gold(reply, ["", gold]) is expected


def test_a_set_is_asked_of_its_own_passages(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    told: list[tuple[int, int]] = []
    found = load("jsonl", write(tmp_path / "mine.jsonl", OWN))
    made = evaluate(found, embedder, load_coefficients(), 0.0, lambda done, of: told.append((done, of)))
    assert (made.name, made.mode, made.passages, made.questions) == ("mine", "near-miss", 2, 3)
    assert told[-1] == (3, 3)
    line, plain = made.systems
    assert (line.threshold, plain.threshold) == (0.0, 0.45)
    first = line.results[0]
    assert first.reply.decision is Decision.ANSWER
    assert first.passage
    assert "one queen" in first.reply.text
    assert line.results[2].reply.decision is Decision.ANSWER  # "she" is the queen of the turn before
    assert [len(s.results) for s in made.systems] == [3, 3]


def test_two_sets_leave_each_other_alone(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    found = load("clapnq", clapnq_folder(tmp_path))
    size = len(conduct_vector("", embedder.embed([""])[0]))
    rows = ((0.0,) * size,) * len(CLASSES)
    nothing = Softmax(classes=CLASSES, weights=rows, intercept=(9.0, *(0.0,) * (len(CLASSES) - 1)))
    coefficients = blank("hash:1").model_copy(update={"conduct": nothing})
    made = [evaluate(s, embedder, coefficients, 0.4, limit=1) for s in (found, found.closed(), found)]
    assert [m.passages for m in made] == [2, 1, 2]
    assert [m.questions for m in made] == [2, 2, 2]
    assert table(made[0]) == table(made[2])
    assert made[0].systems[0].results[0].reply.confidence == 0.5


def test_coefficients_for_another_embedding_are_refused() -> None:
    passages = (ExternalPassage("p", "", BEES),)
    asked = (ExternalCase(Question(text="How many queens?"), Decision.ANSWER),)
    with pytest.raises(ConfigError, match="fitted for the embedding 'other:1', not 'hash:1'"):
        evaluate(ExternalSet("s", passages, asked), HashEmbedder(), blank("other:1"), 0.4)
