"""The catalog: which talks there are and which documents record them (``catalog.toml``)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from persona.errors import CorpusError
from persona.toml import parse_toml
from persona.types import DocumentKind


def _line_range(value: str) -> str:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", value)
    if not match or (match[2] and int(match[2]) < int(match[1])) or int(match[1]) < 1:
        raise ValueError("a line range is written '4' or '4-6', counting from 1")
    return value


class TalkEntry(BaseModel):
    """One talk. ``name`` follows "my" or "his" ("talk with …"), ``told`` a verb ("to …")."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    title: str
    name: str
    told: str = ""
    date: str | None = None


class DocumentEntry(BaseModel):
    """One document of a talk; paths are relative to the catalog."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    file: str
    title: str
    kind: DocumentKind
    talk: str
    date: str | None = None
    speakers: tuple[str, ...] = ()
    url: str | None = None
    omit: tuple[Annotated[str, AfterValidator(_line_range)], ...] = ()
    annotation: str | None = None
    attribution: Literal["reliable", "unreliable"] = "reliable"
    sha256: str | None = None

    def omitted(self) -> set[int]:
        """The numbers of the lines that are no part of the talk."""
        lines: set[int] = set()
        for part in self.omit:
            first, _, last = part.partition("-")
            lines.update(range(int(first), int(last or first) + 1))
        return lines


class Catalog(BaseModel):
    """The whole catalog; ``folder`` is where its files lie."""

    model_config = ConfigDict(extra="forbid")

    talk: list[TalkEntry]
    document: list[DocumentEntry]
    folder: Path = Path()

    def talk_of(self, document: str) -> TalkEntry:
        """The talk that a document belongs to."""
        by_id = {t.id: t for t in self.talk}
        return by_id[next(d.talk for d in self.document if d.id == document)]


def load_catalog(path: Path) -> Catalog:
    """Reads and checks a catalog; a mistake raises CorpusError with one sentence."""
    catalog = parse_toml(path, Catalog, "catalog", CorpusError)
    catalog.folder = path.parent
    talks = [t.id for t in catalog.talk]
    seen: set[str] = set()
    for entry in catalog.document:
        if entry.id in seen:
            raise CorpusError(f"The catalog '{path}' names the document '{entry.id}' twice. Give each its own id.")
        seen.add(entry.id)
        if entry.talk not in talks:
            raise CorpusError(
                f"Document '{entry.id}' in '{path}' belongs to the talk '{entry.talk}', which no [[talk]] has as its id. "
                f"Known talks: {', '.join(talks)}."
            )
    if not catalog.document:
        raise CorpusError(f"The catalog '{path}' names no document. Add a [[document]].")
    return catalog


def read_seed(catalog: Catalog, entry: DocumentEntry) -> str:
    """The text of a document, checked against its sha256 where the catalog gives one."""
    path = catalog.folder / entry.file
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorpusError(
            f"The seed '{path}' of document '{entry.id}' is missing. Restore it, or take the document out of the catalog."
        ) from None
    except OSError as exc:
        raise CorpusError(f"Can't read the seed '{path}': {exc.strerror}. Check its permissions.") from None
    if entry.sha256 and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise CorpusError(
            f"The seed '{path}' has changed: its sha256 is not the catalog's. Restore the file, "
            f"or update 'sha256' of document '{entry.id}' if the change is meant."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise CorpusError(f"The seed '{path}' is not UTF-8 text (byte {exc.start}). Save it as UTF-8.") from None
