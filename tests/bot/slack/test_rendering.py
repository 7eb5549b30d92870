from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.desk import FORGOTTEN
from bot.slack.reading import Said, asked_in, said_in, text_of, turns
from bot.slack.rendering import (
    UPDATE,
    Card,
    Rendered,
    button_value,
    fallback,
    figures,
    is_whole,
    mark_of,
    marked,
    message,
    neutral,
    neutral_markdown,
    plain,
    progress,
    quote_card,
    reading,
    shared,
    sources,
    stopped,
    writing,
)
from bot.text import one_line
from persona.card import load_card
from persona.corpus.catalog import Catalog, DocumentEntry, TalkEntry, load_catalog
from persona.types import Citation, Claim, DocumentKind, Reason, Reply
from tests.bot.replies import SPOKEN, TOLD, answer, reply
from tests.bot.slack.running import text_in
from tests.slack_fake import Message, check_blocks, mentions_in
from tests.slack_fake.limits import ALL_TEXT, total_text

# What Slack's clients format, each rule at the place where it may begin. Written without a look at ours.
MRKDWN = re.compile(
    r"(?<![\w*])\*[^\s*](?:[^*\n]*[^\s*])?\*(?!\w)|(?<![\w_])_[^\s_](?:[^_\n]*[^\s_])?_(?!\w)"
    r"|(?<![\w~])~[^\s~](?:[^~\n]*[^\s~])?~(?!\w)|`[^`\n]+`|```|^&gt;|:[a-z0-9_+'-]+:|<[^<>\n]+>|https?://\S"
    r"|(?<!\w)@(?:channel|here|everyone)\b",
    re.MULTILINE,
)
TIME = re.compile(r"\d:\d\d:\d\d")
MARKDOWN = re.compile(
    r"(?<!\\)(?:\*{1,3}[^\s*]|_{1,3}[^\s_]|~~\S|`|\[[^\]]*\]\(|<|!\[|\||&(?:#?\w+);)"
    r"|^ {0,3}(?:[-+*] |\d{1,9}[.)] |#{1,6} |>|(?:=+|-+)\s*$)"
    r"|^(?: {4}|\t)|https?://|(?<!\w)@(?:channel|here|everyone)\b|\bwww\.",
    re.MULTILINE,
)
ATTACKS = (
    "<!channel> <!here> <!everyone|x> <!subteam^S012345>",
    "<@U012345> <@W012345|ada> <#C012345|general>",
    "<https://evil.example|click> <mailto:a@b.c|x>",
    "https://evil.example/x?a=1&b=2 HTTP://EVIL.example mailto:a@evil.example",
    "*bold* _italic_ ~struck~ `code` ```block```",
    "> quoted\n>>> all of it",
    "@channel @here @everyone",
    ":smile: :100: :thumbsup::skin-tone-2:",
    "- a\n1. b\n# c\n=====\n---\n    code\n\tcode",
    "[x](https://evil.example) ![x](https://evil.example/a.png) [x]: https://evil.example",
    "| a | b |\n|---|---|\n| c | d |",
    "&lt;!channel&gt; &amp;lt;!channel&amp;gt; &#60;!channel&#62;",
    "\\<!channel\\> \\*bold\\* \\",
    "www.evil.example $x$ ^y^ {z}",
    "\u2028> q\r*b*\x0b- a\x85> q",
    "abc\u202egnp.exe\u202c \u2066x",
)
MANY = settings(max_examples=40, deadline=None, derandomize=True)
SOME = settings(max_examples=15, deadline=None, derandomize=True)

hostile = st.lists(
    st.one_of(
        st.sampled_from(ATTACKS),
        st.sampled_from(["\n", " ", "- ", "1. ", "# ", "> ", "<", "!", "@", ":", "](", "\\", "`", "://", "&", "&lt;"]),
        st.text(max_size=12),
        st.text("*_~`|\\<>@#!:[]()-+.&;/0123456789 \nahterpw😀é\u0301\u200d", max_size=20),
    ),
    max_size=12,
).map("".join)
long = st.one_of(hostile, hostile.map(lambda text: (text * 60)[:5000]), st.sampled_from(["&" * 5000, "*😀" * 3000]))


