from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from bot.explaining import main_features, topics
from bot.terminal import REMEMBERED, Chat, Screen, Words, piped
from persona.models import Logistic
from persona.pipeline import Answered, Fireside
from persona.types import Message, Question, Reason, Trace
from tests.bot.replies import answer, reply
from tests.fakes import ScriptedModel, written


class Scripted:
    """Stands where the Fireside does: gives the replies of a list, and keeps what it was asked."""

    writer = None

    def __init__(self, real: Fireside, *replies: Answered) -> None:
        self.card, self.corpus, self.lookup, self.policy = real.card, real.corpus, real.lookup, real.policy
        self.asked: list[Question] = []
        self._replies = list(replies)

    def answer(self, question: Question) -> Answered:
        self.asked.append(question)
        return self._replies.pop(0) if self._replies else Answered(answer(), Trace())


def chat(fireside: object) -> tuple[Chat, io.StringIO]:
    out = io.StringIO()
    return Chat(fireside, Screen(out)), out  # pyright: ignore[reportArgumentType]


def test_a_reply_is_its_text_and_then_its_sources(fireside: Fireside):
    talk, out = chat(Scripted(fireside))
    talk.take("What can it do?")
    assert out.getvalue().splitlines()[:3] == [
        "An answer.",
        "  [1] quoted: Ada Byron, at 32:42 · Transcript of a talk · 2023-05-17 · https://example.org/talk",
        "  [2] reported: Summary of a talk",
    ]


def test_the_disclosure_comes_first(fireside: Fireside):
    talk, out = chat(fireside)
    talk.greet()
    assert out.getvalue().startswith(fireside.card.disclosure)


def test_earlier_turns_go_along_and_the_oldest_are_forgotten(fireside: Fireside):
    scripted = Scripted(fireside)
    talk, _ = chat(scripted)
    for number in range(8):
        talk.take(f"question {number}")
    turns = scripted.asked[-1].history
    assert len(turns) == REMEMBERED
    assert (turns[-2].content, turns[-1].role) == ("question 6", "assistant")


def test_reset_forgets_the_turns(fireside: Fireside):
    scripted = Scripted(fireside)
    talk, _ = chat(scripted)
    for line in ("one", "/reset", "two"):
        talk.take(line)
    assert scripted.asked[-1].history == ()


def test_a_bare_number_picks_an_option_and_keeps_the_conversation(fireside: Fireside):
    back = Answered(reply(Reason.AMBIGUOUS, "Which?", options=("money", "rivers")), Trace())
    scripted = Scripted(fireside, back)
    talk, out = chat(scripted)
    for line in ("banks", "3", "2"):
        talk.take(line)
    assert "(2) rivers" in out.getvalue()
    assert "a number from 1 to 2" in out.getvalue()
    assert scripted.asked[-1].text == "rivers"
    assert [t.content for t in scripted.asked[-1].history] == ["banks", "Which?"]


def test_a_number_without_options_is_a_question(fireside: Fireside):
    scripted = Scripted(fireside)
    talk, _ = chat(scripted)
    talk.take("2012")
    assert scripted.asked[-1].text == "2012"


@pytest.mark.parametrize(("typed", "meant"), [("/quoet x", "/quote"), ("/sorces", "/sources"), ("/qiut", "/quit")])
def test_a_mistyped_command_names_the_nearest(fireside: Fireside, typed: str, meant: str):
    talk, out = chat(fireside)
    assert talk.take(typed)
    assert f"Did you mean {meant}?" in out.getvalue()


def test_quit_ends_it_and_an_empty_line_does_not(fireside: Fireside):
    talk, _ = chat(fireside)
    assert talk.take("   ")
    assert not talk.take("/QUIT")


def test_quote_shows_words_that_were_said(fireside: Fireside):
    talk, out = chat(fireside)
    talk.take("/quote reliability of neural networks")
    said = out.getvalue().split("“")[1].split("”")[0]
    assert any(
        document.said_by(said, s) for document in fireside.corpus.documents.values() for s in fireside.corpus.speakers
    )


def test_quote_without_a_topic_asks_for_one(fireside: Fireside):
    talk, out = chat(fireside)
    talk.take("/quote")
    assert "Name a topic" in out.getvalue()


def test_why_shows_passages_features_confidence_and_threshold(fireside: Fireside):
    talk, out = chat(fireside)
    talk.take("Why is reliability the biggest obstacle for neural networks?")
    talk.take("/why")
    shown = out.getvalue()
    assert f"the threshold {fireside.policy.threshold:.2f}" in shown
    assert "1. cosine 0." in shown
    assert "BM25" in shown
    assert "what weighed most" in shown


def test_why_before_any_question_says_so(fireside: Fireside):
    talk, out = chat(fireside)
    talk.take("/why")
    assert "Nothing was asked yet" in out.getvalue()


