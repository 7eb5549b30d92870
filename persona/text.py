"""Words, stems and sentences: the small text functions that every step shares."""

# PyStemmer ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import Stemmer

_STEMMER = Stemmer.Stemmer("english")
_WORD = re.compile(r"\d+(?:[.,]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)?")
_SPACE = re.compile(r"\s+")
# Of a run of signs, that many say all that it says. Patterns that begin with \W* try each place of a longer one, again and
# again: four thousand quotation marks took them ten seconds.
_SIGNS = re.compile(r"(\W{40})\W+")

# Words that carry no topic. Standard English function words, plus the verbs and nouns of asking.
STOPWORDS = frozenset(
    """
    a about above after again against all also am an and any are aren't as at be because been before being below
    between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each either
    else ever few for from further get gets getting give given gives go goes going gonna got had hadn't has hasn't have
    haven't having he he'd he'll he's her here here's hers herself hey hi him himself his how how's i i'd i'll i'm i've
    if in into is isn't it it's its itself just kind know let let's like lot lots made make makes me might mine more
    most much must mustn't my myself no nor not now of off oh ok okay on once only or other ought our ours ourselves out
    over own please put really said same say says shall shan't she she'd she'll she's should shouldn't so some something
    sort such tell than that that's the their theirs them themselves then there there's these they they'd they'll
    they're they've thing things this those through to too u under until up upon us ur very was wasn't we we'd we'll
    we're we've well were weren't what what's whats when when's where where's which while who who's whom whose why why's
    will with won't would wouldn't y'all yeah yes yet you you'd you'll you're you've your yours yourself yourselves
    according actually anyone anything ask asked asks bit bro discuss discussed exactly explain guys happen happened
    happens describe described literally man mean means mention mentioned mentions opinion regarding speak speaks
    talk talked talking talks thanks thank think thinks thought thoughts view views want wants whether wonder
    """.split()
)


def fold_space(text: str) -> str:
    """White space folded to single spaces, ends stripped."""
    return _SPACE.sub(" ", text).strip()


def clean(text: str) -> str:
    """A user's text without control characters (new lines stay spaces), white space folded, endless runs of signs cut."""
    kept = "".join(
        " " if c in "\r\n\t" else c
        for c in unicodedata.normalize("NFC", text)
        if c in "\r\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    return fold_space(_SIGNS.sub(r"\1 ", fold_space(kept)))


def words(text: str) -> list[str]:
    """The words of a text in lower case; hyphens, dots and underscores part words."""
    return [w.lower().replace("’", "'") for w in _WORD.findall(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The Porter2 stem (snowball "english") of one lower-case word, its possessive cut."""
    if word.endswith("'s"):
        word = word[:-2]
    return str(_STEMMER.stemWord(word))


def stems(text: str) -> list[str]:
    """The stems of every word."""
    return [stem(w) for w in words(text)]


@lru_cache(maxsize=32768)
def stem_set(text: str) -> frozenset[str]:
    """The stems of a text that is asked about again and again: a sentence of a corpus, not a question."""
    return frozenset(stems(text))


def terms(text: str) -> list[str]:
    """The stems of the words that carry a topic, in order, repeats kept."""
    return [stem(w) for w in words(text) if w not in STOPWORDS]


def unique(items: Iterable[str]) -> list[str]:
    """The items in order, each once."""
    return list(dict.fromkeys(items))


# From the first mark of a run alone, and without going back: "????…" is read once, not once for each of its letters.
_END = re.compile(r"(?<![.!?])[.!?]++[\"”’')\]]*+(?:\[\d+\])*+$")
_NOT_END = re.compile(r"^(?:[A-Z]\.|al\.|Dr\.|Mr\.|Mrs\.|Ms\.|Prof\.|vs\.|cf\.|e\.g\.|i\.e\.|etc\.)$")


def ends_sentence(word: str) -> bool:
    """Whether a sentence ends with this word (taken with its punctuation); initials don't end one."""
    return bool(_END.search(word)) and not _NOT_END.match(word)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, white space folded."""
    out: list[str] = []
    run: list[str] = []
    for word in text.split():
        run.append(word)
        if ends_sentence(word):
            out.append(" ".join(run))
            run = []
    if run:
        out.append(" ".join(run))
    return out