def visible(text: str) -> str:
    """The text as it should read: lines end in one way, and nothing is unseen."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = re.sub("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", "\n", text)
    return re.sub("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\u200b]", "", text)


def effects(text: str) -> list[str]:
    return [found[0] for found in MRKDWN.finditer(TIME.sub("", text))]


def shown(rendered: Rendered) -> Message:
    """As a message of the fake's."""
    made: Any = Message.__new__(Message)
    given = {"text": rendered.text, "blocks": rendered.blocks, "attachments": [], "markdown": False}
    for name, value in {**given, "parse": "none", "link_names": False}.items():
        setattr(made, name, value)
    return made


def marks(part: Any) -> Iterator[str]:
    """The mrkdwn of blocks."""
    if isinstance(part, list):
        for each in part:
            yield from marks(each)
    elif isinstance(part, dict):
        if part.get("type") == "mrkdwn":
            yield part["text"]
        for name in ("text", "elements", "fields", "accessory", "options"):
            yield from marks(part.get(name))


OWN = re.compile(r"<https?://[!#-;=?-\[\]_a-zA-Z~%&]+\|link>|^\*(?=.)|\*$", re.MULTILINE)  # our links, our bold lines


def check(rendered: Rendered) -> None:
    """Within the limits, and nothing in it is active but our own links to documents."""
    assert check_blocks(rendered.blocks) == []
    assert check_blocks(marked(rendered, "1700000000.000100", "U0123456789")) == []
    assert total_text(rendered.blocks) <= ALL_TEXT
    assert 0 < len(rendered.text.encode("utf-16-le")) // 2 <= UPDATE
    assert effects(rendered.text) == []
    for text in marks(rendered.blocks):
        assert effects(OWN.sub("", text)) == []
    active = mentions_in(shown(rendered))
    assert [a for a in active if (a.kind, a.label) != ("link", "link") or "evil" in a.target] == []


@pytest.mark.parametrize("attack", ATTACKS[:8])
def test_what_attacks_does_have_effects_where_it_is_not_neutralised(attack: str):
    assert effects(attack.replace(">", "&gt;") if attack.startswith(">") else attack)


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_has_an_effect_and_all_read_the_same(attack: str):
    assert effects(neutral(attack)) == []
    assert reading(neutral(attack)) == visible(attack)
    assert MARKDOWN.findall(neutral_markdown(attack)) == []


@MANY
@given(hostile)
def test_any_text_reads_the_same_and_has_no_effect(text: str):
    assert effects(neutral(text)) == []
    alike = str.maketrans("\u2217\u02cd\u223c\u02cb", "*_~`")
    assert reading(neutral(text)) == visible(text).translate(alike)


@MANY
@given(hostile)
def test_what_is_streamed_has_no_effect_and_loses_nothing(text: str):
    made = neutral_markdown(text)
    assert MARKDOWN.findall(made) == []
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", made).replace("\u200b", "") == visible(text)


def test_ordinary_sentences_and_times_are_left_as_they_are():
    text = "It was 1:02:31 (or 32:42) - “I don't know”, he said: #1! [sic: ChatGPT] What?"
    assert neutral(text) == text


@MANY
@given(long)
def test_any_text_of_ours_keeps_the_limits(text: str):
    for made in (
        plain(text),
        progress(text),
        writing(text),
        stopped(text),
        Rendered(fallback(text), plain("x").blocks),
    ):
        check(made)


