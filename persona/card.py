"""The persona card: everything that makes a persona, as data (``persona/cards/*.toml``)."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from persona.errors import ConfigError
from persona.toml import parse_toml

CARDS = Path(__file__).parent / "cards"


def _only(*names: str) -> AfterValidator:
    """A line may use these variables and no others, so that a typo is found at start and not in a reply."""

    def check(line: str) -> str:
        try:
            used = {name for _, name, _, _ in string.Formatter().parse(line) if name is not None}
        except ValueError as exc:
            raise ValueError(f"its braces don't match ({exc})") from None
        unknown = sorted(used - set(names))
        if unknown:
            allowed = ", ".join("{" + n + "}" for n in names) or "no variables"
            raise ValueError(f"unknown variable {{{unknown[0]}}}; this line may use {allowed}")
        return line

    return AfterValidator(check)


Plain = Annotated[str, _only()]


class AbstainLines(BaseModel):
    """What is said for each reason to abstain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out_of_corpus: Plain
    not_stated: Plain
    after_the_talks: Plain
    false_premise: Plain
    unsupported: Plain
    unavailable: Plain
    nearest: Annotated[str, _only("quote", "source")]
    nearest_reported: Annotated[str, _only("sentence", "talk")]


class ClarifyLines(BaseModel):
    """One question back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unresolved: Plain
    ambiguous: Annotated[str, _only("options")]
    empty: Plain
    too_long: Annotated[str, _only("length", "limit")]


class DeclineLines(BaseModel):
    """What is said for each reason to decline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    injection: Plain
    impersonation: Plain
    fabrication: Plain
    unsafe: Plain


class AnswerLines(BaseModel):
    """The bot's own words around a quotation ({quote}) or a report ({sentence}).

    ``away`` follows where a chat model should have written and could not.

    {told} and {talk} are the talk's `told` and `name`, {at} is ", at 32:54" or nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    quoted: Annotated[str, _only("quote", "told", "talk", "at")]
    quoted_other: Annotated[str, _only("quote", "speaker", "talk", "at")]
    attributed: Annotated[str, _only("quote", "told", "talk", "at")]
    attributed_other: Annotated[str, _only("quote", "speaker", "talk", "at")]
    unsure_who: Plain
    noted: Annotated[str, _only("sentence", "talk")]
    reported: Annotated[str, _only("sentence", "talk")]
    reported_more: Annotated[str, _only("sentence")]
    more: Annotated[str, _only("quote", "at")]
    corrected: Annotated[str, _only("answer")]
    away: Plain = "(The chat model can't be used right now: these are the plain words.)"


class Card(BaseModel):
    """A persona. Paths are relative to the card's file."""

    model_config = ConfigDict(extra="forbid")

    name: str
    speaker: str
    short_names: tuple[str, ...] = ()
    person: Literal["first", "third"] = "first"
    disclosure: Plain
    identity: Plain
    greeting: Plain
    tone: tuple[str, ...] = ()
    catalog: Path
    calibration: Path | None = None
    answer: AnswerLines
    abstain: AbstainLines
    clarify: ClarifyLines
    decline: DeclineLines
    aliases: dict[str, str] = {}
    path: Path = Path()

    @property
    def id(self) -> str:
        """The card's file name without its ending; names the index."""
        return self.path.stem


def cards() -> list[str]:
    """The names of the bundled personas."""
    return sorted(p.stem for p in CARDS.glob("*.toml"))


def load_card(name: str) -> Card:
    """A bundled persona by name, or any by the path of its card; ConfigError if it is missing or wrong."""
    path = Path(name) if name.endswith(".toml") or "/" in name else CARDS / f"{name}.toml"
    if not path.exists() and path.parent == CARDS:
        raise ConfigError(f"No persona '{name}'. Use one of: {', '.join(cards())}; or give the path of a card (.toml).")
    card = parse_toml(path, Card, "persona card", ConfigError)
    card.path = path
    card.catalog = (path.parent / card.catalog).resolve()
    if card.calibration is not None:
        card.calibration = (path.parent / card.calibration).resolve()
    return card
