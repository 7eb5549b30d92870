"""Tells a question about the talks from everything else that is typed at a bot: questions about the bot itself,
greetings, and attempts to make it speak as somebody, invent quotations, or drop its task.

A linear model on the text's embedding and on a few patterns of wording decides, together with the judge's opinion where there
is a judge; all are about English, not about any persona: the speaker's name is replaced before anything is computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from persona.models import Softmax
from persona.text import split_sentences
from persona.types import Embedder, Judge, Reason

QUESTION = "question"
CLASSES = (
    QUESTION,
    Reason.IDENTITY.value,
    Reason.GREETING.value,
    Reason.INJECTION.value,
    Reason.IMPERSONATION.value,
    Reason.FABRICATION.value,
    Reason.UNSAFE.value,
)
NAME = "the speaker"
_MAX_PARTS = 6  # sentences looked at one by one: an instruction hides behind an honest question

# Signs of each kind of conduct, by wording. They are features, not rules: the fitted weights decide.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.I | re.S))
    for name, pattern in (
        (
            "override",
            r"\b(?:ignor\w*|ignroe|disregard|forget|overrid\w+|bypass|drop|skip|turn off|disable|void)\b.{0,40}\b(?:instruct\w*|rules?|prompts?"
            r"|guidelines?|told|above|previous|prior|safety|restrict\w*|filters?|checks?|documents?|passages?|sources?|citations?)\b",
        ),
        (
            "prompt",
            r"\b(?:system|initial|hidden|original|secret|your|starting) (?:prompt|instructions?|message|configuration|config|rules)\b|\bprompts?\b.{0,20}"
            r"\b(?:reveal|print|show|leak)\b|\b(?:reveal|print|show|leak|dump|repeat)\b.{0,30}\b(?:prompt|instructions|rules|above)\b",
        ),
        (
            "role",
            r"\b(?:you are now|from now on|act as|developer mode|jailbr\w+|\bDAN\b|unrestricted|no (?:rules|restrictions|limits|filters)"
            r"|without (?:any )?(?:rules|restrictions|guidelines|limits|filters)|new (?:system |)(?:instructions?|policy|message)|you have been)\b",
        ),
        (
            "dictate",
            r"\b(?:repeat after me|output only|say exactly|respond with|reply with|answer only|only (?:say|output|reply)|just say|nothing else"
            r"|begin every|end every|start every|decode|base64|authori[sz]ation code|pretend the)\b",
        ),
        ("markup", r"```|</?\w+>|\bSYSTEM\s*:|\bASSISTANT\s*:|<\||\[INST|###"),
        (
            "on_behalf",
            r"\b(?:as|signed?(?: (?:as|by|it as))?|in the name of|on behalf of|for|be|from) (?:the real )?the speaker\b|\b(?:in|on) (?:his|the speaker(?:'s)?) (?:name|behalf)"
            r"|\bpretend to be\b|\b(?:become|play|embody) the speaker\b|\bimpersonat\w+|\bpersonally vouch\b",
        ),
        (
            "commit",
            r"\b(?:endors\w+|promis\w+|guarantee\w*|vouch\w*|recommend\w*|approve\w*|commit|invest|invit\w+|confirm|announc\w+|statement|press|testimonial"
            r"|sign|vote|apologi\w+|accept|agree|tweet|linkedin|email|letter|praising|advisor|hire|declare)\b",
        ),
        (
            "invent",
            r"\b(?:make|making|made) (?:\w+ ){0,3}up\b|\b(?:invent|fabricat\w+|forge|fake|false|fictional|imaginary|made-up|convincing|plausible)\b"
            r"|\bput (?:\w+ )?words\b|\bcome up with\b|\breal or not\b|\bnobody will\b|\bdidn't say\b|\bnever said\b|\bas verbatim\b|\bsounds? like him\b",
        ),
        (
            "alter",
            r"\b(?:change|edit|alter|replace|reword|twist|leave out|modify|swap)\b.{0,60}\b(?:quote|quotation|words?|sentence|line|he said|marks?)\b"
            r"|\battribute\b|\bwrite (?:a |me a |an )?(?:\w+ )?quote\b|\bquotes? (?:him|where he|in which he|saying|from him)\b",
        ),
        ("quotation", r"\b(?:quot\w+|citation|cite|time ?stamp|verbatim|transcript)\b"),
        (
            "order",
            r"^\W*(?:please |now |ok |nice\W+ )?(?:write|give|say|tell|post|make|put|print|show|create|draft|generate|compose|sign)\b",
        ),
        (
            "bot",
            r"\b(?:you|u|this|your)\b.{0,25}\b(?:bot|human|robot|machine|real person|person|chatgpt|language model|official|affiliated|program|software)\b"
            r"|\b(?:who|what) (?:are|r) (?:you|u)\b|\byour (?:answers?|purpose|sources?|limits?|knowledge|data|name|creator)\b"
            r"|\b(?:who|what) (?:made|built|created|trained|powers) (?:you|this)\b|\bthis (?:bot|channel|chat|thing)\b|\bam i (?:talking|speaking|chatting)\b|\b(?:is|are) (?:this|you) (?:really|actually|truly)?\s*(?:the real )?the speaker\b",
        ),
        (
            "greets",
            r"^\W*(?:hi+|hey+|hello+|yo|sup|howdy|greetings|good (?:morning|evening|afternoon|night|day)|morning|thanks?|thank you|thx|ty|cheers|bye|goodbye"
            r"|see (?:you|ya)|cya|gn|welcome|what'?s up|how are you|how's it going|nice to meet|hola|hallo|bonjour|ciao)\b",
        ),
        (
            "asks",
            r"^\W*(?:and |so |but |ok |well |hey )*(?:what|why|how|when|where|who|which|is|are|was|were|do|does|did|can|could|would|should|has|have)\b",
        ),
        (
            "harm",
            r"\b(?:kill|murder|bomb|explosive|weapon|poison|malware|virus|ransomware|hack|phish\w*|stalk|dox\w*|harass\w*|suicide|hurt|harm|attack|steal"
            r"|self-harm|die|home address|drugs?|meth|shoot|stab|bully|blackmail|threat\w*|insult|slur|overdose|password|credit card|gun)\b",
        ),
    )
)


def neutral(text: str, own_names: re.Pattern[str]) -> str:
    """The text with the speaker's name replaced, so that the model learns no name."""
    return own_names.sub(NAME, text)