citations = st.builds(
    Citation,
    document=st.just("d"),
    title=long,
    date=st.none() | hostile,
    talk=long,
    kind=st.sampled_from(DocumentKind),
    speaker=st.none() | long,
    start=st.none() | st.floats(0, 1e5),
    end=st.none() | st.floats(0, 1e5),
    url=st.none() | hostile | hostile.map("https://example.org/".__add__),
    quote=long | st.just("x. " * 4000),
    verbatim=st.booleans(),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    cited = draw(st.lists(citations, max_size=8))
    texts = draw(st.lists(long, max_size=4))
    claims = [
        Claim(
            text=text,
            kind=draw(st.sampled_from(["quoted", "paraphrased", "reported"])),
            citations=tuple(draw(st.sets(st.integers(0, len(cited) - 1), max_size=3))) if cited else (),
        )
        for text in texts
    ]
    made = reply(
        draw(st.sampled_from(Reason)),
        " ".join(texts) if draw(st.booleans()) else draw(long),
        claims=tuple(claims),
        citations=tuple(cited),
        nearest=tuple(draw(st.lists(citations, max_size=3))),
        options=tuple(draw(st.lists(hostile, max_size=12))),
    )
    return made.model_copy(update={"voice": draw(st.sampled_from(["quotes", "model"])), "model": draw(long)})


@SOME
@given(replies(), st.none() | long, long, st.booleans())
def test_no_reply_pings_links_formats_or_exceeds_a_limit(made: Reply, question: str | None, note: str, private: bool):
    value = button_value("C0123456789:1700000000.000100-4294967295", question or made.text)
    rendered = message(made, value=value, question=question, note=note, private=private)
    check(rendered)
    check(shared(rendered))
    assert is_whole(rendered.blocks)


@SOME
@given(citations, hostile, st.integers(0, 9), st.booleans())
def test_no_quote_card_pings_links_formats_or_exceeds_a_limit(
    citation: Citation, topic: str, number: int, private: bool
):
    rendered = quote_card(citation, Card(one_line(topic * 20, 300), number, "12:34"), 10, private=private)
    check(rendered)
    check(shared(rendered))


@SOME
@given(hostile, st.lists(st.tuples(long, long), max_size=25), st.lists(long, max_size=4))
def test_figures_keep_the_limits(title: str, rows: list[tuple[str, str]], lines: list[str]):
    check(figures(title, rows, lines))


@SOME
@given(st.lists(st.tuples(long, long), max_size=30))
def test_sources_keep_the_limits(entries: list[tuple[str, str]]):
    talks = [TalkEntry(id=f"t{i}", title=title, name="") for i, (title, _) in enumerate(entries)]
    documents = [
        DocumentEntry(id=f"d{i}", file="", title=title, kind=DocumentKind.NOTES, talk=f"t{i}")
        for i, (_, title) in enumerate(entries)
    ]
    check(sources(Catalog(talk=talks, document=documents)))


@MANY
@given(long, st.text(max_size=40))
def test_a_button_s_value_keeps_its_limit_also_as_an_opinion_s(question: str, reply_id: str):
    rendered = message(reply(), value=button_value(reply_id, question))
    assert check_blocks(rendered.blocks) == []


# What is read again


@MANY
@given(hostile, hostile, st.booleans())
def test_the_question_and_the_words_of_a_reply_can_be_read_again(question: str, text: str, repeats: bool):
    words = " ".join(visible(text).split())
    made = message(reply(text=words), value="{}", question=question if repeats else None, note="A note.")
    asked = " ".join(visible(question).split())
    expected = asked if repeats else ""
    found = asked_in(made.blocks)
    assert visible(found) == expected or found == "…" or found.endswith(" …")
    assert re.sub(r" \[\d+\]", "", visible(said_in(made.blocks))).strip() in (
        re.sub(r" \[\d+\]", "", words.replace("Paraphrased: ", "")).strip(),
        "…",
    )


@MANY
@given(st.text("0123456789.", max_size=20), st.text("UW0123456789", min_size=1, max_size=12))
def test_a_message_notes_what_and_whom_it_replies_to(asked: str, user: str):
    blocks = marked(message(answer(), value="{}"), asked, user)
    assert mark_of(blocks) == (asked, user)
    assert mark_of(message(answer(), value="{}").blocks) == ("", "")


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("<@UME> What is it?", "What is it?"),
        ("<@UME|fireside> What is it?", "What is it?"),
        ("Ask <@UADA> or <@UBOB|bob> or <@UWHO>", "Ask @ada or @bob or @someone"),
        ("in <#C1|general> or <#C2>", "in #general or a channel"),
        ("<!channel> <!subteam^S1|@team> <!date^1^x|today>", "@channel @team today"),
        ("<https://example.org|a page> <https://example.org>", "a page https://example.org"),
        ("1 &lt; 2 &amp;amp; &gt;", "1 < 2 &amp; >"),
        ("<>", "<>"),
        ("", ""),
    ],
)
def test_slack_s_own_marks_are_read_as_words(text: str, reads: str):
    assert text_of(text, "UME", {"UADA": "ada"}) == reads


