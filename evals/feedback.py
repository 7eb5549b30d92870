"""Cases made of what users thought of replies: a 👎 in the bots' store becomes a case to review."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pydantic import TypeAdapter

from evals.cases import Case, Suite
from persona.errors import InputError
from persona.types import Decision, Reason, Turn

STORE = "fireside.sqlite3"  # in the data folder; `bot/store.py` writes it
FORMAT = 1
_TURNS = TypeAdapter(tuple[Turn, ...])
_DISLIKED = (
    "SELECT id, question, history, text, decision, reason, comment FROM feedback WHERE NOT good ORDER BY created"
)


class Disliked(NamedTuple):
    """A case that a 👎 suggests, and what a reviewer needs besides: the reply, and what the user wrote about it."""

    case: Case
    decision: Decision
    text: str
    comment: str


def disliked(store: Path) -> list[Disliked]:
    """What users disliked, oldest first, each question once; InputError where there is no store to read."""
    try:
        rows = _rows(store)
    except sqlite3.Error as exc:
        raise InputError(
            f"The store '{store}' can't be read: {exc}. Check the path (--data-dir), and that it is a bot's."
        ) from None
    found: dict[tuple[str, str], Disliked] = {}
    for id_, question, history, text, decision, reason, comment in rows:
        if Reason(reason) is Reason.UNAVAILABLE:
            continue  # an outage says nothing of the line
        case = _case(id_, question, _TURNS.validate_json(history), Decision(decision), Reason(reason))
        # A later comment on the same reply to the same question adds nothing that a reviewer needs.
        found.setdefault((question.casefold(), history), Disliked(case, Decision(decision), text, comment))
    return list(found.values())


def append(cases: list[Case], file: Path) -> int:
    """Adds to a case file what it doesn't hold yet, and leaves what a reviewer has made of the rest; how many are new."""
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        there = {json.loads(line)["id"] for line in text.splitlines() if line.strip()}
        new = [case for case in cases if case.id not in there]
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write("\n" if text and not text.endswith("\n") else "")
            out.writelines(f"{line_of(case)}\n" for case in new)
    except OSError as exc:
        raise InputError(f"Can't write the cases to '{file}': {exc.strerror}. Give another path.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"'{file}' holds no cases, so none are added to it. Give another path.") from None
    return len(new)


def line_of(case: Case) -> str:
    """The case as a line of a case file."""
    return case.model_dump_json(exclude_defaults=True)


def _case(id_: str, question: str, history: tuple[Turn, ...], decision: Decision, reason: Reason) -> Case:
    """A guess to be reviewed: what was answered should not have been, and what was not answered should."""
    answered = decision is Decision.ANSWER and reason in (Reason.SUPPORTED, Reason.CORRECTED)
    suite: Suite = "near_miss" if answered else "answerable"
    return Case(
        id=f"feedback-{id_[:12]}",
        suite=suite,
        question=question,
        history=history,
        decisions=(Decision.ABSTAIN if answered else Decision.ANSWER,),
        split="fit",
    )


def _rows(store: Path) -> list[tuple[str, str, str, str, str, str, str]]:
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(store))}?mode=ro", uri=True)) as connection:
        version = connection.execute("SELECT version FROM format").fetchone()
        if version != (FORMAT,):
            raise InputError(
                f"The store '{store}' was made by another version of Fireside. Run the `fireside eval` of that version."
            )
        return connection.execute(_DISLIKED).fetchall()
