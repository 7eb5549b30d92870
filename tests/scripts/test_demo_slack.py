from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bot.host import FULL
from bot.slack.delivery import LOOKING
from persona.errors import FiresideError
from persona.types import Question, Reason, Reply
from scripts.bench_slack import LINES, Asked, measure, own_figures, targets
from scripts.demo_slack import connected, converse
from scripts.full_house import Figures, Sizes, outcomes, shown, verdicts
from tests.bot.replies import reply
from tests.bot.scripted import Script, Scripted, echo
from tests.bot.slack.running import running
from tests.slack_fake import Channel, Delivery, FakeSlack, Message
from tests.slack_fake.deliveries import Try
from tests.slack_fake.world import Edit

LOCAL = pytest.mark.allow_hosts(["127.0.0.1"])
QUIET = 0.05


def scripted(question: Question) -> Reply:
    if "architecture" in question.text and not question.history:
        return reply(Reason.AMBIGUOUS, "Which do you mean: (1) AlexNet; (2) GPT?", options=("AlexNet", "GPT"))
    if "How many" in question.text:
        return reply(Reason.NOT_STATED, "I don't know: my talks don't say *that*.")
    return echo(question)


async def transcript(folder: Path, script: Script) -> str:
    told: list[str] = []
    async with FakeSlack() as fake, running(fake, Scripted(script), folder):
        await converse(fake, told.append, QUIET)
    return "\n".join(told)


@LOCAL
async def test_the_transcript_shows_what_is_said_by_whom_and_where(tmp_path: Path):
    text = await transcript(tmp_path, scripted)
    assert text.startswith("Ada in #general\n  @fireside Why is reliability the biggest obstacle")
    assert (
        f"fireside {LOOKING}\n\nfireside in #general, in Bob's thread\n  I don't know: my talks don't say *that*."
        in text
    )
    assert "Ada in #general, in Ada's thread\n  And what did he say about compression?\n" in text
    assert "  [AlexNet] [GPT]\n" in text
    assert "Bob presses [GPT]\n\nfireside in a direct message, in Bob's thread\n  > GPT\n  You asked: GPT\n" in text
    assert "Quote 1 of 3, word for word\n  [Next]" in text
    assert "fireside in #general (only Ada sees this) now reads\n  > reliability\n" in text
    assert "== What I am, and what I am not ==\n" in text


@LOCAL
async def test_the_transcript_says_who_alone_sees_a_reply_and_what_all_see_once_it_is_shared(tmp_path: Path):
    text = await transcript(tmp_path, scripted)
    assert (
        "Ada in #general uses /fireside why\n\nfireside in #general (only Ada sees this)\n  answer (supported)" in text
    )
    question = "Who said it was the fastest growing application?"
    shared = f"{question}\n  You asked: {question}"
    assert f"fireside in #general (only Bob sees this)\n  > {shared}" in text
    assert f"Bob presses [Share to channel]\n\nfireside in #general\n  > {shared}" in text
    assert "a form opens: What was wrong?\n  What should it have said? ____\n\nBob writes into it and sends\n" in text
    assert "fireside in #general (only Bob sees this)\n  Thank you" in text


@LOCAL
async def test_a_conversation_that_goes_otherwise_ends_in_a_sentence(tmp_path: Path):
    with pytest.raises(FiresideError, match="It should have asked which one is meant, but said: 'You asked: Describe"):
        await transcript(tmp_path, echo)


@LOCAL
async def test_a_bot_that_does_not_start_is_quoted_at_once():
    async with FakeSlack() as fake:
        with pytest.raises(FiresideError, match=r"^The bot does not start: There is no oil\.$"):
            async with connected(fake, [sys.executable, "-c", "raise SystemExit('One.\\nThere is no oil.')"], {}):
                pass


@LOCAL
async def test_what_slack_would_refuse_ends_in_a_sentence(tmp_path: Path):
    async with FakeSlack() as fake:
        fake.violate("chat.postMessage: no such argument")
        with pytest.raises(FiresideError, match=r"^Slack would refuse what the bot sent: chat\.postMessage: no such"):
            async with connected(fake, [sys.executable, "-c", CONNECTS], {}):
                pass
        fake.violations.clear()


