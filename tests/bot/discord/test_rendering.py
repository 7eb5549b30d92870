from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.discord.rendering import (
    ASKED,
    MESSAGE,
    asked,
    figures,
    message,
    neutral,
    pieces,
    plain,
    question_of,
    quiet,
    quote_card_embed,
    reading,
    sources,
    writing,
)
from bot.text import LABEL, label, one_line
from persona.card import load_card
from persona.corpus.catalog import Catalog, DocumentEntry, TalkEntry, load_catalog
from persona.types import Citation, Claim, DocumentKind, Reason, Reply
from tests.bot.replies import SPOKEN, TOLD, answer, reply

# Discord's markdown, as its clients read it: each rule at the place where it may begin. Written without a look at ours.
BLOCKS = re.compile(r"[ \t]*(?:#{1,3} +\S|-# +\S|>(?:>>)? |[-*+] +\S|\d+[.)] +\S)")
INLINE = (
    r"\|\|[\s\S]+?\|\|",
    r"~~[\s\S]+?~~",
    r"\*\*[\s\S]+?\*\*(?!\*)",
    r"__[\s\S]+?__(?!_)",
    r"\*(?=\S)[^*]+?\*(?!\*)",
    r"_[^_]+?_(?![A-Za-z0-9])",
    r"\[[^\[\]]*\]\(\s*[^)]+\)",
    r"(?:https?|steam|discord)://[^\s<]+",
    r"<(?:https?|mailto|tel):[^ >]+>",
    r"<@[!&]?\d+>|<#\d+>|<a?:\w+:\d+>|<t:-?\d+(?::\w)?>|</[^:>]+:\d+>|<id:\w+>|<sound:\d+:\d+>|<\+\d+>|<[\w.+-]+@[\w.-]+>",
    r":(?!\d\d:)[^\s:]+:",
)
MARKUP = re.compile("|".join(INLINE), re.ASCII | re.IGNORECASE)
CODE = re.compile(r"(`+)[\s\S]*?[^`]\1(?!`)")
BEGINS = frozenset("`|~*_[<:hsdHSD")
RAW = re.compile(  # what the server itself looks for, whatever is escaped
    r"@everyone|@here|<@[!&]?\d+>|<#\d+>|https?://|discord(?:app)?\.(?:gg|com|gift|new)/\w", re.IGNORECASE
)
UNSEEN = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")

ATTACKS = (
    "**bold**",
    "*a* _b_ __c__ ***d***",
    "~~gone~~ ||secret||",
    "`code` ``a`b`` ```py\nx\n```",
    "# head\n## head\n### head",
    "-# small",
    "> quote\n>>> all",
    "- one\n* two\n+ three\n  1. four\n2) five",
    "[free nitro](https://evil.example/x)",
    "[a]( <https://evil.example> )",
    "https://evil.example/a_b_c <http://x.y> steam://run/1 discord://-/x HTTPS://UP.example",
    "discord.gg/abc discordapp.com/invite/abc Discord.GG/abc discord.gift/xyz",
    "@everyone @here @EVERYONE <@123456789012345678> <@!1> <@&2> <#3>",
    "<:name:123> <a:name:123> <t:0:R> </ask:123> <id:customize> <sound:1:2> <mail@example.org> <+4912345>",
    ":smile: :+1: a:b:c ::skin-tone-1: :100:",
    r"\*not\* \\**bold\\** \<@1> \\",
    "¯\\_(ツ)_/¯",
    "\u2028# head\r# head\x0b- a\x85> q",
    "abc\u202egnp.exe\u202c \u2066x",
    "<\n@everyone",
)


MANY = settings(max_examples=100, deadline=None, derandomize=True)
SOME = settings(max_examples=40, deadline=None, derandomize=True)


class Seen(NamedTuple):
    text: str
    effects: list[str]


def seen(content: str) -> Seen:
    """What Discord makes of a message."""
    effects = [found[0] for found in RAW.finditer(content)]
    text, place = "", 0
    while place < len(content):
        start = place == 0 or content[place - 1] == "\n"
        if start and (block := BLOCKS.match(content, place)):
            effects.append(block[0])
        if content[place] == "\\" and re.match(r"[^0-9A-Za-z\s]", content[place + 1 : place + 2]):
            text, place = text + content[place + 1], place + 2
            continue
        if found := content[place] in BEGINS and (CODE.match(content, place) or MARKUP.match(content, place)):
            effects.append(found[0])
        text, place = text + content[place], place + 1
    return Seen(text.replace("\u200b", ""), effects)