def said(ts: str, text: str, user: str, **more: Any) -> dict[str, Any]:
    return {"ts": ts, "text": text, "user": user, **more}


def ours(ts: str, asked: str, user: str, text: str, **more: Any) -> dict[str, Any]:
    return said(ts, text, "UME", blocks=marked(message(reply(text=text), value="{}"), asked, user), **more)


def test_turns_are_those_of_one_person_and_the_bot_alone():
    thread = [
        said("1", "<@UME> One?", "UADA"),
        ours("2", "1", "UADA", "First."),
        said("3", "Two?", "UBOB"),
        ours("4", "3", "UBOB", "Second."),
        said("5", "number 1", "UME", blocks=marked(progress("You are number 1."), "6", "UADA")),
        said("6", "robot", "UADA", bot_id="B1"),
        said("7", "refused", "UME", blocks=marked(plain("Too many are asking."), "1", "UADA")),
    ]
    found = turns(thread, "UADA", "UME", lambda _: None)
    assert [turn.content for turn in found] == ["One?", "First."]
    assert [turn.content for turn in turns(thread, "UADA", "UME", lambda _: None, "1")] == ["First."]
    remembered = turns(thread, "UADA", "UME", lambda ts: Said("As it was.", "UADA") if ts == "2" else None)
    assert remembered[1].content == "As it was."


def test_a_shared_reply_is_the_beginning_of_its_thread_for_everybody():
    root = message(reply(text="First."), value="{}", question="One?")
    thread = [{**said("1", "x", "UME"), "thread_ts": "1", "blocks": marked(root, "key", "UADA")}]
    assert [turn.content for turn in turns(thread, "UBOB", "UME", lambda _: None)] == ["One?", "First."]


def test_in_a_conversation_of_two_all_is_theirs_until_it_is_begun_anew():
    thread = [
        said("1", "One?", "UADA"),
        ours("2", "9", "U?", "First."),
        said("3", FORGOTTEN, "UME", blocks=plain(FORGOTTEN).blocks),
        said("4", "Two?", "UADA"),
    ]
    assert [t.content for t in turns(thread, "UADA", "UME", lambda _: None, alone=True)] == ["Two?"]


# How it looks


def test_an_answer_tells_quoted_and_reported_apart_and_numbers_its_sources():
    quoted, reported = answer().claims
    text = f"{quoted.text} {reported.text}"
    made = message(answer().model_copy(update={"text": text}), value="{}")
    body, context, opinion, buttons = made.blocks
    assert [part["type"] for part in body["elements"]] == ["rich_text_quote", "rich_text_section"]
    assert text_in(body) == "“…” [1]\nIt reports. [2]"
    assert text_in(context).split("\n") == [
        "[1] quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · <https://example.org/talk|link>",
        "[2] reported: Summary of a talk",
    ]
    assert opinion["type"] == "context_actions"
    assert text_in(buttons) == "Why?\nAgain"


