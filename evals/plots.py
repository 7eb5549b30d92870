"""The two plots of a report, each as inline SVG that takes the page's colours and as a PNG of its own."""

# matplotlib's type information is partial.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evals.metrics import Bin, RiskCoverage, reliability, risk_coverage, wilson
from evals.run import ANSWERS
from evals.runs import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Answers(NamedTuple):
    """The answers to answerable and unanswerable questions that a confidence decided about.

    `confidence` and `right` are of these answers, of `asked` questions; `left_out` had no number for a confidence.
    """

    confidence: tuple[float, ...]
    right: tuple[float, ...]
    asked: int
    left_out: int

    @property
    def curve(self) -> RiskCoverage:
        """Risk against coverage, the most confident answers first."""
        return risk_coverage(self.confidence, [1 - r for r in self.right], of=self.asked)

    @property
    def bins(self) -> list[Bin]:
        """The bars of the reliability diagram."""
        return reliability(self.confidence, self.right)


def answers(results: Sequence[Result]) -> Answers:
    """What both plots show, picked as `evals.run.measures` picks it: of the first epoch."""
    both = [r for r in results if r.epoch == 1 and (r.case.suite == "answerable" or r.case.unanswerable)]
    given = [r for r in both if r.reply.reason in ANSWERS]
    sure = [r for r in given if math.isfinite(r.reply.confidence)]
    return Answers(
        tuple(r.reply.confidence for r in sure),
        tuple(float(r.outcome == "right") for r in sure),
        len(both),
        len(given) - len(sure),
    )


# Drawn in units that a phone shows about one to one, so that 11 stays readable there.
WIDTH, LEFT, RIGHT, TOP, TALL = 380, 42, 12, 30, 216
ACROSS = WIDTH - LEFT - RIGHT


class _Scale(NamedTuple):
    """The vertical axis: where it ends and how far apart its ticks are."""

    top: float
    step: float

    @property
    def ticks(self) -> list[float]:
        return [i * self.step for i in range(round(self.top / self.step) + 1)]


_SCALES = (_Scale(0.1, 0.02), _Scale(0.2, 0.05), _Scale(0.5, 0.1), _Scale(1.0, 0.25))
_WHOLE = _Scale(1.0, 0.25)


def _scale(risks: Sequence[float]) -> _Scale:
    """The tightest axis that holds every risk."""
    return next((s for s in _SCALES if max(risks, default=0.0) <= s.top), _WHOLE)


def _x(share: float) -> str:
    return f"{LEFT + ACROSS * share:.1f}"


def _y(share: float, scale: _Scale) -> str:
    return f"{TOP + TALL * (1 - share / scale.top):.1f}"


