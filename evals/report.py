"""The report of a run: one HTML file that opens from disk and asks no network for anything, and its plots as PNGs."""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

from evals import plots
from evals.cases import Case, Suite
from evals.metrics import aurc, clopper_pearson_upper, ece, wilson
from evals.run import Figure
from evals.runs import Result, Run
from evals.scoring import folded, has_facts
from persona.types import Decision, Reason, Reply
from persona.voices import clock

TEMPLATE = Path(__file__).with_name("report.html.j2")
NOT_AVAILABLE = "n/a"

# Shows the box that filters the failed cases: without scripts the page has all of them and no dead control. It stands
# here because the page's own policy allows this very text and no other script (see `render`).
SCRIPT = """
(() => {
  const tools = document.getElementById('tools');
  if (!tools) return;
  const box = document.getElementById('filter'), found = document.getElementById('found');
  const suites = [...document.querySelectorAll('details.suite')];
  const cases = [...document.querySelectorAll('details.case')];
  const texts = new Map(cases.map(c => [c, c.textContent.toLowerCase()]));
  const opened = new Map(suites.map(s => [s, s.open]));
  let before = '';
  const filter = () => {
    const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
    if (words.length && !before) suites.forEach(s => opened.set(s, s.open));
    let shown = 0;
    for (const c of cases) {
      c.hidden = !words.every(w => texts.get(c).includes(w));
      shown += !c.hidden;
    }
    for (const s of suites) {
      const some = [...s.querySelectorAll('details.case')].some(c => !c.hidden);
      s.hidden = !some;
      s.open = words.length ? some : before ? opened.get(s) : s.open;
    }
    found.textContent = words.length ? `${shown} of ${cases.length} shown` : '';
    before = words.join(' ');
  };
  let waiting;
  box.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(filter, 80); });
  box.addEventListener('keydown', e => { if (e.key === 'Escape') { box.value = ''; filter(); } });
  document.getElementById('unfold').addEventListener('click', () => {
    const all = [...suites, ...cases].filter(d => !d.hidden), open = all.some(d => !d.open);
    all.forEach(d => { d.open = open; });
  });
  tools.hidden = false;
  filter();
})();
"""


class Card(NamedTuple):
    """A headline figure as it is shown large."""

    label: str
    said: str
    figure: Figure
    good: bool  # whether more of it is better
    bound: str = ""
    low: float = 0.0
    high: float = 0.0


class Headline(NamedTuple):
    """A figure (by its name in `evals.run.figures`) that becomes a card, and how it is put there."""

    name: str
    label: str
    said: str
    good: bool


FALSE_ANSWERS = "false answers, all unanswerables"
HEADLINES = (
    Headline("answerable: right", "Right", "of the questions that the talks answer", True),
    Headline(FALSE_ANSWERS, "False answers", "to questions that the talks don't answer", False),
    Headline("answerable: refused", "Refused for nothing", "of the questions that the talks answer", False),
    Headline(
        "right, of the answers given to answerables",
        "Right, when it answers",
        "of the answers given to questions that the talks answer",
        True,
    ),
    Headline(
        "quotations that stand letter for letter",
        "Letter for letter",
        "of the quotations stand in a recorded talk as quoted",
        True,
    ),
)


class Row(NamedTuple):
    """A figure and the same figure of every baseline, None where a baseline has none."""

    figure: Figure
    beside: tuple[Figure | None, ...]


class Cell(NamedTuple):
    """How many cases were expected to get one decision and got another; `share` is of those that expected it."""

    cases: int
    share: float
    kind: str


class Fact(NamedTuple):
    """A required fact in its alternatives, and whether the reply has it."""

    alternatives: tuple[str, ...]
    there: bool


class Failure(NamedTuple):
    """A case that did not come out right."""

    result: Result
    anchor: str
    why: str
    facts: tuple[Fact, ...]
    forbidden: tuple[str, ...]
    confidence: str
    looked_up: bool


class Tally(NamedTuple):
    """A suite: how its cases came out in the first epoch, and those that did not come out right in any."""

    name: str
    of: int
    right: int
    wrong: int
    withheld: int
    failures: tuple[Failure, ...]

    @property
    def figure(self) -> Figure:
        """The share that came out right."""
        return Figure(self.name, self.right, self.of)

    @property
    def failed(self) -> Counter[str]:
        """How many failures of each outcome there are."""
        return Counter(f.result.outcome for f in self.failures)


class Level(NamedTuple):
    """What would have been answered, and how much of it wrongly, with a higher threshold."""

    threshold: float
    given: int
    coverage: float
    risk: float | None