def test_why_after_a_greeting_says_that_nothing_was_looked_up(fireside: Fireside):
    talk, out = chat(Scripted(fireside, Answered(reply(Reason.GREETING), Trace())))
    talk.take("hello")
    talk.take("/why")
    assert "No passage was looked up" in out.getvalue()


def test_sources_lists_every_document_and_talk(fireside: Fireside):
    talk, out = chat(fireside)
    talk.take("/sources")
    catalog = fireside.corpus.catalog
    for title in (*(t.title for t in catalog.talk), *(d.title for d in catalog.document)):
        assert title in out.getvalue()


def test_a_pipe_gets_no_colours_no_markup_and_no_wrapping():
    out = io.StringIO()
    line = "[bold]" + "word " * 60
    Screen(out).say(line, "red")
    assert out.getvalue() == line + "\n"


def test_main_features_are_those_that_moved_the_odds_most():
    model = Logistic(features=("a", "b"), mean=(0.0, 1.0), scale=(1.0, 2.0), weights=(0.1, -4.0), intercept=0.0)
    found = main_features(model, {"a": 1.0, "b": 2.0, "c": 9.0})
    assert [(f.name, f.weight) for f in found] == [("b", -2.0), ("a", 0.1)]


def completions(typed: str) -> list[str]:
    words = Words(["reliability", "relevance", "scaling"])
    return [c.text for c in words.get_completions(Document(typed), CompleteEvent())]


def test_commands_and_topics_complete():
    assert completions("/so") == ["/sources"]
    assert completions("/quote rel") == ["relevance", "reliability"]
    assert completions("/quote ") == []
    assert completions("rel") == []


def test_topics_are_words_of_the_talks(fireside: Fireside):
    assert "neural" in topics(fireside.corpus)


def test_bytes_that_are_no_utf8_are_read_all_the_same():
    assert list(piped([b"\xef\xbb\xbfhi\n", b"\xff\n"])) == ["hi\n", "\ufffd\n"]


def test_the_real_line_serves_a_conversation(fireside: Fireside, data_dir: Path):
    talk, out = chat(fireside)
    talk.take("What is the capital of Mongolia?")
    assert fireside.card.abstain.out_of_corpus.split(":")[0] in out.getvalue()


ASKED = "What is the biggest obstacle to neural networks being useful?"
SAID = "reliability is currently the single biggest obstacle"


class Interrupted(ScriptedModel):
    """Somebody presses Ctrl-C while it writes its first answer; the second one comes through."""

    async def stream(self, messages: Sequence[Message], *args: Any, **named: Any) -> AsyncGenerator[str]:
        if not self.asked:
            self.asked.append(messages)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        async for piece in super().stream(messages, *args, **named):
            yield piece


def test_a_chat_models_claims_are_shown_once_with_their_sources(fireside: Fireside):
    talk, out = chat(fireside.speaking(ScriptedModel(written(("quote", "p1", SAID))), None))
    talk.take(ASKED)
    assert out.getvalue().count(SAID) == 1
    assert "  [1] quoted: Ilya Sutskever, at 32:54" in out.getvalue()


def test_why_shows_what_was_cut(fireside: Fireside):
    talk, out = chat(fireside.speaking(ScriptedModel(written(("quote", "p1", "I made this up myself"))), None))
    for line in (ASKED, "/why"):
        talk.take(line)
    assert "cut (not_verbatim): I made this up myself" in out.getvalue()


def test_again_has_the_last_answer_written_anew_in_its_place(fireside: Fireside):
    model = ScriptedModel(written(("quote", "p1", SAID)))
    talk, _ = chat(fireside.speaking(model, None))
    for line in (ASKED, "/again", ASKED):
        talk.take(line)
    assert model.seeds == [0, 1, 0]
    assert [m.role for m in model.asked[1]] == ["system", "user"]
    assert [m.role for m in model.asked[2]] == ["system", "user", "assistant", "user"]


def test_again_says_what_it_needs(fireside: Fireside):
    talk, out = chat(fireside)
    for line in ("/again", "Who is he?", "/again"):
        talk.take(line)
    assert "Nothing was asked yet." in out.getvalue()
    assert "answers the same each time" in out.getvalue()


def test_ctrl_c_stops_one_answer_and_the_chat_goes_on(fireside: Fireside):
    before = signal.getsignal(signal.SIGINT)
    talk, out = chat(fireside.speaking(Interrupted("", written(("quote", "p1", SAID))), None))
    talk.take(ASKED)
    assert "Stopped. /again has it written anew." in out.getvalue()
    talk.take("/again")
    assert SAID in out.getvalue()
    assert signal.getsignal(signal.SIGINT) is before