def _text(x: str | float, y: str | float, text: str, anchor: str = "start", kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{marked}>{text}</text>'


def _frame(name: str, height: int, title: str, said: str, above: str, below: str, scale: _Scale) -> list[str]:
    """An SVG's opening: names for those who can't see it, grid lines, ticks and what the axes measure."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{name}-title {name}-said">',
        f'<title id="{name}-title">{title}</title><desc id="{name}-said">{said}</desc>',
        _text(0, 12, above, kind="axis"),
        _text(WIDTH - RIGHT, height - 4, below, "end", "axis"),
    ]
    for tick in scale.ticks:
        y = _y(tick, scale)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, float(y) + 3.5, f"{tick:.0%}", "end"))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "end" if tick == 1 else "middle"
        parts.append(_text(_x(tick), TOP + TALL + 16, f"{tick:.0%}", anchor))
    return parts


RISK_TITLE = "Risk against coverage"
RISK_ABOVE = "share of the answers given that are wrong (risk)"
RISK_BELOW = "share of the questions answered (coverage)"
RELIABILITY_TITLE = "Reliability of the confidence"
RELIABILITY_ABOVE = "share of the answers that are right"
RELIABILITY_BELOW = "confidence"


def risk_coverage_svg(found: Answers, threshold: float) -> str:
    """The curve as SVG; its last point is the run's own threshold. Empty for a run without answers."""
    coverage, risk, _ = (tuple(map(float, part)) for part in found.curve)
    if not coverage:
        return ""
    scale = _scale(risk)
    last, wrong = coverage[-1], risk[-1]
    said = (
        f"At the threshold {threshold:.2f}, {last:.0%} of the questions are answered and {wrong:.0%} of these answers"
        f" are wrong. Answering only the most confident {coverage[len(coverage) // 2]:.0%},"
        f" {risk[len(risk) // 2]:.0%} are wrong."
    )
    parts = _frame("risk", TOP + TALL + 36, RISK_TITLE, said, RISK_ABOVE, RISK_BELOW, scale)
    steps = f"M{_x(0)} {_y(risk[0], scale)}" + "".join(
        f"V{_y(r, scale)}H{_x(c)}" for c, r in zip(coverage, risk, strict=True)
    )
    parts.append(f'<path class="area" d="{steps}V{_y(0, scale)}H{_x(0)}Z"/><path class="line" d="{steps}"/>')
    parts.append(f'<circle class="dot" cx="{_x(last)}" cy="{_y(wrong, scale)}" r="4"/>')
    # Beside the point where the rest of the axis is empty; under the curve, or over a low one, where it isn't.
    beside, high = last < 0.7, wrong / scale.top > 0.3
    x, anchor = (LEFT + ACROSS * last + (10 if beside else 0), "start" if beside else "end")
    y = float(_y(wrong, scale)) + (-10 if beside else 20 if high else -40)
    y = min(max(y, TOP + 12), TOP + TALL - 36)
    for line, words in enumerate((f"threshold {threshold:.2f}", f"{last:.0%} answered", f"{wrong:.0%} wrong")):
        parts.append(_text(f"{x:.1f}", f"{y + 14 * line:.1f}", words, anchor, "note"))
    return "".join(parts) + "</svg>"


def reliability_svg(found: Answers) -> str:
    """The diagram as SVG, with the count of answers under each bar. Empty for a run without answers."""
    if not found.confidence:
        return ""
    bins = found.bins
    said = "; ".join(
        f"confidence {b.low:.1f} to {b.high:.1f}: {b.right:.0%} of {b.cases} right" for b in bins if b.right is not None
    )
    parts = _frame("bars", TOP + TALL + 56, RELIABILITY_TITLE, said + ".", RELIABILITY_ABOVE, RELIABILITY_BELOW, _WHOLE)
    parts.append(_text(0, TOP + TALL + 36, "n", kind="count"))
    for b in bins:
        middle = (b.low + b.high) / 2
        parts.append(_text(_x(middle), TOP + TALL + 36, str(b.cases), "middle", "count"))
        if b.right is None or b.confidence is None:
            continue
        x, wide, y = LEFT + ACROSS * b.low + 2, ACROSS / len(bins) - 4, _y(b.right, _WHOLE)
        parts.append(
            f'<rect class="column" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{TALL * b.right:.1f}" rx="1.5"/>'
        )
        interval = wilson(round(b.right * b.cases), b.cases)
        if interval is not None:
            parts.append(
                f'<path class="reach" d="M{_x(b.confidence)} {_y(interval.low, _WHOLE)}V{_y(interval.high, _WHOLE)}"/>'
            )
    parts.append(f'<path class="ideal" d="M{_x(0)} {_y(0, _WHOLE)}L{_x(1)} {_y(1, _WHOLE)}"/>')
    for b in bins:
        if b.right is not None and b.confidence is not None:
            parts.append(f'<circle class="dot" cx="{_x(b.confidence)}" cy="{_y(b.right, _WHOLE)}" r="3"/>')
    return "".join(parts) + "</svg>"


INK, QUIET, RULE, EMBER, TINT = "#1f1c19", "#5f5a54", "#e3ded7", "#a8421c", "#f0d9cd"


@contextmanager
def _page(path: Path, title: str, subtitle: str) -> Generator[Axes]:
    """Axes to draw on; written to `path` afterwards. The same drawing gives the same bytes, whatever the user's own
    matplotlib settings are: the style is the default one, and no program or time is named in the file."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(6.4, 4.8), dpi=200, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.1, 0.16, 0.86, 0.62))
        figure.text(0.03, 0.935, title, fontsize=14, color=INK, weight="bold")
        figure.text(0.03, 0.885, subtitle, fontsize=9.5, color=QUIET, parse_math=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(QUIET)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=QUIET, length=0, labelsize=9, pad=6)
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
        yield axes
        figure.savefig(path, dpi=200, metadata={"Software": None})


def _named(axes: Axes, above: str, below: str, scale: _Scale) -> None:
    axes.set_ylim(0, scale.top)
    axes.set_yticks(scale.ticks)
    axes.set_title(above, x=-0.081, loc="left", fontsize=9.5, color=QUIET, pad=10)
    axes.set_xlabel(below, fontsize=9.5, color=QUIET, loc="right")


def _nothing(axes: Axes) -> None:
    axes.text(0.5, _WHOLE.top / 2, "n/a: no answer was given", ha="center", va="center", fontsize=12, color=QUIET)


def risk_coverage_png(found: Answers, threshold: float, subtitle: str, path: Path) -> Path:
    """Writes the curve as a PNG."""
    curve = found.curve
    coverage, risk = [float(c) for c in curve.coverage], [float(r) for r in curve.risk]
    scale = _scale(risk) if risk else _WHOLE
    with _page(path, RISK_TITLE, subtitle) as axes:
        _named(axes, RISK_ABOVE, RISK_BELOW, scale)
        if not coverage:
            _nothing(axes)
            return path
        x, y = [0.0, *coverage], [risk[0], *risk]
        axes.fill_between(x, y, step="pre", color=TINT, linewidth=0)
        axes.step(x, y, where="pre", color=EMBER, linewidth=1.6)
        axes.plot(x[-1:], y[-1:], "o", color=EMBER, markersize=6, clip_on=False)
        beside, high = x[-1] < 0.7, y[-1] / scale.top > 0.3
        axes.annotate(
            f"threshold {threshold:.2f}\n{x[-1]:.0%} answered\n{y[-1]:.0%} wrong",
            (x[-1], y[-1]),
            xytext=(10 if beside else 0, 0 if beside and high else -10 if high else 10),
            textcoords="offset points",
            ha="left" if beside else "right",
            va="bottom" if not high else "center" if beside else "top",
            fontsize=9.5,
            color=INK,
        )
    return path


def reliability_png(found: Answers, subtitle: str, path: Path) -> Path:
    """Writes the reliability diagram as a PNG."""
    with _page(path, RELIABILITY_TITLE, subtitle) as axes:
        _named(axes, RELIABILITY_ABOVE, RELIABILITY_BELOW, _WHOLE)
        if not found.confidence:
            _nothing(axes)
            return path
        axes.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
        for b in found.bins:
            middle = (b.low + b.high) / 2
            axes.text(middle, -0.125, str(b.cases), ha="center", va="center", fontsize=9, color=QUIET)
            interval = None if b.right is None else wilson(round(b.right * b.cases), b.cases)
            if b.right is None or b.confidence is None or interval is None:
                continue
            axes.bar(middle, b.right, width=0.088, color=TINT)
            axes.plot([b.confidence, b.confidence], [*interval], color=QUIET, linewidth=1)
            axes.plot([b.confidence], [b.right], "o", color=EMBER, markersize=5, clip_on=False)
        axes.text(-0.055, -0.125, "n", ha="center", va="center", fontsize=9, color=QUIET)
        axes.xaxis.labelpad = 20
    return path