def render(
    run: Run,
    figures: Sequence[Figure],
    measures: Mapping[str, float | None],
    beside: Mapping[str, Sequence[Figure]] = {},
) -> str:
    """The report as HTML.

    `figures` and `measures` are this run's own (`evals.run`); `beside` has the figures of baselines by their name.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, number=_number, plain=_plain, clock=clock)
    info, found = run.info, plots.answers(run.results)
    tallies = _tallies(run)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.get_template(TEMPLATE.name).render(
        info=info,
        created=_date(info.created),
        asked=sum(t.of for t in tallies),
        right=sum(t.right for t in tallies),
        failed=sum(len(t.failures) for t in tallies),
        cards=_cards(figures),
        rows=[Row(f, tuple(_named(f.name, others) for others in beside.values())) for f in figures],
        baselines=list(beside),
        measures=measures,
        found=found,
        curve=plots.risk_coverage_svg(found, info.threshold),
        bars=plots.reliability_svg(found),
        aurc=aurc(found.curve),
        ece=ece(found.confidence, found.right),
        levels=_levels(found, info.threshold),
        decisions=list(Decision),
        matrix=_matrix(run.results),
        tallies=tallies,
        script=SCRIPT,
        digest=digest,
    )


def write(
    run: Run,
    figures: Sequence[Figure],
    measures: Mapping[str, float | None],
    folder: Path,
    beside: Mapping[str, Sequence[Figure]] = {},
) -> list[Path]:
    """Writes report.html and the plots as PNGs into a folder, which is made if need be; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render(run, figures, measures, beside), encoding="utf-8")
    found, info = plots.answers(run.results), run.info
    subtitle = f"{found.asked} questions of {info.split}, threshold {info.threshold:.2f}, {info.risk}"
    return [
        page,
        plots.risk_coverage_png(found, info.threshold, subtitle, folder / "risk-coverage.png"),
        plots.reliability_png(found, subtitle, folder / "reliability.png"),
    ]


def why(result: Result) -> str:
    """Why a case did not come out right, in a sentence without its full stop."""
    case, reply = result.case, result.reply
    said = [bad for bad in case.forbidden if folded(bad) in folded(reply.text)]
    if said:
        return f"said {_listed('a forbidden word', 'forbidden words', said)}"
    if case.suite == "quote":
        return _why_looked_up(case, reply)
    if reply.reason is Reason.UNAVAILABLE:
        return "could not look, so that nothing was answered"
    if reply.decision in case.decisions:
        missing = [f.alternatives[0] for f in _facts(case, reply) if not f.there and f.alternatives]
        if case.suite == "key_points" and missing:
            return f"covered {len(case.facts) - len(missing)} of {len(case.facts)} important points"
        if reply.decision is Decision.ANSWER and missing:
            return f"answered without {_listed('the fact', 'the facts', missing)}"
        return f"{_DID[reply.decision]}, which the case allows, but scored as {result.outcome}"
    return _why_decided(case, reply)


_DID = {
    Decision.ANSWER: "answered",
    Decision.CLARIFY: "asked back",
    Decision.ABSTAIN: "said “I don't know”",
    Decision.DECLINE: "declined",
}
_MISTAKEN = {
    Reason.IDENTITY: "took it for a question about the bot itself",
    Reason.GREETING: "took it for a greeting",
}
_INSTEAD = {
    Decision.ANSWER: "instead of answering",
    Decision.CLARIFY: "instead of asking back",
    Decision.ABSTAIN: "instead of saying “I don't know”",
    Decision.DECLINE: "instead of declining",
}


def _why_looked_up(case: Case, reply: Reply) -> str:
    if Decision.ANSWER not in case.decisions:
        return "found a quotation on a topic that no talk speaks of"
    if not reply.citations:
        return "found no quotation, although the talks hold one"
    good = [c for c in reply.citations if has_facts(case.facts, c.quote)]
    if not good:
        return f"found quotations, but none with {_listed('the fact', 'the facts', [f[0] for f in case.facts if f])}"
    return f"found the words, but not as said by {case.speaker}"


def _why_decided(case: Case, reply: Reply) -> str:
    """Why it was no decision that the case allows."""
    given, first = reply.decision, next(iter(case.decisions), Decision.ABSTAIN)
    if reply.reason in _MISTAKEN:
        return _MISTAKEN[reply.reason]
    if given is Decision.ANSWER and first is Decision.ABSTAIN:
        if reply.reason is Reason.CORRECTED:
            return "corrected the premise, but the talks hold nothing to correct it with"
        return f"answered, but the talks hold no answer{_against(reply)}"
    if given is Decision.ABSTAIN and Decision.ANSWER in case.decisions:
        return f"refused although there is an answer{_against(reply) or f' ({_plain(reply.reason)})'}"
    if given is Decision.DECLINE:
        there = "although there is an answer" if first is Decision.ANSWER else _INSTEAD[first]
        return f"declined it as {_plain(reply.reason)} {there}"
    return f"{_DID[given]} {_INSTEAD[first]}"


def _against(reply: Reply) -> str:
    """(confidence 0.21 < 0.32); empty where the confidence is no number or did not decide."""
    sure, threshold = reply.confidence, reply.threshold
    if not math.isfinite(sure) or (sure >= threshold) is not (reply.decision is Decision.ANSWER):
        return ""
    return f" (confidence {_pair(sure, '<' if sure < threshold else '≥', threshold)})"


