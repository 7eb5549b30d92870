"""Reads a question: what it asks about, which kind of answer it wants, and whether it can stand alone."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from persona.followups import resume
from persona.leaning import Leaning, Marks
from persona.spelling import Spelling
from persona.text import STOPWORDS, clean, stem, terms, unique, words
from persona.types import Question, Turn


class AnswerKind(enum.StrEnum):
    """The kind of thing that would answer (after Li & Roth, "Learning question classifiers", COLING 2002)."""

    NUMBER = "number"
    TIME = "time"
    PERSON = "person"
    PLACE = "place"
    REASON = "reason"
    MANNER = "manner"
    YES_NO = "yes_no"
    DEFINITION = "definition"
    OTHER = "other"


_KINDS: tuple[tuple[AnswerKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.I))
    for kind, pattern in (
        (
            AnswerKind.TIME,
            r"^\W*(?:\w+ ){0,2}(?:since |until |from |by )?when\b|\bwhen (?:did|was|were|is|will|does|do|exactly)\b|\b(?:what|which) (?:year|date|month|day|decade|time)\b|\bhow long ago\b|\bhow (?:soon|recently)\b"
            r"|\bwhat(?:'s| is| was) the date\b|\byear\s*\?*$",
        ),
        (
            AnswerKind.NUMBER,
            r"\bhow (?:many|much|often|big|large|long|fast|far|old|high|tall|deep|small|accurate|expensive|well did)\b"
            r"|\b(?:what|which) (?:percentage|percent|share|fraction|number|amount|size|score|proportion|cost|price|count)\b"
            r"|\bnumber of\b|\bpercentage of\b",
        ),
        (
            AnswerKind.PERSON,
            r"^\W*(?:\w+ ){0,3}who(?:se|m|s|'s)?\b|\bwho (?:is|was|did|does|were|are)\b|\b(?:what|which) (?:\w+ )?(?:person|people|researcher"
            r"|student|professor|scientist|engineer|author|supervisor|advisor|founder|guest|host|inventor|colleague|guy|name)s?\b|\bname of the (?:person|researcher|student|professor|guy)\b",
        ),
        (
            AnswerKind.PLACE,
            r"\bwhere\b|\b(?:what|which) (?:place|city|country|university|school|lab|company|state|town|venue|website|site)\b",
        ),
        (
            AnswerKind.REASON,
            r"\bwhy\b|\bhow come\b|\bwhat (?:made|makes|caused|causes|reason|drove|motivated)\b|\breason\b",
        ),
        (AnswerKind.MANNER, r"^\W*(?:and |so |but |ok |well |hey )*how\b|\bin what way\b|\bby what means\b"),
        (
            AnswerKind.YES_NO,
            r"^\W*(?:and |so |but |ok |well |hey )*(?:is|are|was|were|do|does|did|can|could|will|would|has|have|had|should"
            r"|isn't|aren't|doesn't|don't|didn't|won't)\b",
        ),
        (AnswerKind.DEFINITION, r"\bwhat(?:'s| is| are| was| were|s)\b|\bdefine\b|\bmeaning of\b|\bexplain\b"),
    )
)

_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|theirs|both of|of the two(?=\W*$| (?:is|was|are|were|do|does|did|has|said|works?)))\b",
    re.I,
)
# "that" and its like point outside only at the end or right after a verb or preposition; elsewhere they open a clause.
_POINTER = re.compile(
    r"\b(?:that|this|these|those|the former|the latter)\W*$|\b(?:before|after|since|until|back) then\b"
    r"|\b(?:is|was|are|were|does|did|do|can|could|will|would|has|had|about|with|of|for|from|on|by|after|before|than|to)"
    r"\s+(?:that|this|these|those)(?:\s+ones?)?\b(?!\s+(?:the|a|an|you|he|we|people)\b)",
    re.I,
)
_ELLIPSIS = re.compile(
    r"^\W*+(?:(?:and|but|so|or|also|ok|okay|then)\W*+)?(?:why|how so|how come|how|when|where|who|what|which|really|since when"
    r"|what about|how about|what else|anything else|for example|such as|like what|go on|tell me more|more|continue"
    r"|elaborate|can you elaborate|could you elaborate|explain|say more|what happened next|what next|what then|and then"
    r"|the (?:first|second|third|other|last|next|same)(?: one| thing| part| reason)?|what do you mean(?: by that)?"
    r"|why not|why is that|how is that|is that so|in what way|can you explain|could you explain)\b\W*+$",
    re.I,
)
_LEAD_IN = re.compile(r"^\W*(?:and|but|so|or|also|ok so|what about|how about|then)\b", re.I)
# "it" that stands for nothing: "is it true that", "what does it take to", "who was it that".
_EXPLETIVE = re.compile(
    r"\b(?:is|was|isn't|would|does|did|make|makes|made) it (?:\w+ )?(?:true|possible|fair|correct|right|clear|obvious|ok|okay|safe"
    r"|easy|hard|difficult|important|necessary|enough|better|worth|feel|sense|mean|seem|matter|about|the case|that|only|just|really)\b"
    r"|\bit (?:is|was|'s) (?:true|possible|clear|said)\b|\bit (?:take|takes|took|cost|costs|require|requires)\b.{0,200}\bto\b"
    r"|\b(?:is|was|will|would) it (?:\w+ ){1,2}(?:to|that|if|when|or)\b"
    r"|\bwhat (?:was|is) it like (?:to|for|when)\b|\b(?:what time|whose \w+) (?:is|was) it\b"
    r"|\b(?:take|takes|took) it for granted\b|\b(?:put|make|made|get|got) it\b",
    re.I,
)


MAX_TURN = 4000  # characters of an earlier turn that are read, as many as of a question
EARLIER = 3  # questions before this one that it may be about
SHORT = 4  # content words of a turn that "and" or "what about" makes a follow-up
MAX_DANGLING_TERMS = 6  # a longer question says enough to be looked up even if it points somewhere


@dataclass(frozen=True, slots=True)
class Analysis:
    """A question, read.

    ``dense`` is what is embedded and ``lexical`` what is matched by words; ``terms`` are the stems asked about, ``context``
    those that only the conversation gives; ``names`` are names and numbers, which an answer can't do without; ``talks`` and
    ``speakers`` are those that the question confines itself to.
    """

    text: str
    dense: str
    lexical: str
    kind: AnswerKind
    terms: tuple[str, ...]
    context: tuple[str, ...]
    names: tuple[str, ...]
    focus: tuple[str, ...]
    talks: tuple[str, ...]
    speakers: tuple[str, ...]
    dangling: bool
    followed_up: bool
    resumes: bool = False  # the text answers or doubts what the bot said: it is no matter of its own
    picks: bool = False  # it answers a question back


class Analyser:
    """Reads questions to one persona: `repair` mends names, `speaker` and its short names are "you"."""

    def __init__(
        self,
        repair: Callable[[str], str],
        own_names: Sequence[str],
        acronyms: Mapping[str, str],
        spelling: Spelling | None = None,
        talks: Mapping[str, Sequence[str]] | None = None,
        speakers: Sequence[str] = (),
        leaning: Leaning | None = None,
    ) -> None:
        """`talks` gives for each talk the names by which a question may mean it, `speakers` those who speak; `leaning` tells
        follow-ups that no form gives away."""
        self.leaning = leaning
        self._repair = repair
        self._acronyms = acronyms
        self._spelling = spelling
        self._talks = {id_: _any_of(cues) for id_, cues in (talks or {}).items() if cues}
        self._speakers = {name: _any_of(name.split()) for name in speakers if name not in own_names}
        names = sorted({n for name in own_names for n in (name, *name.split())}, key=len, reverse=True)
        joined = "|".join(re.escape(n) for n in names)
        self._own = re.compile(rf"\b(?:{joined})(?:['’]s)?\b", re.I)
        self._own_stems = {stem(w) for name in own_names for w in words(name)}

    def read(self, question: Question) -> Analysis:
        """The analysis of a question in its conversation."""
        text = self._spelled(clean(self._repair(question.text)))
        history = [Turn(role=t.role, content=clean(t.content[:MAX_TURN])) for t in question.history]
        said = [set(terms(t.content)) for t in history]
        asked = self._last_asked(history, said)
        back = resume(history, text)
        dangling = dangles(text)
        follow = bool(asked) and (back is not None or self._leans(text, said))
        before = self._spelled(clean(self._repair(asked))) if follow else ""
        if back is not None:
            again = self._spelled(clean(self._repair(back.asked)))
            text, before = (back.picked, again) if back.picked else (again, "")
        own = self._own.sub(" ", text)
        talks = [id_ for id_, cue in self._talks.items() if cue.search(f"{before} {text}")]
        speakers = [name for name, cue in self._speakers.items() if cue.search(text)]
        cues = [self._talks[id_] for id_ in talks] + [self._speakers[name] for name in speakers]
        aside = {stem(w) for cue in cues for m in cue.finditer(f"{before} {text}") for w in words(m[0])}
        own_terms = [t for t in unique(terms(own)) if t not in self._own_stems and t not in aside]
        context = [
            t for t in unique(terms(self._own.sub(" ", before))) if t not in own_terms and t not in self._own_stems
        ]
        # What was asked before is answered already: only its topic is taken over where this turn asks for something itself.
        topic = _topic_of(before) if back is None and own_terms else before
        expanded = self._expand(f"{topic} {text}".strip())
        return Analysis(
            text=text,
            dense=self._topic(expanded),
            lexical=self._own.sub(" ", expanded),
            kind=kind_of(before) if before and not own_terms else kind_of(text),
            terms=tuple(own_terms),
            context=tuple(context),
            names=tuple(n for n in _names(own) if n not in aside),
            focus=tuple(_focus(text)),
            talks=tuple(talks) if len(talks) == 1 else (),
            speakers=tuple(speakers),
            dangling=dangling and not follow,
            followed_up=follow,
            resumes=back is not None,
            picks=back is not None and bool(back.picked),
        )

    def _leans(self, text: str, said: Sequence[Collection[str]]) -> bool:
        """Whether a turn is about what was said before it (the terms of each turn), by its form or by its words."""
        return (
            dangles(text)
            or (points_back(text) and not _has_antecedent(text))
            or (bool(_LEAD_IN.match(text)) and len(terms(text)) <= SHORT)
            or (self.leaning is not None and self.leaning.leans(text, said, marks_of(text)))
        )

    def _last_asked(self, history: Sequence[Turn], said: Sequence[Collection[str]]) -> str:
        """The last question of the conversation that can stand alone, with the follow-ups since."""
        places = [i for i, turn in enumerate(history) if turn.role == "user"][-EARLIER:]
        start = next((i for i in reversed(places) if not self._leans(history[i].content, said[:i])), 0)
        return " ".join(history[i].content for i in places if i >= start)

    def _spelled(self, text: str) -> str:
        return self._spelling.correct(text) if self._spelling else text

    def _topic(self, text: str) -> str:
        """The text without the speaker's name: it stands in every second sentence of a summary and says nothing."""
        topic = clean(self._own.sub("you", text))
        return topic or text

    def _expand(self, text: str) -> str:
        """The text with the long form of every acronym that the corpus itself spells out."""
        more = [self._acronyms[w] for w in unique(re.findall(r"[A-Za-z]+", text)) if w in self._acronyms]
        more += [long for long in (self._acronyms.get(w.upper()) for w in text.split() if not w.isupper()) if long]
        return f"{text} ({'; '.join(unique(more))})" if more else text


