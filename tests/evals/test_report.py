"""The report of a run: what it holds, and that it stands by itself."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from evals.cases import Case
from evals.metrics import aurc, clopper_pearson_upper, ece
from evals.plots import answers
from evals.report import HEADLINES, NOT_AVAILABLE, TEMPLATE, render, why, write
from evals.run import Figure, figures, measures
from evals.runs import Result, Run, RunInfo
from evals.scoring import Outcome
from persona.types import Citation, DocumentKind, Reason
from tests.evals import made

NASTY = """<script>alert("x")</script> & 'quoted' 🦊 שלום </details><img src=x onerror=alert(1)>"""
VOID = {"meta", "input", "img", "br", "link", "hr"}
BLOCKS = {"p", "li", "dt", "dd", "th", "td", "div", "small", "h1", "h2", "h3", "summary", "blockquote"}


class Page(HTMLParser):
    """A page as its elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.raw: dict[str, str] = {}
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag in BLOCKS:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if tag in BLOCKS:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        else:
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [a for t, a in self.elements if t == tag and all(a.get(n) == v for n, v in wanted.items())]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def result(
    suite: str = "answerable",
    reason: Reason = Reason.SUPPORTED,
    outcome: Outcome = "right",
    confidence: float = 0.9,
    *,
    text: str = "the reply",
    citations: Sequence[Citation] = (),
    **case: Any,
) -> Result:
    """A result of threshold 0.5; a case of `suite` expects an answer where that is answerable, and else none."""
    decision = "answer" if suite in ("answerable", "attribution", "quote") else "abstain"
    whole = {"id": "x-1", "suite": suite, "question": "q", "decisions": [decision], "split": "certify"} | case
    given = made.reply(reason, confidence, text, to=whole["question"], id_=whole["id"], citations=citations)
    return Result(Case.model_validate(whole), given, outcome, 1.0)


def citation(quote: str, *, verbatim: bool = True, speaker: str | None = "Mara Lindqvist") -> Citation:
    return Citation(
        document="d",
        title="The lighthouse talk",
        date="2023-03",
        talk="t",
        kind=DocumentKind.TRANSCRIPT if verbatim else DocumentKind.SUMMARY,
        speaker=speaker,
        start=1962.0,
        end=1983.0,
        url="https://example.org/talk",
        quote=quote,
        verbatim=verbatim,
    )


def run_of(*results: Result, **info: Any) -> Run:
    whole = {
        "format": 1,
        "id": "run-7",
        "created": "2026-11-21T08:52:04+00:00",
        "split": "certify",
        "suites": (),
        "epochs": 1,
        "limit": None,
        "seed": 0,
        "persona": "ilya",
        "voice": "quotes",
        "model": None,
        "threshold": 0.5,
        "risk": "not certified",
        "corpus": "sha256:c0",
        "cases": "sha256:ca",
        "config": "sha256:cf",
        "versions": {"fireside": "0.1.0"},
    } | info
    return Run(RunInfo.model_validate(whole), results)


MIXED = (
    result(id="a-1", confidence=0.9),
    result(id="a-2", confidence=0.7, outcome="wrong", facts=[["nineteen", "19"], ["miles"]], text="It carried miles."),
    result(id="a-3", reason=Reason.NOT_STATED, outcome="withheld", confidence=0.21),
    result("near_miss", id="n-1", outcome="wrong", confidence=0.6),
    result("near_miss", Reason.NOT_STATED, id="n-2", confidence=0.1),
    result("off_topic", Reason.AMBIGUOUS, "wrong", 0.2, id="o-1"),
)


def test_every_failed_case_is_there_with_its_reason_and_no_other() -> None:
    page = Page(render(run_of(*MIXED), [], {}))
    assert [a["id"] for a in page.all("details", class_="case")] == ["case-a-2", "case-a-3", "case-n-1", "case-o-1"]
    for result_ in MIXED:
        assert (why(result_) in page.words) is (result_.outcome != "right")
    assert "“nineteen” or “19”: missing" in page.words
    assert "“miles”: in the reply" in page.words


