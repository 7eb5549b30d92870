"""The gate behind a chat model is measured on claims written by hand, and on lies that go through the real voice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evals.claims import Compared, Counted, load_claims, passage_of, score, structural, structural_lies
from evals.scorecard import BEGIN_CLAIMS, CLAIMS, END_CLAIMS, render_claims, section, write_claims
from persona.corpus import Corpus
from persona.errors import InputError
from persona.models import Logistic
from persona.pipeline import Fireside
from persona.support import SUPPORT, SupportModel, load_support

ROOT = Path(__file__).parents[2]


def model(threshold: float = 0.5) -> SupportModel:
    weigh = Logistic(features=("sure",), mean=(0.0,), scale=(1.0,), weights=(1.0,), intercept=0.0)
    return SupportModel(format=2, judge="", embedding="", fitted={}, weigh=weigh, threshold=threshold)


def test_every_claim_cites_words_of_its_document_and_no_passage_serves_two_splits(corpus: Corpus) -> None:
    fit, test = load_claims("fit"), load_claims("test")
    for one in (*fit, *test):
        assert passage_of(one, corpus).text == one.passage
    assert not {c.section for c in fit} & {c.section for c in test}
    assert not {c.claim for c in fit} & {c.claim for c in test}


def test_half_of_the_claims_are_supported_and_each_twist_is_as_frequent() -> None:
    for split, of in (("fit", 20), ("test", 10)):
        twists = Counter(c.twist for c in load_claims(split))  # type: ignore[arg-type]
        assert twists.pop("none") == sum(twists.values())
        assert set(twists.values()) == {of}


def test_the_bundled_judge_of_claims_was_fitted_with_the_bundled_weights(fireside: Fireside) -> None:
    fitted = load_support()
    assert fireside.judge is not None
    assert (fitted.judge, fitted.embedding) == (fireside.judge.fingerprint, fireside.embedder.fingerprint)
    assert fitted.fitted["claims"] == len(load_claims("fit"))


def test_caught_and_lost_are_counted_by_twist() -> None:
    true, false = (next(c for c in load_claims("test") if c.supported is s) for s in (True, False))
    rows = score(
        model(), [Compared(true, {"sure": -1.0}), Compared(true, {"sure": 1.0}), Compared(false, {"sure": -1.0})]
    )
    assert [(r.name.strip(), r.hits, r.of) for r in rows] == [
        ("supported claims lost", 1, 2),
        ("unsupported claims caught", 1, 1),
        (false.twist, 1, 1),
    ]


def test_every_structural_lie_is_caught_even_where_the_judge_lets_everything_pass(fireside: Fireside) -> None:
    claims = load_claims("test")[:2]
    rows = structural(fireside, load_support().model_copy(update={"threshold": 1e-9}), claims)
    assert {r.name for r in rows} == set(structural_lies(passage_of(claims[0], fireside.corpus)))
    assert [r.name for r in rows if r.hits < r.of] == []


@pytest.mark.parametrize(
    ("line", "part"), [("{", "line 2"), ('{"id": "x"}', "line 2"), ('{"id": "x", "more": 1}', "line 2")]
)
def test_a_bad_claim_is_named_by_its_line(tmp_path: Path, line: str, part: str) -> None:
    good = load_claims("fit")[0].model_dump_json()
    (tmp_path / "fit.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=part):
        load_claims("fit", tmp_path)


def test_words_that_stand_nowhere_are_refused(corpus: Corpus) -> None:
    one = load_claims("fit")[0].model_copy(update={"passage": "Nobody said this."})
    with pytest.raises(InputError, match="does not stand"):
        passage_of(one, corpus)


def test_missing_claims_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Can't read the claims"):
        load_claims("test", tmp_path)


def test_the_readme_shows_the_figures_of_the_last_run() -> None:
    rows = json.loads((ROOT / CLAIMS).read_text(encoding="utf-8"))["rows"]
    assert section(ROOT / "README.md", BEGIN_CLAIMS, END_CLAIMS) == render_claims(rows)
    assert SUPPORT.is_file()


def test_a_readme_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("No place here.\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no place for the table"):
        write_claims(readme, [Counted("caught", 1, 2)])
    assert readme.read_text(encoding="utf-8") == "No place here.\n"
