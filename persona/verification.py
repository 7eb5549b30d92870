"""Verifies: nothing leaves the line that its document does not bear out.

A quotation is proved: letter for letter in a recording, in one go, by the speaker it names. A report is proved to be the
document's own sentence. What fails is cut. The last check reads the finished text: every stretch between quotation
marks in it must be a proved quotation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from persona.corpus import Corpus
from persona.errors import VerificationError
from persona.types import Citation, Claim

_QUOTED = re.compile(r"“([^”]*)”")
_FOOTNOTE = re.compile(r"\[\d+\]")
INNER_QUOTES = str.maketrans("“”", "‘’")  # in a report: “…” is kept for words that are proved to be spoken


@dataclass(frozen=True)
class Draft:
    """Claims and what they cite, before anything is checked."""

    claims: tuple[Claim, ...]
    citations: tuple[Citation, ...]


def citation_stands(citation: Citation, corpus: Corpus) -> bool:
    """Whether the cited words stand in the document as the citation says."""
    document = corpus.documents.get(citation.document)
    if document is None or not citation.quote:
        return False
    if citation.kind is not document.entry.kind or citation.title != document.entry.title:
        return False
    if citation.verbatim:
        return document.entry.kind.verbatim and document.said_by(citation.quote, citation.speaker)
    return bool(document.occurrences(citation.quote)) and citation.speaker is None


def verify(draft: Draft, corpus: Corpus) -> Draft:
    """The draft without the claims that fail; citations that no claim needs any more go too."""
    good = [citation_stands(c, corpus) for c in draft.citations]
    kept = [claim for claim in draft.claims if _claim_stands(claim, draft.citations, good)]
    used = list(dict.fromkeys(i for claim in kept for i in claim.citations))
    place = {old: new for new, old in enumerate(used)}
    claims = tuple(claim.model_copy(update={"citations": tuple(place[i] for i in claim.citations)}) for claim in kept)
    return Draft(claims, tuple(draft.citations[i] for i in used))


def _claim_stands(claim: Claim, citations: Sequence[Citation], good: Sequence[bool]) -> bool:
    if not claim.citations or not all(0 <= i < len(citations) and good[i] for i in claim.citations):
        return False
    quoted = _QUOTED.findall(claim.text)
    cited = [citations[i] for i in claim.citations]
    proved = all(any(q == c.quote and c.verbatim for c in cited) for q in quoted)
    if claim.kind == "quoted":
        return bool(quoted) and proved
    if claim.kind == "reported":
        return not any(c.verbatim for c in cited) and all(_says(claim.text, c.quote) for c in cited)
    return proved


def as_reported(sentence: str) -> str:
    """A report's sentence without footnote marks, its “…” turned into ‘…’."""
    return _FOOTNOTE.sub("", sentence).translate(INNER_QUOTES)


def _says(text: str, sentence: str) -> bool:
    """Whether a report gives the sentence as it stands; its first letter may be small, its “…” become ‘…’."""
    plain = as_reported(sentence)
    return plain in text or plain[:1].lower() + plain[1:] in text


def check_text(text: str, citations: Sequence[Citation], corpus: Corpus) -> str:
    """The text, if each of its quotations is a proved one; VerificationError otherwise."""
    proved = {c.quote for c in citations if c.verbatim and citation_stands(c, corpus)}
    for quote in _QUOTED.findall(text):
        if quote not in proved:
            raise VerificationError(f"The quotation {quote[:80]!r} does not stand in what the reply cites.")
    return text