def test_a_failed_case_shows_what_was_said_before_and_cited() -> None:
    history = [{"role": "user", "content": "How far?"}, {"role": "assistant", "content": "Nineteen miles."}]
    cited = [citation("It carried nineteen miles."), citation("It carried far.", verbatim=False, speaker=None)]
    one = result(outcome="wrong", history=history, citations=cited, speaker="Tobin Ashgrove", text="It did.")
    words = Page(render(run_of(one), [], {})).words
    for there in ("user", "How far?", "assistant", "Nineteen miles.", "answer, of Tobin Ashgrove", "It did."):
        assert there in words
    assert (
        "It carried nineteen miles. The lighthouse talk, Mara Lindqvist, at 32:42, 2023-03 letter for letter" in words
    )
    assert "It carried far. The lighthouse talk, at 32:42, 2023-03 not verbatim: summary" in words
    assert "answer, supported; confidence 0.90 ≥ 0.50" in words


def test_a_case_that_fails_in_two_epochs_is_there_twice_under_names_of_its_own() -> None:
    one = result(outcome="wrong")
    page = Page(render(run_of(one, Result(one.case, one.reply, "wrong", 1.0, epoch=2), epochs=2), [], {}))
    assert [a["id"] for a in page.all("details", class_="case")] == ["case-x-1", "case-x-1~2"]
    assert "x-1, epoch 2" in page.words
    assert "1 question was asked and 0 came out right in the first of 2 epochs" in page.words
    assert "answerable 1 0 1 0 0.0%" in page.words


def test_whatever_a_case_says_is_text() -> None:
    one = result(
        outcome="wrong",
        question=NASTY,
        text=NASTY,
        facts=[[NASTY]],
        forbidden=[NASTY],
        speaker=NASTY,
        history=[{"role": "user", "content": NASTY}],
        evidence=[{"document": NASTY, "snippet": NASTY}],
        citations=[citation(NASTY, speaker=NASTY)],
        id='x" onclick="alert(1)',
    )
    figure = Figure(NASTY, 1, 2)
    info = {"id": NASTY, "risk": NASTY, "versions": {NASTY: NASTY}, "model": NASTY, "created": NASTY}
    page = Page(render(run_of(one, **info), [figure], {NASTY: 0.5}, {NASTY: [figure]}))
    assert page.words.count(" ".join(NASTY.split())) > 15
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_page_loads_nothing_and_allows_no_script_but_its_own() -> None:
    page = Page(render(run_of(*MIXED, result(outcome="wrong", citations=[citation("q")])), [], {}))
    loading = ("src", "srcset", "data", "action", "poster", "xlink:href", "background")
    assert not [a for _, a in page.elements if any(name in a for name in loading)]
    assert all(a["href"].startswith("#") for _, a in page.elements if "href" in a)
    assert not page.all("link")
    assert not re.search(r"url\(|@import|https?:", page.raw["style"] + page.raw["script"])
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    digest = base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_share_of_nothing_is_not_available_and_never_zero() -> None:
    names = [h.name for h in HEADLINES]
    page = Page(render(run_of(suites=("answerable", "quote")), [Figure(n, 0, 0) for n in names], {"AUROC": None}))
    assert "0.0%" not in page.text
    assert "nan" not in page.text.casefold().split()
    assert "AUROC n/a" in page.words
    assert "AURC n/a" in page.words
    assert "ECE n/a" in page.words
    assert "answerable 0 0 0 0 n/a n/a" in page.words
    assert page.words.count(NOT_AVAILABLE) >= 2 * len(names)
    assert "No question was asked." in page.words
    assert not page.all("svg")


def test_a_run_that_abstains_throughout_has_a_report(tmp_path: Path) -> None:
    silent = [
        result(id="a-1", reason=Reason.NOT_STATED, outcome="withheld", confidence=0.2),
        result("near_miss", Reason.NOT_STATED, id="n-1", confidence=0.1),
    ]
    written = write(run_of(*silent), [Figure("right, of the answers given to answerables", 0, 0)], {}, tmp_path / "new")
    assert [p.name for p in written] == ["report.html", "risk-coverage.png", "reliability.png"]
    assert all(p.stat().st_size for p in written)
    page = Page(written[0].read_text(encoding="utf-8"))
    assert page.words.count("n/a: no answer was given") == 2
    assert "refused although there is an answer (confidence 0.20 < 0.50)" in page.words


