"""Small corpora on disk, and what an error message must look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from persona.corpus import Corpus, load_corpus
from persona.errors import FiresideError
from persona.types import Sentence


def write_catalog(
    folder: Path,
    text: str,
    *,
    file: str = "talk.txt",
    kind: str = "transcript",
    speakers: Sequence[str] = (),
    omit: Sequence[str] = (),
    extra: str = "",
) -> Path:
    """A catalog of one talk with one document, "doc"; returns the catalog's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text, encoding="utf-8")
    catalog = folder / "catalog.toml"
    catalog.write_text(
        "[[talk]]\nid = 't'\ntitle = 'A talk'\nname = 'talk'\n\n"
        f"[[document]]\nid = 'doc'\nfile = {json.dumps(file)}\ntitle = 'A document'\nkind = '{kind}'\ntalk = 't'\n"
        f"speakers = {json.dumps(list(speakers), ensure_ascii=False)}\nomit = {json.dumps(list(omit))}\n{extra}\n",
        encoding="utf-8",
    )
    return catalog


def one_document(
    folder: Path,
    text: str,
    *,
    file: str = "talk.txt",
    kind: str = "transcript",
    speakers: Sequence[str] = (),
    omit: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> Corpus:
    """A corpus of one document, "doc"."""
    catalog = write_catalog(folder, text, file=file, kind=kind, speakers=speakers, omit=omit)
    return load_corpus(catalog, aliases or {})


def sentences(corpus: Corpus) -> tuple[Sentence, ...]:
    """The sentences of the one document."""
    return corpus.sentences["doc"]


def said(corpus: Corpus) -> list[tuple[str | None, str]]:
    """Who says what, sentence by sentence."""
    return [(s.speaker, s.text) for s in sentences(corpus)]


def assert_sentence(error: FiresideError, *parts: str) -> None:
    """An error is plain sentences on one line, that name what is wrong and end in what to do."""
    message = str(error)
    assert "\n" not in message
    assert "Traceback" not in message
    assert re.match(r"[A-Z'‘“\"]|llama\.cpp ", message), message
    assert message.endswith((".", "?")), message
    assert len(message.split()) >= 6, message
    for part in parts:
        assert part in message, message
