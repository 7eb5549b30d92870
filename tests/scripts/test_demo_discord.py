from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

from bot.host import FULL
from persona.errors import FiresideError
from persona.types import Question, Reason, Reply
from scripts.bench_discord import LINES, Asked, first_typing, measure
from scripts.bots import scratch
from scripts.demo_discord import connected, converse
from scripts.full_house import Figures, Sizes, outcomes, questions, shown, verdicts
from tests.bot.discord.running import running
from tests.bot.replies import reply
from tests.bot.scripted import Script, Scripted, echo
from tests.discord_fake import FakeDiscord
from tests.discord_fake.world import State

LOCAL = pytest.mark.allow_hosts(["127.0.0.1"])
QUIET = 0.02


def scripted(question: Question) -> Reply:
    if "architecture" in question.text and not question.history:
        return reply(Reason.AMBIGUOUS, "Which do you mean: (1) AlexNet; (2) GPT?", options=("AlexNet", "GPT"))
    if "How many" in question.text:
        return reply(Reason.NOT_STATED, "I don't know: my talks don't say *that*.")
    return echo(question)


async def transcript(folder: Path, script: Script) -> str:
    told: list[str] = []
    async with FakeDiscord() as fake, running(fake, Scripted(script), folder):
        await converse(fake, told.append, QUIET)
    return "\n".join(told)


@LOCAL
async def test_the_transcript_shows_what_is_said_and_by_whom(tmp_path: Path):
    text = await transcript(tmp_path, scripted)
    assert text.startswith("alice in #general\n  @fireside Why is reliability the biggest obstacle")
    assert (
        "fireside is typing…\n\nfireside in #general, replying to bob\n  I don't know: my talks don't say *that*."
        in text
    )
    assert "  [AlexNet] [GPT]\n  [👍] [👎] [Why?] [Again]\n\nbob presses [GPT]\n" in text
    assert "alice in #reliability\n  And what did he say about compression?\n" in text
    assert "| Quote 1 of 3, word for word\n  [Next]" in text
    assert "fireside in #general now reads\n  > reliability\n" in text


@LOCAL
async def test_the_transcript_says_who_alone_sees_a_reply(tmp_path: Path):
    text = await transcript(tmp_path, scripted)
    assert "bob in #general uses /why\n\nfireside in #general (only bob sees this)\n  answer (supported)" in text
    assert "a form opens: What was wrong?\n  What should it have said? ____\n\nbob writes into it and submits\n" in text
    assert "fireside in #general (only bob sees this)\n  Thank you" in text
    assert "fireside in #general (only olga sees this)\n  Voice: quotes" in text


@LOCAL
async def test_a_conversation_that_goes_otherwise_ends_in_a_sentence(tmp_path: Path):
    with pytest.raises(FiresideError, match="It should have asked which one is meant, but said: 'You asked: Describe"):
        await transcript(tmp_path, echo)


@LOCAL
async def test_a_bot_that_does_not_start_is_quoted():
    async with FakeDiscord() as fake:
        with pytest.raises(FiresideError, match=r"^The bot does not start: There is no oil\.$"):
            async with connected(fake, [sys.executable, "-c", "raise SystemExit('One.\\nThere is no oil.')"], {}):
                pass


@LOCAL
async def test_a_bot_is_ended_with_the_talk_even_if_that_fails(tmp_path: Path):
    pid = tmp_path / "pid"
    stays = f"import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    async with FakeDiscord() as fake, asyncio.timeout(20):
        start = asyncio.create_task(_hold(fake, [sys.executable, "-c", stays]))
        await fake.until(lambda: pid.exists() and pid.read_text(), timeout=10)
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start
    assert not Path(f"/proc/{pid.read_text()}").exists()


async def _hold(fake: FakeDiscord, command: list[str]) -> None:
    async with connected(fake, command, {}):
        raise AssertionError("it never connects")