def _any_of(cues: Sequence[str]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(re.escape(c) for c in cues) + r")(?:['’]s)?\b", re.I)


def kind_of(text: str) -> AnswerKind:
    """The kind of answer that a question wants."""
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), AnswerKind.OTHER)


def dangles(text: str) -> bool:
    """Whether a question points at something outside itself ("why did it work?", "and the second one?")."""
    if _ELLIPSIS.match(text):
        return True
    if points_back(text):
        content = [w for w in words(text) if w not in STOPWORDS]
        return len(content) <= MAX_DANGLING_TERMS and not _has_antecedent(text)
    return False


def points_back(text: str) -> bool:
    """Whether the question has a word that may stand for something said before."""
    plain = _EXPLETIVE.sub(" ", text)
    return bool(_PRONOUN.search(plain) or _POINTER.search(plain))


def marks_of(text: str) -> Marks:
    """The words of a question that may point outside it."""
    plain = _EXPLETIVE.sub(" ", text)
    pronoun, pointer = bool(_PRONOUN.search(plain)), bool(_POINTER.search(plain))
    return Marks(
        lead_in=bool(_LEAD_IN.match(text)),
        pronoun=pronoun,
        pointer=pointer,
        antecedent=(pronoun or pointer) and _has_antecedent(text),
        ellipsis=bool(_ELLIPSIS.match(text)),
    )


