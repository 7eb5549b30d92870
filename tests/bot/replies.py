"""Replies to render, made by hand."""

from __future__ import annotations

from typing import Any

from persona.types import Citation, Claim, DocumentKind, Reason, Reply

SPOKEN = Citation(
    document="talk",
    title="Transcript of a talk",
    date="2023-05-17",
    talk="A talk",
    kind=DocumentKind.TRANSCRIPT,
    speaker="Ada Byron",
    start=1962.0,
    end=1983.0,
    url="https://example.org/talk",
    quote="It can do whatever we know how to order it to perform.",
    verbatim=True,
)
TOLD = Citation(
    document="summary",
    title="Summary of a talk",
    date=None,
    talk="A talk",
    kind=DocumentKind.SUMMARY,
    speaker=None,
    start=None,
    end=None,
    url=None,
    quote="She spoke of engines.",
    verbatim=False,
)


def reply(reason: Reason = Reason.SUPPORTED, text: str = "An answer.", **fields: Any) -> Reply:
    return Reply(
        id="",
        question="?",
        decision=reason.decision,
        reason=reason,
        text=text,
        confidence=0.5,
        threshold=0.4,
        risk="not certified",
        voice="quotes",
        **fields,
    )


def answer() -> Reply:
    claims = (
        Claim(text="“…”", kind="quoted", citations=(0,)),
        Claim(text="It reports.", kind="reported", citations=(1,)),
    )
    return reply(claims=claims, citations=(SPOKEN, TOLD))