def visible(text: str) -> str:
    """The text as it should read: lines end in one way, and nothing is unseen."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return UNSEEN.sub("", re.sub("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", "\n", text)).replace("\u200b", "")


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


hostile = st.lists(
    st.one_of(
        st.sampled_from(ATTACKS),
        st.sampled_from(["\n", " ", "- ", "1. ", "# ", "> ", "-# ", "<", "@", ":", "](", "\\", "`", "://", "“", "”"]),
        st.text(max_size=12),
        st.text("*_~`|\\<>@#:[]()-+.!/0123456789 \nahterp😀é\u0301\u200d", max_size=20),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "\u202e" not in a and not a.startswith(("¯", "<\n"))])
def test_what_attacks_does_have_effects_where_it_is_not_neutralised(attack: str):
    attack = attack if attack.startswith("\\") else visible(attack)
    assert seen(attack).effects


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_has_an_effect_and_all_read_the_same(attack: str):
    assert seen(neutral(attack)) == Seen(visible(attack), [])


@MANY
@given(hostile)
def test_any_text_reads_the_same_and_has_no_effect(text: str):
    assert seen(neutral(text)) == Seen(visible(text), [])


@MANY
@given(hostile)
def test_a_neutral_text_can_be_read_back(text: str):
    assert reading(neutral(text)) == visible(text)


@MANY
@given(hostile, hostile)
def test_neutral_texts_stay_so_beside_each_other(one: str, other: str):
    assert seen(f"{neutral(one)} · {neutral(other)}").effects == []


@MANY
@given(hostile)
def test_a_neutral_text_is_at_most_twice_as_long(text: str):
    assert units(neutral(text)) <= 2 * units(text)


def test_ordinary_sentences_and_times_are_left_as_they_are():
    text = "It was 1:02:31 (or 32:42) - “I don't know”, he said: 3 < 4, #1! [sic: ChatGPT] What?"
    assert neutral(text) == text


@MANY
@given(st.lists(hostile, max_size=6).map(" ".join), st.integers(min_value=24, max_value=80))
def test_pieces_keep_every_word_and_the_limit_and_stay_neutral(text: str, limit: int):
    found = pieces(neutral(text), limit)
    assert all(0 < units(piece) <= limit and not seen(piece).effects for piece in found)
    assert "".join("".join(reading(piece) for piece in found).split()) == "".join(visible(text).split())


@MANY
@given(st.text("ab. \n", max_size=200), st.sampled_from(["> ", "-# "]))
def test_a_line_that_is_split_goes_on_in_its_style(text: str, prefix: str):
    line = one_line(text, 500)
    found = pieces(prefix + neutral(line), 30)
    assert all(piece.startswith(prefix.strip()) for piece in found)


def test_text_is_split_after_lines_then_sentences_then_words():
    assert pieces("One longer line here.\nAnd another. More", 36) == ["One longer line here.", "And another. More"]
    assert pieces("Dr. Who came. He saw. He went away again", 30) == ["Dr. Who came. He saw.", "He went away again"]
    assert pieces("one two three four", 12) == ["one two", "three four"]
    assert pieces("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]


def test_the_rest_of_a_line_opens_no_block():
    assert pieces("It ends here. - and goes on", 16) == ["It ends here.", "\\- and goes on"]
    assert pieces("It ends here.\n- an item", 16) == ["It ends here.", "- an item"]


def test_neither_escapes_nor_letters_are_parted():
    assert all(not piece.startswith("*") for piece in pieces(neutral("*" * 60), 21))
    family = "👩\u200d👩\u200d👧"
    assert set("".join(pieces(family * 9, 30)).replace(family, "")) == set()
    assert all(piece.replace(family, "") == "" for piece in pieces(family * 9, 30))
    assert all(piece.replace("e\u0301", "") == "" for piece in pieces("e\u0301" * 40, 25))


def test_a_run_of_joining_letters_ends_all_the_same():
    marks = "\u0301" * 5000
    assert "".join(pieces("> " + marks)).replace("> ", "") == marks


def test_nothing_to_say_is_no_message():
    assert pieces(" \n ") == []


@MANY
@given(hostile)
def test_the_question_that_a_reply_repeats_can_be_read_again(text: str):
    question = " ".join(visible(text).split())
    content = f"{asked(text)}\nAn answer."
    assert question_of(content) == (None if question.endswith(" …") else question)


def test_a_question_too_long_to_repeat_is_not_taken_for_whole():
    assert question_of(asked("word " * ASKED)) is None
    assert units(asked("*" * 5000)) <= 2 * ASKED + 2


def test_a_message_without_a_question_repeats_none():
    assert question_of("An answer.") is None
    assert question_of(neutral("> An answer.")) is None


citations = st.builds(
    Citation,
    document=st.just("d"),
    title=hostile,
    date=st.none() | hostile,
    talk=hostile,
    kind=st.sampled_from(DocumentKind),
    speaker=st.none() | hostile,
    start=st.none() | st.floats(0, 1e5),
    end=st.none() | st.floats(0, 1e5),
    url=st.none() | hostile | hostile.map("https://example.org/".__add__),
    quote=hostile.map(lambda text: text.translate(dict.fromkeys(map(ord, "“”")))) | st.just("x. " * 2000),
    verbatim=st.booleans(),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    cited = draw(st.lists(citations, max_size=4))
    texts = draw(st.lists(hostile, max_size=4))
    claims = [
        Claim(
            text=text,
            kind=draw(st.sampled_from(["quoted", "paraphrased", "reported"])),
            citations=tuple(draw(st.sets(st.integers(0, len(cited) - 1), max_size=3))) if cited else (),
        )
        for text in texts
    ]
    told = " ".join(texts) if draw(st.booleans()) else draw(hostile)
    made = reply(
        draw(st.sampled_from(Reason)),
        told,
        claims=tuple(claims),
        citations=tuple(cited),
        nearest=tuple(draw(st.lists(citations, max_size=2))),
    )
    return made.model_copy(update={"voice": draw(st.sampled_from(["quotes", "model"])), "model": draw(hostile)})


OURS = re.compile(  # what a message of ours may format: its own marks, and the addresses of documents
    r"\*\*Paraphrased:\*\*|^-# (?=\S)|^> ?|<https?://[!#-;=?-\[\]_a-zA-Z~%]+>", re.MULTILINE
)


@SOME
@given(replies(), st.none() | hostile, hostile)
def test_no_reply_pings_formats_or_exceeds_a_limit(made: Reply, question: str | None, note: str):
    rendered = message(made, question, note)
    assert rendered.contents
    for content in rendered.contents:
        assert 0 < units(content) <= MESSAGE
        assert seen(OURS.sub("", content)).effects == []
    assert all(1 <= units(part) <= MESSAGE for part in (writing(made.text, question), *plain(made.text)) if part)


@SOME
@given(citations, st.integers(1, 9))
def test_no_quote_card_pings_formats_or_exceeds_a_limit(citation: Citation, number: int):
    embed = quote_card_embed(citation, number, 9)
    assert units(embed.description or "") <= 4096
    assert all(0 < units(field.value or "") <= 1024 for field in embed.fields)
    assert units(embed.author.name or "") <= 256
    assert len(embed) <= 6000
    for text in (embed.description or "", *(field.value or "" for field in embed.fields)):
        assert seen(OURS.sub("", text)).effects == []


@SOME
@given(hostile, st.lists(st.tuples(hostile, hostile.map(lambda text: text * 30)), max_size=30), hostile)
def test_figures_keep_the_limits(title: str, rows: list[tuple[str, str]], note: str):
    embed = figures(title, rows, note)
    assert len(embed) <= 6000
    assert len(embed.fields) <= 25
    for field in embed.fields:
        assert units(field.name or "") <= 256
        assert seen(field.value or "").effects == []


def test_figures_show_names_and_values():
    embed = figures("Reliability", [("False answers", "2 of 130")], "of the latest run")
    assert (embed.title, embed.fields[0].name, embed.fields[0].value) == ("Reliability", "False answers", "2 of 130")
    assert embed.footer.text == "of the latest run"


@MANY
@given(hostile, st.integers(20, 100))
def test_labels_are_short_and_never_empty(text: str, limit: int):
    assert 0 < units(label(text, limit)) <= limit
    assert "\n" not in label(text, limit)


def test_an_answer_has_numbers_that_lead_to_its_sources():
    quoted, reported = answer().claims
    text = f"{quoted.text} {reported.text}"
    assert message(answer().model_copy(update={"text": text})).contents == [
        "“…” [1]\n"
        "It reports. [2]\n"
        "-# [1] quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · <https://example.org/talk>\n"
        "-# [2] reported: Summary of a talk"
    ]


def test_what_a_chat_model_words_itself_is_marked_as_paraphrased():
    claims = (
        Claim(text="“It can.”", kind="quoted", citations=(0,)),
        Claim(text="Engines follow orders.", kind="paraphrased", citations=(0, 1)),
    )
    made = reply(text="“It can.” Engines follow orders. (Away.)", claims=claims, citations=(SPOKEN, TOLD))
    lines = message(made.model_copy(update={"voice": "model", "model": "tiny_q4"})).contents[0].split("\n")
    assert lines[:3] == ["“It can.” [1]", "**Paraphrased:** Engines follow orders. [1] [2]", "(Away.)"]
    assert lines[3].startswith("-# [1] quoted and paraphrased: Ada Byron")
    assert lines[4].startswith("-# [2] paraphrased: Summary")
    assert lines[5].startswith("-# Written by the chat model tiny\\_q4: ")


def test_claims_that_are_not_all_of_the_text_leave_the_text_as_it_is():
    assert message(answer()).contents[0].startswith("An answer.\n-# [1]")


def test_i_dont_know_shows_the_nearest_as_no_answer_and_its_words_once():
    text = f"I don't know. The nearest: “{SPOKEN.quote}” (Ada Byron)"
    other = SPOKEN.model_copy(update={"quote": "Other words.", "url": None})
    content = message(reply(Reason.NOT_STATED, text, nearest=(SPOKEN, other, TOLD))).contents[0]
    assert content.count(SPOKEN.quote) == 1
    assert content.split("\n")[1:] == [
        "-# nearest, not an answer, quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · <https://example.org/talk>",
        "-# nearest, not an answer, quoted: “Other words.” Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17",
        "-# nearest, not an answer, reported: She spoke of engines. Summary of a talk",
    ]
    assert "[1]" not in content


def test_quotation_marks_of_a_report_are_not_shown_as_a_quotation():
    told = TOLD.model_copy(update={"quote": "She said “engines”."})
    assert "“" not in message(reply(Reason.NOT_STATED, "I don't know.", nearest=(told,))).contents[0]
    assert "“" not in (quote_card_embed(told, 1, 1).description or "")


def test_a_reply_repeats_the_question_above_and_the_note_below():
    lines = message(reply(), "What\nis *it*?", "An unofficial bot.").contents[0].split("\n")
    assert lines == ["> What is \\*it\\*?", "An answer.", "-# An unofficial bot."]


def test_a_long_reply_becomes_several_messages_that_end_with_sentences():
    first, *rest = message(reply(text="A sentence of six words here. " * 120)).contents
    assert rest
    assert first.endswith("here.")
    assert units(first) > MESSAGE // 2


def test_a_long_quote_on_a_card_is_marked_as_cut_outside_of_its_marks():
    description = quote_card_embed(SPOKEN.model_copy(update={"quote": "So it is. " * 800}), 1, 1).description or ""
    assert description.endswith("So it is.” […]")


def test_a_quote_card_tells_speaker_talk_time_and_address():
    embed = quote_card_embed(SPOKEN, 2, 3)
    assert embed.description == f"“{SPOKEN.quote}”"
    assert embed.author.name == "Ada Byron"
    assert {field.name: field.value for field in embed.fields} == {
        "Talk": "A talk",
        "Time": "32:42 – 33:03",
        "Source": "Transcript of a talk · 2023-05-17\n<https://example.org/talk>",
    }
    assert embed.footer.text == "Quote 2 of 3, word for word"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://example.org/x",
        "https://",
        "https://good.example@evil.example/",
        "https://example.org/a b",
        "https://example.org/> @everyone",
        "https://example.org/\u202e",
        "https://exämple.org/",
        "https://example.org/\\",
        "https://[::1",
        "https://example.org/" + "x" * 500,
    ],
)
def test_only_a_plain_web_address_becomes_a_link(url: str):
    content = message(reply(citations=(SPOKEN.model_copy(update={"url": url}),))).contents[0]
    assert "://" not in content
    assert "evil" not in content


def test_an_address_pings_nobody():
    citation = SPOKEN.model_copy(update={"url": "https://example.org/@everyone"})
    assert "<https://example.org/%40everyone>" in message(reply(citations=(citation,))).contents[0]


def test_the_sources_list_every_document_with_its_use():
    catalog = load_catalog(load_card("ilya").catalog)
    text = "\n".join(sources(catalog))
    assert text.count("\n- ") == len(catalog.document)
    assert "- transcript, quoted: Transcript" not in text
    assert "- transcript, quoted · Transcript of the fireside talk" in text
    assert "<https://www.youtube.com/watch?v=ZZ0atq2yYJw&ab_channel=MindCathedral>" in text


def test_many_sources_become_several_messages():
    talks = [TalkEntry(id=f"t{i}", title=f"Talk *{i}*", name="") for i in range(60)]
    documents = [
        DocumentEntry(id=f"d{i}", file="", title="# A title", kind=DocumentKind.NOTES, talk=f"t{i}") for i in range(60)
    ]
    found = sources(Catalog(talk=talks, document=documents))
    assert len(found) > 1
    assert all(units(part) <= MESSAGE and part.startswith(("**Talk", "- notes")) for part in found)


def test_small_print_is_one_line():
    assert quiet("One\n# two") == "-# One # two"
    assert units(quiet("x " * 5000)) <= MESSAGE


def test_a_reply_that_is_being_written_ends_so():
    assert writing("Half a *", "what?") == "> what?\nHalf a \\* …"
    assert len(label("x" * 200)) <= LABEL