def _has_antecedent(text: str) -> bool:
    """Whether enough stands before the first pronoun: "what is attention and why does it work"; before "its" one word of
    content, "where does the Bronx get its name from"."""
    plain = _EXPLETIVE.sub(" ", text)
    first = min((m for m in (_PRONOUN.search(plain), _POINTER.search(plain)) if m), key=lambda m: m.start())
    before = [w for w in words(plain[: first.start()]) if w not in STOPWORDS]
    return len(before) >= (1 if first[0].lower() in ("its", "their") else 2)


def _topic_of(asked: str) -> str:
    """The words of a question that say what it is about, in their order, as a heading: "GPT-4, vision:"."""
    content = [w.strip('.,;:!?"“”()') for w in asked.split() if any(part not in STOPWORDS for part in words(w))]
    return f"{' '.join(unique(w for w in content if w))}:" if content else ""


_CAPITAL = re.compile(r"(?<![.?!]\s)(?<!^)\b(?:[A-Z][a-z]+[A-Z]?\w*|[A-Z]{2,}\w*)(?:['’]s)?\b")
_NUMBER = re.compile(r"\b\d[\d.,]*%?\b")
_CASUAL = {"I", "I'm", "OK", "LLM", "LLMs", "AI", "ML", "NN", "NNs"}


