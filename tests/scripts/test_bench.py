"""The benchmark of everything: its rows are the README's figures, and the corpora that it grows are the ones it says."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from persona.corpus import Corpus
from persona.errors import FiresideError
from persona.index import PassageIndex, rows, vocabulary
from persona.text import words
from scripts import bench
from scripts.bench import LINES, Figures, Options
from scripts.bench_growth import HashEmbedder, build, enlarged, search
from tests.persona.corpora import one_document

ROOT = Path(__file__).parents[2]
OPTIONS = Options(Path("nowhere"), threads=1, growth=1)
TALK = "\n".join(
    f"Anna: The lamp of tower {i} carries {i} miles. The bell rings {i} times a night, and the harbour sleeps. "
    "The keeper counts the ships."
    for i in range(10)
)


def strangers(readme: str) -> list[str]:
    """The figures in the table of a README's section on performance that the benchmark doesn't know."""
    section = re.search(r"^#+ Performance\n(.*?)(?=^#|\Z)", readme, re.M | re.S)
    cells = re.findall(r"^\| *([^|\n]+?) *\|", section[1], re.M) if section else []
    return [cell for cell in cells[1:] if cell not in bench.README and not re.fullmatch(r"[-: ]*", cell)]


def test_every_performance_figure_of_the_readme_has_its_row() -> None:
    assert strangers((ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_a_performance_figure_without_a_row_is_noticed() -> None:
    table = "| Figure | here |\n|---|---:|\n| a question | 1 ms |\n| our wit | 9 |\n"
    assert strangers(f"# Fireside\n\n### Performance\n\nSo:\n\n{table}\n## More\n\n| other | 2 |\n") == ["our wit"]
    assert strangers(f"## Speed\n{table}") == []


def test_the_readme_names_rows_that_there_are() -> None:
    names = [line.name for line in LINES]
    assert len(set(names)) == len(names)
    assert set(bench.README.values()) <= set(names)


def test_a_row_stands_beside_what_it_is_compared_with() -> None:
    figures: Figures = {
        "start": {"index_s": 12.5, "peak_mb": 250.0},
        "question": {"peak_mb": 500.0},
        "growth": {"1": {"rows": 2450}, "10": {"rows": 14700}},
    }
    assert list(bench.table(figures)) == [
        ("fireside index", "12.5 s", "", ""),
        ("peak memory, one question", "250 MB", "", ""),
        ("peak memory, 60 questions", "500 MB", "one question: 250", "2 ×"),
        ("rows of the index, 1 ×", "2,450", "", ""),
        ("rows of the index, 10 ×", "14,700", "1 ×: 2,450", "6 ×"),
    ]


def test_the_readme_gets_a_row_for_each_figure_that_was_measured(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Fireside\n\n{bench.BEGIN}\nold\n{bench.END}\n\nMore.\n", encoding="utf-8")
    machine = {"CPU": "An abacus", "cores, memory": "4, 16 GB", "load before (1 minute)": "0.10"}
    figures: Figures = {"machine": machine, "start": {"index_s": 12.5, "first_answer_s": {"p50": 4.0, "min": 2.0}}}
    kept: list[Figures] = []
    bench.published(kept.append, readme)(figures)
    assert kept == [figures]
    assert readme.read_text(encoding="utf-8") == (
        f"# Fireside\n\n{bench.BEGIN}\n"
        "On 4 cores, 16 GB of An abacus; load before it 0.10.\n\n"
        "| figure | here | beside it | ratio |\n|---|---:|---|---:|\n"
        "| building the index | 12.5 s |  |  |\n"
        "| start to the first answer | 4 s | the fastest: 2 | 2 × |\n"
        f"{bench.END}\n\nMore.\n"
    )


def test_a_readme_without_a_place_for_the_figures_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Fireside\n", encoding="utf-8")
    assert bench.main(["--readme", str(readme)]) != 0
    assert "has no place for the table" in capsys.readouterr().err


def test_a_section_that_fails_is_said_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: Options) -> Figures:
        raise FiresideError("The lamp is out. Light it.")

    def whole(options: Options) -> Figures:
        return {"index_s": 2.0, "threads": options.threads}

    out = tmp_path / "figures.json"
    assert bench.bench({"model": broken, "start": whole}, OPTIONS, bench.writer(out)) == FiresideError.exit_code
    printed = capsys.readouterr()
    assert "The lamp is out. Light it." in printed.err.splitlines()
    assert re.search(r"^ *fireside index +2 s *$", printed.out, re.M)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["start"] == {"index_s": 2.0, "threads": 1}
    assert "model" not in written
    assert written["table"] == [{"row": "fireside index", "figure": "2 s", "beside": "", "ratio": ""}]
    assert set(written["machine"]) >= {"CPU", "load before (1 minute)"}


def test_what_was_measured_before_ctrl_c_is_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(_: Options) -> Figures:
        raise KeyboardInterrupt

    out = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        bench.bench({"start": lambda _: {"index_s": 2.0}, "growth": stopped}, OPTIONS, bench.writer(out))
    assert "fireside index" in capsys.readouterr().out
    assert json.loads(out.read_text(encoding="utf-8"))["start"] == {"index_s": 2.0}


def test_a_file_that_cant_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--json", str(tmp_path / "no" / "figures.json")]) != 0
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"Can't write '.*': No such file or directory\. Give another path for --json\.\n", said.err)


@pytest.mark.parametrize("arguments", [["--growth", "7"], ["--only", "luck"], ["--threads", "many"]])
def test_arguments_that_make_no_sense_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2


@pytest.fixture(scope="module")
def grown(corpus: Corpus) -> Corpus:
    """Four times the bundled talks."""
    return enlarged(corpus, 4)


def test_a_grown_corpus_begins_with_the_real_one_and_has_as_many_times_its_rows(corpus: Corpus, grown: Corpus) -> None:
    real = len(corpus.passages)
    assert grown.passages[:real] == corpus.passages
    assert len({p.id for p in grown.passages}) == len(grown.passages) == 4 * real
    levels, before = (Counter(row.level for row in rows(c)) for c in (grown, corpus))
    assert levels["sentence"] == 4 * before["sentence"], "windows that overlap share their sentences"


def test_a_copy_has_the_shape_of_the_real_passages_in_other_words(corpus: Corpus, grown: Corpus) -> None:
    real = len(corpus.passages)
    for made, passage in zip(grown.passages[real : 2 * real], corpus.passages, strict=True):
        assert [len(s.search.split()) for s in made.sentences] == [len(s.search.split()) for s in passage.sentences]
        assert made.sentences[0].document == made.document != passage.document
        assert bool(made.context) == bool(passage.context)
    assert grown.passages[real].search != corpus.passages[0].search


def test_frequencies_stay_those_of_text_and_the_vocabulary_grows_with_its_root(corpus: Corpus, grown: Corpus) -> None:
    def shares(passages: Corpus) -> dict[str, float]:
        counts = Counter(w for p in passages.passages for w in words(p.search))
        return {word: n / counts.total() for word, n in counts.items()}

    before, after = shares(corpus), shares(grown)
    commonest = sorted(before, key=lambda w: -before[w])[:20]
    assert all(after[w] == pytest.approx(before[w], rel=0.5) for w in commonest)
    assert len(vocabulary(grown)) == pytest.approx(2 * len(vocabulary(corpus)), rel=0.15)


def test_growing_gives_the_same_corpus_each_time(tmp_path: Path) -> None:
    small = one_document(tmp_path, TALK, speakers=["Anna"])
    assert enlarged(small, 4).passages == enlarged(small, 4).passages
    assert enlarged(small, 4).fingerprint != enlarged(small, 5).fingerprint
    assert enlarged(small, 1) is small


def test_the_cheap_embedder_gives_unit_vectors_near_centres_and_as_many_tokens_as_the_reader() -> None:
    embedder = HashEmbedder()
    texts = [f"the lamp of tower {i}" for i in range(400)]
    vectors = np.array(embedder.embed(texts))
    assert vectors.shape == (400, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed(texts[:3]) == HashEmbedder().embed(texts[:3])
    cosines = np.sort((vectors @ vectors.T)[np.triu_indices(400, 1)])
    assert abs(np.median(cosines)) < 0.1
    assert 0.2 < np.median(cosines[-len(cosines) // 80 :]) < 0.6, "a few are near: those of one centre"
    ((tokens, none),) = embedder.read_passages([["eight words of a talk about a lamp", ""]])
    assert (tokens.shape, none.shape) == ((10, 128), (1, 128))
    assert embedder.read_question("Why?").weights.sum() == pytest.approx(1)


def test_a_size_is_built_and_searched(tmp_path: Path) -> None:
    corpus = enlarged(one_document(tmp_path, TALK, speakers=["Anna"]), 3)
    made = build(corpus, tmp_path / "index")
    assert made["rows"] == len(rows(corpus)) == PassageIndex("growth", folder=tmp_path / "index").count(HashEmbedder())
    assert made["disk_mb"] > 0
    found = search(corpus, tmp_path / "index", questions=3)
    assert found["resident_mb"] > 50
    for part in ("dense", "lexical", "late", "search"):
        assert 0 < found[f"{part}_ms"]["min"] <= found[f"{part}_ms"]["p50"] <= found[f"{part}_ms"]["p95"]
    paths = {line.path.split(".")[2] for line in LINES if line.path.startswith("growth.")}
    assert paths <= {*made, *found}