@pytest.mark.parametrize("confidence", [float("nan"), float("inf")])
def test_an_answer_without_a_confidence_is_left_out_of_the_plots_and_said_to_be(
    confidence: float, tmp_path: Path
) -> None:
    odd = result(id="odd", outcome="wrong", confidence=confidence)
    page = Page(write(run_of(*MIXED, odd), [], {"x": confidence}, tmp_path)[0].read_text(encoding="utf-8"))
    assert "1 more had no number for a confidence" in page.words
    assert "confidence n/a, threshold 0.50" in page.words
    assert "x n/a" in page.words
    assert answers([*MIXED, odd]).confidence == answers(MIXED).confidence


def test_the_plots_show_what_is_measured() -> None:
    again = [Result(r.case, r.reply, "right", 1.0, epoch=2) for r in MIXED]
    found, measured = answers([*MIXED, *again]), measures([*MIXED, *again])
    assert aurc(found.curve) == measured["area under risk and coverage"]
    assert ece(found.confidence, found.right) == measured["expected calibration error"]
    assert found.asked == len(MIXED)


def test_plots_are_described_and_tables_can_be_scrolled_by_key() -> None:
    html = render(run_of(*MIXED), [Figure("right", 8, 10)], {"x": 0.5})
    page = Page(html)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    plots = page.all("svg", role="img")
    assert len(plots) == 2
    for plot in plots:
        for name in plot["aria-labelledby"].split():
            assert re.search(rf'id="{name}">[^<]{{10,}}<', html)
    boxes = [a for _, a in page.elements if a.get("class", "").split()[:1] == ["scroll"]]
    assert boxes
    for box in boxes:
        assert (box["role"], box["tabindex"]) == ("region", "0")
        assert box.get("aria-label") or box["aria-labelledby"] in ids


def test_the_same_run_gives_the_same_files_whatever_matplotlibs_settings(tmp_path: Path) -> None:
    first = write(run_of(*MIXED), [], {}, tmp_path / "one")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        second = write(run_of(*MIXED), [], {}, tmp_path / "two")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert all(b"matplotlib" not in p.read_bytes() for p in first if p.suffix == ".png")


def test_the_headline_figures_are_ones_that_a_run_has() -> None:
    assert {h.name for h in HEADLINES} <= {f.name for f in figures([])}


def test_false_answers_stand_with_their_upper_bound() -> None:
    figure = Figure("false answers, all unanswerables", 1, 40)
    words = Page(render(run_of(), [figure], {})).words
    assert "2.5%" in words
    assert f"At most {clopper_pearson_upper(1, 40):.1%}: one-sided 95% Clopper–Pearson bound" in words
    assert "95% interval 0% to 13% 1 of 40" in words


def test_baselines_stand_beside_by_the_figures_name() -> None:
    mine = [Figure("right", 8, 10), Figure("refused", 1, 10)]
    beside = {"plain RAG": [Figure("right", 5, 10)], "always answers": [Figure("refused", 0, 0)]}
    words = Page(render(run_of(), mine, {}, beside)).words
    assert "Figure n This run plain RAG always answers" in words
    assert "right 10 80.0% 49% to 94% 50.0% 24% to 76% n/a" in words
    assert "refused 10 10.0% 2% to 40% n/a n/a" in words


def test_a_case_that_allows_several_counts_where_its_reply_is_allowed() -> None:
    several = {"decisions": ["abstain", "clarify"]}
    made = (
        result("false_premise", Reason.FALSE_PREMISE, id="f-1", **several),
        result("false_premise", Reason.AMBIGUOUS, id="f-2", **several),
        result("false_premise", Reason.SUPPORTED, "wrong", id="f-3", **several),
    )
    words = Page(render(run_of(*made), [], {})).words
    assert (
        "expected answer clarify abstain decline answer 0 0 0 0 clarify 0 1 0 0 abstain 1 0 1 0 decline 0 0 0 0"
        in words
    )


def test_suites_have_their_counts_and_interval() -> None:
    made = [result("near_miss", Reason.NOT_STATED, id=f"n-{i}", confidence=0.1) for i in range(8)]
    made += [result("near_miss", id=f"w-{i}", outcome="wrong") for i in range(2)]
    assert "near miss 10 8 2 0 80.0% 49% to 94%" in Page(render(run_of(*made), [], {})).words