def _names(text: str) -> list[str]:
    """Stems of proper names within the text (not at its start, where every word has a capital) and of numbers."""
    found = [w for w in _CAPITAL.findall(text) if w not in _CASUAL] + _NUMBER.findall(text)
    return unique(stem(w) for token in found for w in words(token) if w not in STOPWORDS)


_COUNTED = re.compile(
    r"\bhow (?:many|much)\s+((?:\w+[\s-]+){0,3}?\w+)(?=\s+(?:do|does|did|is|are|was|were|can|could|will|would|has|have|had|it|in|to|for|of|on|there|you|he|they|people|should)\b|\W*$)",
    re.I,
)
_WHICH = re.compile(
    r"\b(?:what|which)\s+((?:\w+[\s-]+){0,2}?\w+)(?=\s+(?:do|does|did|is|are|was|were|can|could|will|would|has|have|had|in|to|for|of|on|you|he|they)\b)",
    re.I,
)


def _focus(text: str) -> list[str]:
    """Stems of the noun that is counted or chosen: "cards" in "how many GTX 580 cards"."""
    for pattern in (_COUNTED, _WHICH):
        if match := pattern.search(text):
            nouns = [w for w in words(match[1]) if w not in STOPWORDS]
            return [stem(w) for w in nouns[-1:]]
    return []


_DEFINED = re.compile(r"\b((?:[A-Za-z][\w-]{0,40}[ ]){1,7})\(([A-Z][A-Za-z]{1,6}?)s?\)")


def acronyms(texts: Sequence[str]) -> dict[str, str]:
    """Acronyms that the texts spell out themselves, as in "Generative Adversarial Networks (GANs)"."""
    out: dict[str, str] = {}
    for text in texts:
        for match in _DEFINED.finditer(text):
            letters = [c.lower() for c in match[2]]
            parts = match[1].split()
            for size in range(2, len(parts) + 1):
                tail = parts[-size:]
                if _spells([w for part in tail for w in part.split("-")], letters):
                    out.setdefault(match[2].upper(), " ".join(tail))
                    break
    return out


def _spells(parts: list[str], letters: list[str]) -> bool:
    """Whether the initials of the parts, small words aside, are the letters."""
    initials = [p[0].lower() for p in parts if p and p.lower() not in ("and", "of", "the", "from", "in", "for")]
    return initials == letters and parts[0][:1].lower() == letters[0]