def own_name_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the speaker's names, longest first."""
    ordered = sorted(names, key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(re.escape(n) for n in ordered) + r")\b", re.I)


def conduct_vector(text: str, embedding: Sequence[float]) -> list[float]:
    """What the model sees: the embedding, one number per pattern, and the length in words (log10)."""
    signs = [float(bool(p.search(text))) for _, p in PATTERNS]
    length = len(text.split())
    return [*embedding, *signs, float(length <= 3), float(length > 25)]


class Conduct:
    """Classifies texts for one persona."""

    def __init__(self, model: Softmax, embedder: Embedder, names: Sequence[str], judge: Judge | None = None) -> None:
        self._model = model
        self._embedder = embedder
        self._judge = judge
        self._own = own_name_pattern(names)

    def texts(self, text: str) -> list[str]:
        """What of a text is embedded: the whole, and where it has several sentences each of the first ones."""
        plain = neutral(text, self._own)
        parts = split_sentences(plain)[:_MAX_PARTS]
        return [plain, *parts] if len(parts) > 1 else [plain]

    def classify(self, text: str) -> Found:
        """What kind of conduct the text most looks like, a question about the talks aside, and how much so.

        A text of several sentences is also read sentence by sentence, for declining only.
        """
        texts = self.texts(text)
        vectors = self._embedder.embed(texts)
        rows = [self._model.probabilities(conduct_vector(t, v)) for t, v in zip(texts, vectors, strict=True)]
        if self._judge:
            rows = [_between(a, b) for a, b in zip(rows, self._judge.kinds(texts), strict=True)]
        found = max(_likeliest(rows[0], DECLINED), _likeliest(rows[0], ANSWERED), key=lambda f: f.probability)
        for row in rows[1:]:
            part = _likeliest(row, DECLINED)
            # One sentence of an honest question must look much worse to decline the whole.
            if part.probability >= max(SURE_PART, found.probability):
                found = part
        return found


def _between(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The mean of two opinions: they err on different texts."""
    return {kind: (share + second.get(kind, 0.0)) / 2 for kind, share in first.items()}


def _likeliest(row: dict[str, float], kinds: Sequence[str]) -> Found:
    """The likeliest of some kinds, with the probability that it is any of them: they lead to the same decision."""
    return Found(Reason(max(kinds, key=lambda c: row.get(c, 0.0))), sum(row.get(c, 0.0) for c in kinds))


class Found(NamedTuple):
    """The likeliest conduct, and the probability of the decision that it leads to."""

    reason: Reason
    probability: float

    @property
    def sure(self) -> bool:
        """Whether it decides by itself, whatever the talks hold."""
        return self.probability >= SURE

    def outweighs(self, answer: float | None, *, vague: bool = False, unresolved: bool = False) -> bool:
        """Whether it decides, given the confidence of the answer that the talks hold; None if they hold none.

        `vague`: the question has several senses in the talks, as most that are put to the bot itself have. `unresolved`: it
        points at something that nobody named; "why does it work?" is not about the bot.
        """
        if answer is not None:
            return self.probability >= max(CONTESTS, answer)
        if self.reason.value in DECLINED or vague:
            return self.probability >= LIKELY
        return not unresolved and self.probability >= LIKELY_ANSWERED


SURE = 0.5
SURE_PART = 0.7
LIKELY = 0.25
LIKELY_ANSWERED = 0.45  # "I am a bot" is the wrong thing to say to a question that the talks leave open
CONTESTS = 0.4
ANSWERED = (Reason.IDENTITY.value, Reason.GREETING.value)
DECLINED = (
    Reason.INJECTION.value,
    Reason.IMPERSONATION.value,
    Reason.FABRICATION.value,
    Reason.UNSAFE.value,
)
