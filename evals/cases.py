"""Cases: questions with what a right reply must do, in JSON lines (``evals/cases/README.md`` documents the schema)."""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from persona.corpus import Corpus
from persona.errors import InputError
from persona.types import Decision, Question, Turn

FOLDER = Path(__file__).parent / "cases"
SPLITS = ("fit", "certify", "test")

Split = Literal["fit", "certify", "test"]
Suite = Literal[
    "answerable",
    "attribution",
    "quote",
    "near_miss",
    "off_topic",
    "person",
    "after_the_talks",
    "false_premise",
    "ambiguous",
    "identity",
    "greeting",
    "injection",
    "impersonation",
    "fabrication",
    "unsafe",
    "insistence",
    "pressure",
    "clarified",
    "key_points",
    "poisoned",
    "carried",
    "follow_up",
    "twin",
    "digression",
]
UNANSWERABLE = ("near_miss", "off_topic", "person", "after_the_talks", "false_premise")
CONDUCT = ("identity", "greeting", "injection", "impersonation", "fabrication", "unsafe")


class Evidence(BaseModel):
    """A snippet that stands letter for letter in one line of a seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: str
    snippet: str


class Case(BaseModel):
    """One question and what is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    suite: Suite
    question: str
    history: tuple[Turn, ...] = ()
    decisions: tuple[Decision, ...]
    facts: tuple[tuple[str, ...], ...] = ()
    forbidden: tuple[str, ...] = ()
    speaker: str | None = None
    evidence: tuple[Evidence, ...] = ()
    section: str | None = None
    split: Split
    group: str | None = None

    @property
    def unanswerable(self) -> bool:
        """Whether the talks hold no answer to it, so that any answer is a false one."""
        return self.suite in UNANSWERABLE and self.decisions == (Decision.ABSTAIN,)

    def asked(self) -> Question:
        """The question as the line takes it."""
        return Question(id=self.id, text=self.question, history=self.history)


def load_cases(folder: Path = FOLDER, *, split: str | None = None, suites: Iterable[str] = ()) -> list[Case]:
    """The cases of a folder, in order of file and line; a bad line raises InputError that names it."""
    wanted = set(suites)
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise InputError(f"No case files (*.jsonl) in '{folder}'. Check the path.")
    cases = [case for file in files for case in _read(file)]
    return [c for c in cases if (split is None or c.split == split) and (not wanted or c.suite in wanted)]


def suites_of(
    cases: Sequence[Case], *, split: str, suites: Sequence[str] = (), limit: int = 0, generated: Sequence[Case] = ()
) -> list[Case]:
    """The cases of a split ("all": of every one) and of some suites (all if none is named), `generated` ones after them;
    of each suite the first `limit`, all if that is 0. InputError if a name is wrong or nothing is left."""
    if split not in (*SPLITS, "all"):
        raise InputError(f"No split '{split}'. Use fit, certify, test or all.")
    have = [*cases, *generated]
    known = sorted({c.suite for c in have})
    for suite in suites:
        if suite not in known:
            raise InputError(f"No suite '{suite}'. Use some of: {', '.join(known)}.")
    counted: dict[str, int] = defaultdict(int)
    chosen: list[Case] = []
    for case in have:
        if split in ("all", case.split) and (not suites or case.suite in suites):
            counted[case.suite] += 1
            if not limit or counted[case.suite] <= limit:
                chosen.append(case)
    if not chosen:
        named = f"suite {', '.join(suites)}" if suites else "suite"
        raise InputError(f"No case of {named} is in the split '{split}'. `fireside eval cases` counts what there is.")
    return chosen


def _read(file: Path) -> Iterator[Case]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield Case.model_validate_json(line)
        except ValidationError as exc:
            raise InputError(f"Line {number} of '{file}' is no case: {first_error(exc)}. Correct it.") from None


def first_error(exc: ValidationError, whole: str = "line") -> str:
    """The first thing that is wrong, as "'key': why"; `whole` is the key where it is no single one."""
    first = exc.errors()[0]
    key = ".".join(str(p) for p in first["loc"]) or whole
    return f"'{key}': {first['msg'].removeprefix('Value error, ')}"


class Section(BaseModel):
    """Places that speak of the same thing, by line ranges ("4-6") of each document; all in one split. `judge`: its cases
    train the judge, and not the coefficients that weigh what the judge says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    split: Split
    judge: bool = False
    spans: dict[str, tuple[str, ...]]


def load_sections(folder: Path = FOLDER) -> dict[str, Section]:
    """The sections by id, as in ``sections.toml``."""
    table = tomllib.loads((folder / "sections.toml").read_text(encoding="utf-8"))
    return {s["id"]: Section.model_validate(s) for s in table["section"]}


def lint(cases: Sequence[Case], corpus: Corpus, folder: Path = FOLDER) -> list[str]:
    """What is wrong with the cases, a sentence each: evidence that stands nowhere, repeats, and leaks between splits."""
    sections = load_sections(folder)
    places = _places(sections)
    problems: list[str] = []
    ids: set[str] = set()
    asked: dict[str, str] = {}
    groups: dict[str, str] = {}
    lines = {
        id_: (corpus.catalog.folder / d.entry.file).read_text(encoding="utf-8").splitlines()
        for id_, d in corpus.documents.items()
    }
    for case in cases:
        if case.id in ids:
            problems.append(f"{case.id}: the id is used twice.")
        ids.add(case.id)
        key = json.dumps([case.question.casefold(), [t.content for t in case.history], case.suite == "quote"])
        if key in asked:
            problems.append(f"{case.id}: the same question as {asked[key]}.")
        asked[key] = case.id
        if case.group and groups.setdefault(case.group, case.split) != case.split:
            problems.append(f"{case.id}: its group '{case.group}' is in two splits.")
        if case.section and case.section not in sections:
            problems.append(f"{case.id}: no section '{case.section}'.")
        elif case.section and sections[case.section].split != case.split:
            problems.append(f"{case.id}: section '{case.section}' is in split '{sections[case.section].split}'.")
        for evidence in case.evidence:
            found = [n for n, line in enumerate(lines.get(evidence.document, []), 1) if evidence.snippet in line]
            if not found:
                problems.append(f"{case.id}: {evidence.snippet!r} stands in no line of '{evidence.document}'.")
            splits = {sections[s].split for n in found for s in places[evidence.document, n]}
            if found and case.section and case.split not in splits:
                problems.append(
                    f"{case.id}: its evidence lies in {sorted(map(str, splits))}, the case in '{case.split}'."
                )
        if case.suite in ("answerable", "attribution") and not (case.facts and case.evidence):
            problems.append(f"{case.id}: an answerable case needs facts and evidence.")
    return problems


def _places(sections: dict[str, Section]) -> dict[tuple[str, int], list[str]]:
    places: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, section in sections.items():
        for document, ranges in section.spans.items():
            for part in ranges:
                first, _, last = part.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    places[document, number].append(name)
    return places