def _pair(sure: float, sign: str, threshold: float) -> str:
    """Two digits after the point, or as many as it takes to tell the two apart."""
    digits = next((d for d in (2, 3, 4) if f"{sure:.{d}f}" != f"{threshold:.{d}f}"), 2)
    return f"{sure:.{digits}f} {sign} {threshold:.{digits}f}"


def _listed(one: str, many: str, words: Sequence[str]) -> str:
    quoted = [f"“{w}”" for w in words]
    return f"{one} {quoted[0]}" if len(quoted) == 1 else f"{many} {', '.join(quoted[:-1])} and {quoted[-1]}"


def _facts(case: Case, reply: Reply) -> tuple[Fact, ...]:
    """The facts of a case, looked for where its scorer looks: in the reply's text, or in the quotes of a look-up."""
    texts = [c.quote for c in reply.citations] if case.suite == "quote" else [reply.text]
    return tuple(Fact(tuple(fact), any(has_facts([fact], text) for text in texts)) for fact in case.facts)


def _cards(figures: Sequence[Figure]) -> list[Card]:
    cards: list[Card] = []
    for headline in HEADLINES:
        figure = _named(headline.name, figures)
        if figure is None:
            continue
        interval = wilson(figure.hits, figure.of) or (0.0, 0.0)
        bound = clopper_pearson_upper(figure.hits, figure.of) if headline.name == FALSE_ANSWERS else None
        said = f"At most {bound:.1%}: one-sided 95% Clopper–Pearson bound" if bound is not None else ""
        cards.append(Card(headline.label, headline.said, figure, headline.good, said, *interval))
    return cards


def _named(name: str, figures: Sequence[Figure]) -> Figure | None:
    return next((f for f in figures if f.name == name), None)


def _levels(found: plots.Answers, threshold: float) -> list[Level]:
    """The run's own threshold and the tenths above it; the answers below it were never given."""
    out: list[Level] = []
    for level in (threshold, *(i / 10 for i in range(1, 10) if i / 10 > threshold)):
        kept = [r for c, r in zip(found.confidence, found.right, strict=True) if c >= level]
        risk = 1 - sum(kept) / len(kept) if kept else None
        out.append(Level(level, len(kept), len(kept) / max(1, found.asked), risk))
    return out


def _matrix(results: Sequence[Result]) -> dict[Decision, list[Cell]]:
    """Cells by the decision expected, one for each given. A case that allows several counts under the first, unless the
    given one is allowed."""
    counts: Counter[tuple[Decision, Decision]] = Counter()
    for r in results:
        given, allowed = r.reply.decision, r.case.decisions
        if allowed and r.epoch == 1:
            counts[given if given in allowed else allowed[0], given] += 1
    out: dict[Decision, list[Cell]] = {}
    for expected in Decision:
        of = sum(counts[expected, given] for given in Decision)
        out[expected] = []
        for given in Decision:
            kind = "good" if given is expected else "bad" if given is Decision.ANSWER else "held"
            out[expected].append(Cell(counts[expected, given], counts[expected, given] / max(1, of), kind))
    return out


def _tallies(run: Run) -> list[Tally]:
    """Every suite that was asked for or has a result, in the order that the case files know them."""
    order: tuple[str, ...] = get_args(Suite)
    asked = {*run.info.suites, *(r.case.suite for r in run.results)}
    names = sorted(asked, key=lambda s: (order.index(s) if s in order else len(order), s))
    numbers: Counter[str] = Counter()
    tallies: list[Tally] = []
    for name in names:
        own = [r for r in run.results if r.case.suite == name]
        came = Counter(r.outcome for r in own if r.epoch == 1)
        failures: list[Failure] = []
        for r in own:
            if r.outcome != "right":
                numbers[r.case.id] += 1
                failures.append(_failure(r, numbers[r.case.id]))
        tallies.append(Tally(name, came.total(), came["right"], came["wrong"], came["withheld"], tuple(failures)))
    return tallies


def _failure(result: Result, number: int) -> Failure:
    case, reply = result.case, result.reply
    sure, threshold = reply.confidence, reply.threshold
    sign = "≥" if sure >= threshold else "<"
    return Failure(
        result,
        f"{case.id}~{number}" if number > 1 else case.id,
        why(result),
        _facts(case, reply),
        tuple(bad for bad in case.forbidden if folded(bad) in folded(reply.text)),
        _pair(sure, sign, threshold) if math.isfinite(sure) else f"{NOT_AVAILABLE}, threshold {threshold:.2f}",
        case.suite == "quote",
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return NOT_AVAILABLE if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def _number(value: float | None, digits: int = 3) -> str:
    return NOT_AVAILABLE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _plain(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def _date(created: str) -> str:
    """21 November 2026, 08:52 UTC; what is no date stays as it is."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    when = when.astimezone(UTC) if when.tzinfo else when
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