def test_what_a_chat_model_words_itself_is_marked_as_paraphrased():
    claims = (
        Claim(text="“It can.”", kind="quoted", citations=(0,)),
        Claim(text="Engines follow orders.", kind="paraphrased", citations=(0, 1)),
    )
    made = reply(text="“It can.” Engines follow orders. (Away.)", claims=claims, citations=(SPOKEN, TOLD))
    blocks = message(made.model_copy(update={"voice": "model", "model": "tiny_q4"}), value="{}").blocks
    assert text_in(blocks[0]).split("\n") == [
        "“It can.” [1]",
        "Paraphrased: ",
        "Engines follow orders. [1] [2]",
        "(Away.)",
    ]
    assert blocks[0]["elements"][1]["elements"][0]["style"] == {"bold": True}
    assert "Written by the chat model tiny" in text_in(blocks)
    assert said_in(blocks) == "“It can.” Engines follow orders. (Away.)"


def test_i_dont_know_shows_the_nearest_as_no_answer_and_its_words_once():
    text = f"I don't know. The nearest: “{SPOKEN.quote}” (Ada Byron)"
    other = SPOKEN.model_copy(update={"quote": "Other words.", "url": None})
    blocks = message(reply(Reason.NOT_STATED, text, nearest=(SPOKEN, other, TOLD)), value="{}").blocks
    read = text_in(blocks)
    assert read.count(SPOKEN.quote) == 1
    assert read.split("\n")[1:5] == [
        "The nearest that was really said, not an answer:",
        "quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · <https://example.org/talk|link>",
        "quoted: “Other words.” Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17",
        "reported: She spoke of engines. Summary of a talk",
    ]
    assert "[1]" not in read


def test_quotation_marks_of_a_report_are_not_shown_as_a_quotation():
    told = TOLD.model_copy(update={"quote": "She said “engines”."})
    assert "“" not in text_in(message(reply(Reason.NOT_STATED, "I don't know.", nearest=(told,)), value="{}").blocks)
    assert "“" not in text_in(quote_card(told, Card("x", 0, ""), 1, private=True).blocks[1:])


def test_a_long_reply_is_cut_where_a_message_ends_and_says_so():
    made = message(reply(text="A sentence of six words here. " * 800), value="{}")
    assert text_in(made.blocks[0]).endswith(" …")
    assert is_whole(made.blocks)


def test_a_quote_card_tells_speaker_talk_time_and_address():
    blocks = quote_card(SPOKEN, Card("engines", 1, "-1:-1"), 3, private=True).blocks
    assert text_in(blocks).split("\n") == [
        "engines",
        f"“{SPOKEN.quote}”",
        "Ada Byron · A talk · 32:42 – 33:03",
        "Transcript of a talk · 2023-05-17 · <https://example.org/talk|link>",
        "Quote 2 of 3, word for word",
        "Previous",
        "Next",
        "Dark picture",
        "Light picture",
        "Share to channel",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://example.org/x",
        "https://",
        "https://good.example@evil.example/",
        "https://example.org/a b",
        "https://example.org/|evil",
        "https://example.org/> <!channel",
        "https://example.org/\u202e",
        "https://exämple.org/",
        "https://[::1",
        "https://example.org/" + "x" * 500,
    ],
)
def test_only_a_plain_web_address_becomes_a_link(url: str):
    made = message(reply(citations=(SPOKEN.model_copy(update={"url": url}),)), value="{}")
    assert "|link>" not in text_in(made.blocks)
    check(made)


def test_the_sources_list_every_document_with_its_use():
    catalog = load_catalog(load_card("ilya").catalog)
    made = sources(catalog)
    read = text_in(made.blocks)
    assert read.count("\n• ") == len(catalog.document)
    assert "• transcript, quoted · Transcript of the fireside talk" in read
    assert "more talks than a message can hold" not in read


def test_sources_that_a_message_can_not_hold_are_said_to_be_more():
    talks = [TalkEntry(id=f"t{i}", title=f"Talk {i} " + "x" * 250, name="") for i in range(80)]
    assert "more talks than a message can hold" in text_in(sources(Catalog(talk=talks, document=[])).blocks)
