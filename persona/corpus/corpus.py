"""The whole corpus: documents, sentences and passages of a catalog, and a hash that names this state of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from persona.corpus.alignment import align
from persona.corpus.catalog import Catalog, load_catalog, read_seed
from persona.corpus.document import Document, Word
from persona.corpus.formats import parse
from persona.corpus.instructions import part
from persona.corpus.passages import cut, merge_duplicates
from persona.corpus.speakers import annotate
from persona.types import DocumentKind, Passage, Sentence


@dataclass(frozen=True)
class Corpus:
    """What the bot knows: nothing that is not in here is ever claimed."""

    catalog: Catalog
    documents: Mapping[str, Document]
    sentences: Mapping[str, tuple[Sentence, ...]]
    passages: tuple[Passage, ...]
    fingerprint: str
    repair: Callable[[str], str]
    planted: tuple[Sentence, ...] = ()  # put to a machine, not to people: never searched or quoted

    @cached_property
    def by_id(self) -> dict[str, Passage]:
        """Passages by their id."""
        return {p.id: p for p in self.passages}

    @cached_property
    def speakers(self) -> list[str]:
        """Everybody whose words are known to be theirs."""
        names = [s.speaker for d in self.sentences.values() for s in d if s.speaker]
        return list(dict.fromkeys(names))


def load_corpus(catalog_path: Path, aliases: Mapping[str, str]) -> Corpus:
    """Reads a catalog and everything in it; any mistake raises CorpusError with one sentence."""
    catalog = load_catalog(catalog_path)
    repair = repairer(aliases)
    digest = hashlib.sha256(repr(sorted(aliases.items())).encode())
    documents: dict[str, Document] = {}
    for entry in catalog.document:
        text = read_seed(catalog, entry)
        digest.update(entry.model_dump_json().encode() + text.encode())
        words = parse(entry, text)
        if entry.annotation:
            path = catalog.folder / entry.annotation
            words = annotate(words, path, entry.speakers)
            digest.update(path.read_bytes())
        documents[entry.id] = Document(entry, tuple(words))
    documents = {id_: _aligned(document, documents) for id_, document in documents.items()}
    sentences: dict[str, tuple[Sentence, ...]] = {}
    planted: list[Sentence] = []
    for id_, document in documents.items():
        kept, left_out = part(document.sentences(repair))
        sentences[id_] = tuple(kept)
        planted += left_out
    # Recordings first, so that where a summary or captions repeat them it is the recording that stays.
    order = sorted(documents.values(), key=lambda d: list(DocumentKind).index(d.entry.kind))
    passages = [p for d in order for p in cut(d.entry, sentences[d.entry.id], catalog)]
    return Corpus(
        catalog,
        documents,
        sentences,
        tuple(merge_duplicates(passages)),
        f"sha256:{digest.hexdigest()}",
        repair,
        tuple(planted),
    )


def _aligned(document: Document, documents: Mapping[str, Document]) -> Document:
    """Captions without times take them from a timed transcript of the same talk, where there is one."""
    entry = document.entry
    if entry.kind is not DocumentKind.CAPTIONS or any(w.start is not None for w in document.words):
        return document
    for other in documents.values():
        same_talk = other.entry.talk == entry.talk and other.entry.kind is DocumentKind.TRANSCRIPT
        if same_talk and any(w.start is not None for w in other.words):
            words: list[Word] = align(document.words, other.words)
            return Document(entry, tuple(words))
    return document


_ENCODING = {"â€”": "—", "â€“": "–", "â€™": "’", "â€˜": "‘", "â€œ": "“", "â€\x9d": "”", "â€¦": "…", "Â ": " "}


def repairer(aliases: Mapping[str, str]) -> Callable[[str], str]:
    """A function that mends broken encodings and replaces mis-heard names (whole words, any case)."""
    table = {key.casefold(): value for key, value in aliases.items()}
    names = sorted(aliases, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(re.escape(n) for n in names) + r")(?!\w)", re.I) if names else None

    def repair(text: str) -> str:
        for broken, whole in _ENCODING.items():
            text = text.replace(broken, whole)
        return pattern.sub(lambda m: table[m[0].casefold()], text) if pattern else text

    return repair