def test_a_data_folder_to_throw_away_has_the_index_and_not_what_bots_keep(tmp_path: Path):
    (tmp_path / "index" / "ilya").mkdir(parents=True)
    (tmp_path / "index" / "ilya" / "vectors").write_text("1")
    (tmp_path / "models").mkdir()
    (tmp_path / "fireside.sqlite3").write_text("2")
    with scratch(tmp_path) as folder:
        (folder / "index" / "ilya" / "vectors").write_text("3")
        assert sorted(path.name for path in folder.iterdir()) == ["index", "models"]
    assert (tmp_path / "index" / "ilya" / "vectors").read_text() == "1"


@LOCAL
async def test_the_benchmark_runs_the_bot_in_a_process_of_its_own_and_everyone_is_answered(tmp_path: Path):
    figures = await measure("fake", tmp_path, Sizes(people=6, channels=3, seconds=0.1, patience=20))
    assert (figures["answered"], figures["refused"], figures["silent"]) == (6, 0, 0)
    assert (figures["typing_ms"]["n"], figures["defer_ms"]["n"], figures["answer_s"]["n"]) == (3, 3, 6)
    assert figures["loop_lag_ms"]["n"] >= figures["loop_lag_asking_ms"]["n"] > 0
    assert dict(shown(figures, LINES).rows)["answered"] == "6"


def asked(fake: FakeDiscord, *states: str, buttons: bool = False) -> Asked:
    """A question at second 1, and a reply that read so, one after the other."""
    question = fake.message(fake.general, fake.alice, "What is a lamp?")
    if states:
        given = fake.message(fake.general, fake.bot, states[-1], reply_to=question)
        given.edits = [State(2.0 + number, text) for number, text in enumerate(states)]
        given.components = [{"type": 1, "components": []}] if buttons else []
    return Asked(1.0, fake.general, question)


def test_who_is_answered_told_their_place_refused_and_left_in_silence_is_counted():
    fake = FakeDiscord()
    figures = outcomes(
        [
            asked(fake, "A lamp.", buttons=True),
            asked(fake, "-# You are number 3 in the queue.", "A lamp.", buttons=True),
            asked(fake, "-# You are number 4 in the queue."),
            asked(fake, FULL.format(waiting=32)),
            asked(fake),
        ]
    )
    assert figures == {
        "answered": 2,
        "told_place": 2,
        "still_waiting": 1,
        "refused": 1,
        "refusals": {"Too many are asking at the moment: all 32 places in the queue are taken": 1},
        "silent": 1,
    }


def test_an_answer_is_timed_to_its_last_form():
    assert asked(FakeDiscord(), "-# You are number 1 in the queue.", "A lamp.", buttons=True).done == 2.0


def test_each_mention_takes_the_first_typing_indicator_after_it_in_its_channel():
    fake = FakeDiscord()
    other = fake.channel(fake.guild, "other")
    one = asked(fake)
    seen = [(fake.general, 0.5), (fake.general, 1.25), (other, 1.3), (fake.general, 4.5)]
    both = [one, one._replace(at=2.0), one._replace(at=5.0)]
    assert first_typing(both, seen) == [0.25, 2.5, None]


@pytest.mark.parametrize(
    ("changed", "reached"),
    [
        ({}, ["reached", "reached"]),
        ({"loop_lag_asking_ms": {"p99": 51.0}}, ["missed", "reached"]),
        ({"loop_lag_ms": {}}, ["missed", "reached"]),
        ({"refused": 1}, ["reached", "missed"]),
        ({"silent": 1}, ["reached", "missed"]),
    ],
)
def test_a_target_is_missed_by_late_wakings_refusals_and_silence(changed: Figures, reached: list[str]):
    lag = {"p99": 50.0}
    figures: Figures = {"loop_lag_ms": lag, "loop_lag_asking_ms": lag, "refused": 0, "silent": 0}
    assert [whether for _, whether in verdicts(figures | changed)] == reached


def test_the_questions_are_of_all_kinds_and_stand_for_themselves():
    asked_for = questions(200)
    assert len(asked_for) == 200
    assert len(set(asked_for)) > 190