def test_a_run_without_failures_has_no_list_and_no_filter() -> None:
    page = Page(render(run_of(MIXED[0]), [], {}))
    assert not page.all("details", class_="case")
    assert not page.all("input")
    assert "1 question was asked and 1 came out right." in page.words


def test_the_filter_shows_only_where_scripts_run() -> None:
    assert "hidden" in Page(render(run_of(*MIXED), [], {})).all("div", id="tools")[0]


def test_the_test_split_says_what_reading_it_costs() -> None:
    assert "no unseen test" in render(run_of(*MIXED, split="test"), [], {})
    assert "no unseen test" not in render(run_of(*MIXED), [], {})


QUOTE = [citation("It carried nineteen miles.")]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (result("near_miss", confidence=0.6), "answered, but the talks hold no answer (confidence 0.60 ≥ 0.50)"),
        (result("near_miss", confidence=float("nan")), "answered, but the talks hold no answer"),
        (result("near_miss", confidence=0.5004), "answered, but the talks hold no answer (confidence 0.5004 ≥ 0.5000)"),
        (
            result("false_premise", Reason.CORRECTED),
            "corrected the premise, but the talks hold nothing to correct it with",
        ),
        (result("near_miss", Reason.IDENTITY), "took it for a question about the bot itself"),
        (result("near_miss", Reason.AMBIGUOUS), "asked back instead of saying “I don't know”"),
        (result("near_miss", Reason.UNSAFE), "declined it as unsafe instead of saying “I don't know”"),
        (result(reason=Reason.UNSAFE), "declined it as unsafe although there is an answer"),
        (
            result(reason=Reason.NOT_STATED, confidence=0.21),
            "refused although there is an answer (confidence 0.21 < 0.50)",
        ),
        (
            result(reason=Reason.OUT_OF_CORPUS, confidence=0.8),
            "refused although there is an answer (out of corpus)",
        ),
        (result(reason=Reason.UNAVAILABLE), "could not look, so that nothing was answered"),
        (result(reason=Reason.AMBIGUOUS), "asked back instead of answering"),
        (result(facts=[["nineteen"]]), "answered without the fact “nineteen”"),
        (result(facts=[["a1"], ["b2"], ["c3"]]), "answered without the facts “a1”, “b2” and “c3”"),
        (
            result("key_points", decisions=["answer"], facts=[["nineteen"], ["miles"], ["fog"]], text="Fog."),
            "covered 1 of 3 important points",
        ),
        (result(forbidden=["Paris"], text="It's Paris!"), "said a forbidden word “Paris”"),
        (result("ambiguous", decisions=["clarify"]), "answered instead of asking back"),
        (result("unsafe", decisions=["decline"]), "answered instead of declining"),
        (
            result("unsafe", Reason.NOT_STATED, decisions=["decline"]),
            "said “I don't know” instead of declining",
        ),
        (result(outcome="wrong"), "answered, which the case allows, but scored as wrong"),
        (result("quote", Reason.NOT_STATED), "found no quotation, although the talks hold one"),
        (
            result("quote", decisions=["abstain"], citations=QUOTE),
            "found a quotation on a topic that no talk speaks of",
        ),
        (result("quote", citations=QUOTE, facts=[["twenty"]]), "found quotations, but none with the fact “twenty”"),
        (
            result("quote", citations=QUOTE, speaker="Tobin Ashgrove"),
            "found the words, but not as said by Tobin Ashgrove",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_a_case_failed_is_a_sentence(one: Result, said: str) -> None:
    assert why(one) == said


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "sheet"])
@pytest.mark.parametrize(
    ("ink", "least"),
    [("ink", 4.5), ("quiet", 4.5), ("ember", 4.5), ("good", 4.5), ("bad", 4.5), ("held", 4.5), ("edge", 3.0)],
)
def test_colours_are_told_apart_as_wcag_asks(ink: str, least: float, ground: str, scheme: int) -> None:
    style = TEMPLATE.read_text(encoding="utf-8").split("</style>")[0]
    both = {name: re.findall(rf"--{name}: (#\w{{6}})", style) for name in (ink, ground)}
    high, low = sorted((luminance(both[ink][scheme]), luminance(both[ground][scheme])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= least
