"""Measures how searching grows with the corpus (part of `make bench`): up to 1000 times the bundled persona's passages.

    python scripts/bench_growth.py                              up to 100 times; --most 1000: ten times as far
    python scripts/bench_growth.py --most 10 --json OUT         the figures go to OUT as well

What is searched is synthetic: each copy has the bundled passages' shape (sentences, overlaps, lengths), and its words are
drawn from all text before it, new ones among them at the rate of Heaps' law, so that the frequencies stay those of text
(Simon 1955, "On a class of skew distribution functions"). Vectors and token vectors are made from hashes, as many and as
long as the real ones: how long the reading of a question takes is left out, it doesn't depend on the corpus. All else is
the real thing: the index in a folder, BM25, fusion, late interaction. Each size is built in one fresh process and
searched in another, whose memory it is; what the index remembers of earlier questions it remembers here, too, which is all
of a small corpus and little of a big one. It asserts nothing.

100 times the passages are 120,000 rows, some minutes and 1.1 GB of disk; 1000 times about ten times that, and an hour or
more, nearly all of it Chroma's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from persona import retrieval
from persona.card import load_card
from persona.corpus import Corpus, load_corpus
from persona.index import PassageIndex, vocabulary
from persona.retrieval import Retriever, matched
from persona.text import terms
from persona.types import Passage, Reading, Sentence, TokenVectors
from scripts.bench import Figures, machine, python, sample, say, show, spread, writer
from scripts.running import exit_code

SIZES = (1, 10, 100, 1000)
QUESTIONS = 50
WARM_UP = 5
DIMENSIONS, TOKEN_DIMENSIONS = 384, 128  # all-MiniLM-L6-v2's and the reader's
TOKENS_A_WORD = 1.25
CENTRES = 64
NEAR_CENTRE = 0.6  # cosine of a text to its centre: two of one centre are as near as a question and a good passage are
POOL = 4096  # vectors that hashes choose from
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]

Vectors = NDArray[np.float32]


def _unit(rows: Vectors) -> Vectors:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _hash(text: str) -> int:
    return crc32(text.encode())


class HashEmbedder:
    """An embedder that costs next to nothing: a text lies near one of a few centres, its hash says which and where; a
    token's vector is its word's."""

    fingerprint = "hashes:1"

    def __init__(self) -> None:
        dice = np.random.default_rng(0)
        self._centres = _unit(dice.standard_normal((CENTRES, DIMENSIONS), dtype=np.float32))
        self._noise = _unit(dice.standard_normal((POOL, DIMENSIONS), dtype=np.float32))
        self._tokens = _unit(dice.standard_normal((POOL, TOKEN_DIMENSIONS), dtype=np.float32))

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder.embed`."""
        hashes = np.array([[_hash(text), _hash(text[::-1])] for text in texts], dtype=np.int64).reshape(-1, 2)
        one, other = hashes.T
        noise = self._noise[one % POOL] + self._noise[other % POOL] - self._noise[one // POOL % POOL]
        centres = self._centres[other // POOL % CENTRES]
        return _unit(NEAR_CENTRE * centres + np.sqrt(1 - NEAR_CENTRE**2) * _unit(noise)).tolist()

    def words(self) -> list[str]:
        """See `Embedder.words`."""
        return []

    def read_question(self, text: str) -> Reading:
        """See `Embedder.read_question`."""
        vectors = self._read(text)
        return Reading(vectors, np.full(len(vectors), 1 / len(vectors), dtype=np.float32))

    def read_passages(self, passages: Sequence[Sequence[str]]) -> list[list[TokenVectors]]:
        """See `Embedder.read_passages`."""
        return [[self._read(text) for text in passage] for passage in passages]

    def _read(self, text: str) -> TokenVectors:
        words = np.array([_hash(word) % POOL for word in text.split() or [""]])
        return self._tokens[np.resize(words, round(TOKENS_A_WORD * len(words)))]


def enlarged(corpus: Corpus, times: int) -> Corpus:
    """The corpus and so many synthetic copies of it that it has `times` as many passages; the same ones each time.

    Only what is searched grows, `passages`: not the documents that they were cut from.
    """
    if times == 1:
        return corpus
    slots = list(dict.fromkeys(text for passage in corpus.passages for text in _texts(passage)))
    texts = _synthetic([text.split() for text in slots], times, len(vocabulary(corpus)))
    passages = list(corpus.passages)
    for number, copied in enumerate(texts, 1):
        passages += _copies(corpus.passages, dict(zip(slots, copied, strict=True)), f"-{number}")
    return replace(corpus, passages=tuple(passages), fingerprint=f"{corpus.fingerprint}:{times}")


def _texts(passage: Passage) -> Iterator[str]:
    """What a passage's text is made of: its sentences, and the question or heading before it."""
    yield from (s.search for s in passage.sentences)
    yield from (s.search for s in passage.asked)
    if not passage.asked:
        yield passage.context


def _synthetic(texts: Sequence[Sequence[str]], times: int, known: int) -> Iterator[list[str]]:
    """For each copy a text as long as each of `texts`, whose words are drawn from all text before the copy. Of the `known`
    words of the first text there are √n times as many in n times as much text."""
    lengths = [len(text) for text in texts]
    size = sum(lengths)
    words = list(dict.fromkeys(word for text in texts for word in text))
    place = {word: number for number, word in enumerate(words)}
    text = np.empty(size * times, dtype=np.int32)
    text[:size] = [place[word] for one in texts for word in one]
    dice = np.random.default_rng(0)
    for number in range(1, times):
        begin, end = number * size, (number + 1) * size
        text[begin:end] = text[dice.integers(begin, size=size)]
        new = round(known * (np.sqrt(number + 1) - np.sqrt(number)))
        text[begin + dice.choice(size, new, replace=False)] = len(words) + np.arange(new)
        words += [_coined(len(words) + i) for i in range(new)]
        numbers: list[int] = text[begin:end].tolist()
        drawn = iter([words[i] for i in numbers])
        yield [" ".join(islice(drawn, length)) for length in lengths]


def _coined(number: int) -> str:
    """A word of no meaning, each number's own."""
    syllables = ""
    while number:
        number, rest = divmod(number, len(SYLLABLES))
        syllables += SYLLABLES[rest]
    return f"{syllables}x"


def _copies(passages: Sequence[Passage], texts: Mapping[str, str], suffix: str) -> Iterator[Passage]:
    """The passages with other words, under other ids."""

    def copies(sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
        return tuple(
            replace(s, document=s.document + suffix, text=texts[s.search], search=texts[s.search]) for s in sentences
        )

    for passage in passages:
        asked = copies(passage.asked)
        yield replace(
            passage,
            id=passage.id + suffix,
            document=passage.document + suffix,
            sentences=copies(passage.sentences),
            context=" ".join(s.search for s in asked) or texts[passage.context],
            asked=asked,
        )


def _index(folder: Path) -> PassageIndex:
    return PassageIndex("growth", folder=folder)


def _corpus(times: int) -> Corpus:
    card = load_card("ilya")
    return enlarged(load_corpus(card.catalog, card.aliases), times)


def build(corpus: Corpus, folder: Path) -> Figures:
    """Builds a corpus's index in a folder: rows, seconds, and what lies on the disk."""
    index = _index(folder)
    index.connect()
    begun = time.perf_counter()
    built = index.build(corpus, HashEmbedder(), _teller())
    seconds = time.perf_counter() - begun
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"passages": len(corpus.passages), "rows": built.added, "build_s": seconds, "disk_mb": disk / 1e6}


def _teller() -> Callable[[int, int], None]:
    """Progress, at each tenth."""
    tenths = iter(range(1, 11))
    due = next(tenths)

    def told(done: int, all_: int) -> None:
        nonlocal due
        while due * all_ <= 10 * done and due <= 10 and all_:
            say(f"{10 * due}% of {all_} rows")
            due = next(tenths, 11)

    return told


def search(corpus: Corpus, folder: Path, questions: int = QUESTIONS) -> Figures:
    """Searches an index that was built: seconds to open it, milliseconds a question, and the process's memory. So many
    questions are timed whole, and as many others part by part."""
    from scripts.bench_model import resident

    asked = _questions(WARM_UP + 2 * questions)
    index = _index(folder)
    index.connect()
    embedder = HashEmbedder()
    begun = time.perf_counter()
    retriever = Retriever(corpus, index, embedder)
    for question in asked[:WARM_UP]:  # the first one has Chroma load its vectors
        retriever.search(question, question)
    opened = time.perf_counter() - begun
    whole: list[float] = []
    parts: dict[str, list[float]] = {"dense": [], "lexical": [], "late": []}
    for question in asked[WARM_UP : WARM_UP + questions]:
        begun = time.perf_counter()
        retriever.search(question, question)
        whole.append((time.perf_counter() - begun) * 1000)
    for question in asked[WARM_UP + questions :]:
        for name, milliseconds in _parts(retriever, index, embedder, question).items():
            parts[name].append(milliseconds)
    retriever.close()
    figures = {f"{name}_ms": spread(values) for name, values in {"search": whole, **parts}.items()}
    return {"open_s": opened, **figures, "resident_mb": resident()}


def _parts(retriever: Retriever, index: PassageIndex, embedder: HashEmbedder, question: str) -> dict[str, float]:
    """Milliseconds of what a search does that may depend on the size, as often and as much as it does it."""
    times = [time.perf_counter()]
    rows = index.search(embedder.embed([question])[0], embedder, 2 * retrieval.DEPTH)
    times.append(time.perf_counter())
    found = retriever.lexical.search(terms(question), [], retrieval.DEPTH)
    times.append(time.perf_counter())
    reading = embedder.read_question(question)
    nearest = [key for key, _ in rows if key in retriever.corpus.by_id]
    first = list(dict.fromkeys([*nearest, *(key for key, _ in found)]))[: retrieval.READ]
    for passage in index.readings(first, embedder).values():
        matched(reading, passage)
    times.append(time.perf_counter())
    took = [(end - begin) * 1000 for begin, end in pairwise(times)]
    return dict(zip(("dense", "lexical", "late"), took, strict=True))


def _questions(number: int) -> list[str]:
    """So many questions out of evals/cases, at even distances."""
    from evals.cases import load_cases

    cases = sample([c for c in load_cases() if not c.history and c.suite in ("answerable", "near_miss")], number)
    return [case.question for case in cases]


def one_size(times: int, folder: Path) -> Figures:
    """Builds one size in a folder and searches it, each in a process of its own."""
    figures: Figures = {}
    for step in STEPS:
        arguments = ["-m", "scripts.bench_growth", "--step", step, "--times", str(times), "--folder", str(folder)]
        ran = python(arguments, f"bench_growth --step {step}", heard=True)
        figures |= json.loads(ran.stdout)
        figures[f"{step}_peak_mb"] = ran.megabytes
    return figures


STEPS: Mapping[str, Callable[[Corpus, Path], Figures]] = {"build": build, "search": search}


def grow(most: int, told: Callable[[Figures], None] = lambda _: None) -> Figures:
    """The figures of each size up to `most`, by size; `told` gets them after each."""
    figures: Figures = {}
    for times in (size for size in SIZES if size <= most):
        with tempfile.TemporaryDirectory() as temporary:
            figures[str(times)] = one_size(times, Path(temporary))
        told(figures)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure how searching grows with the corpus.")
    parser.add_argument("--most", type=int, choices=SIZES, default=100, help="times the corpus (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write every figure to this file, too")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)

    def work() -> None:
        if given.step:
            say(f"{given.step} of {given.times} ×")
            print(json.dumps(STEPS[given.step](_corpus(given.times), given.folder)))
            return
        save = writer(given.json)
        about = dict(machine())
        found = grow(given.most, lambda figures: save({"machine": about, "growth": figures}))
        show({"machine": about, "growth": found})

    try:
        return exit_code(work)
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