# Opens a socket as the library does, and goes when it is told to.
CONNECTS = """
import asyncio, os, signal, aiohttp
async def main():
    token = {"Authorization": "Bearer " + os.environ["SLACK_APP_TOKEN"]}
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with aiohttp.ClientSession(headers=token) as session:
        async with session.post(os.environ["FIRESIDE_SLACK_API_URL"] + "apps.connections.open") as answer:
            address = (await answer.json())["url"]
        async with session.ws_connect(address):
            await stop.wait()
asyncio.run(main())
"""


@LOCAL
async def test_the_benchmark_runs_the_bot_in_a_process_of_its_own_and_everyone_is_answered(tmp_path: Path):
    figures = await measure("fake", tmp_path, Sizes(people=6, channels=3, seconds=0.1, patience=20))
    assert (figures["answered"], figures["refused"], figures["silent"]) == (6, 0, 0)
    # A mention comes as two events, a command as one envelope.
    assert (figures["ack_ms"]["n"], figures["ack_ms"]["missing"], figures["status_ms"]["n"]) == (9, 0, 3)
    assert figures["loop_lag_ms"]["n"] >= figures["loop_lag_asking_ms"]["n"] > 0
    assert dict(shown(figures, LINES).rows)["answered"] == "6"
    assert [whether for says, whether in verdicts(figures, targets(figures)) if "ack" in says] == ["reached"]


def posted(fake: FakeSlack, channel: Channel, question: Message, *texts: str, buttons: bool = False) -> Message:
    """A message of the bot that read so, one after the other, from a second after the question on."""
    made = fake.world.post(channel, fake.bot, texts[-1], thread_ts=question.ts)
    made.ts = f"{float(question.ts) + 1:.6f}"
    made.edits = [Edit(float(made.ts) + number, text, []) for number, text in enumerate(texts[:-1], 1)]
    button = {"type": "button", "action_id": "fireside:why", "text": {"type": "plain_text", "text": "Why?"}}
    made.blocks = [{"type": "actions", "elements": [button]}] if buttons else []
    return made


def asked(fake: FakeSlack, *texts: str, buttons: bool = False, status: str = "") -> Asked:
    person = fake.person("Ada")
    question = fake.world.post(fake.general, person.user, "What is a lamp?")
    if status:
        fake.set_status(fake.general.id, question.ts, status, [])
    if texts:
        posted(fake, fake.general, question, *texts, buttons=buttons)
    return Asked(float(question.ts), person, fake.general, question)


def test_who_is_answered_told_their_place_refused_and_left_in_silence_is_counted():
    fake = FakeSlack()
    figures = outcomes(
        [
            asked(fake, "A lamp.", buttons=True),
            asked(fake, "A lamp.", buttons=True, status="is busy: you are number 3 in the queue…"),
            asked(fake, "You are number 4 in the queue."),
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
    fake = FakeSlack()
    assert asked(fake, "A lamp.", buttons=True).done == pytest.approx(1.0, abs=1e-5)
    assert asked(fake, "You are number 1 in the queue.", "A lamp.", buttons=True).done == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize(
    ("acked", "figures", "reached"),
    [((0.5, 1.0), {"n": 2, "missing": 0}, True), ((0.5, 1.2), {"n": 2}, False), ((0.5, None), {"missing": 1}, False)],
)
def test_the_target_of_acks_is_missed_by_one_that_is_late_or_never_comes(
    acked: tuple[float | None, ...], figures: Figures, reached: bool
):
    fake = FakeSlack()
    ada = fake.person("Ada")
    commands = [Delivery(fake, "slash_commands", {}, str(n), 0.0, acked_at=at) for n, at in enumerate(acked)]
    for command in commands:
        command.tries.append(Try(0.0, 0, None))
    own = own_figures([Asked(0.0, ada, fake.general, command) for command in commands])
    assert figures.items() <= own["ack_ms"].items()
    assert list(targets(own).values()) == [reached]
