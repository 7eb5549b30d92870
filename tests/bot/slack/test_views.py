from __future__ import annotations

from pathlib import Path

import pytest

from bot.slack.views import ABOUT, SEARCH, completions
from tests.bot.scripted import Scripted, asks_back
from tests.bot.slack.running import Bot, actions_of, running, text_in, whole
from tests.slack_fake import FakeSlack, mentions_in

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TOPIC, SPEAKER, TALK, COMMENT = (f"fireside:{name}" for name in ("topic", "speaker", "talk", "comment"))


# Quotations


async def test_quote_shows_a_card_and_turns_to_the_next_in_its_place(either: Bot):
    fake = either.fake
    ada = fake.person("Ada")
    card = await either.told(ada, "quote lamps")
    assert "“Quotation number 1.”" in text_in(card)
    assert "Quote 1 of 3, word for word" in text_in(card)
    assert "quote:previous" not in actions_of(card)
    for action, number in (("next", 2), ("next", 3), ("previous", 2)):
        await (await ada.click(card, f"fireside:quote:{action}")).acknowledged()
        await fake.until(lambda number=number: f"Quotation number {number}." in text_in(card))
    assert fake.ephemerals(ada) == [card]


async def test_a_private_quotation_can_be_shared_and_turned_there(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    card = await bot.told(ada, "quote lamps")
    await (await ada.click(card, "fireside:post")).acknowledged()
    await fake.until(bot.said)
    shared = bot.said()[0]
    assert "“Quotation number 1.”" in text_in(shared)
    assert "post" not in actions_of(shared)
    await (await bob.click(shared, "fireside:quote:next")).acknowledged()
    await fake.until(lambda: "“Quotation number 2.”" in text_in(shared))
    assert "post" not in actions_of(shared)
    assert bot.said() == [shared]


@pytest.mark.parametrize("look", ["dark", "light"])
async def test_a_private_quotation_s_picture_comes_in_the_conversation_with_its_words(bot: Bot, look: str):
    fake = bot.fake
    ada = fake.person("Ada")
    card = await bot.told(ada, "quote lamps")
    assert "The picture is in our conversation." in text_in(await bot.clicked(ada, card, f"picture:{look}"))
    (picture,) = bot.said(ada.dm)[0].files
    assert (picture.data or b"").startswith(b"\x89PNG")
    assert "Quotation number 1." in picture.alt


async def test_a_shared_quotation_s_picture_comes_beside_it(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    card = await bot.told(ada, "quote lamps")
    await (await ada.click(card, "fireside:post")).acknowledged()
    await fake.until(bot.said)
    await (await ada.click(bot.said()[0], "fireside:picture:dark")).acknowledged()
    await fake.until(lambda: len(bot.said()) == 2)
    assert bot.said()[1].files
    assert not bot.said(ada.dm)


async def test_a_picture_that_can_not_be_uploaded_is_told_in_a_sentence(bot: Bot, caplog: pytest.LogCaptureFixture):
    ada = bot.fake.person("Ada")
    card = await bot.told(ada, "quote lamps")
    bot.fake.fail("files.getUploadURLExternal", error="missing_scope")
    told = text_in(await bot.clicked(ada, card, "picture:dark"))
    assert told == "Slack didn't let me do that. Whoever runs me finds the reason in the log."
    assert "lacks the scope" in caplog.text


async def test_the_search_completes_topics_and_finds_by_speaker_and_talk(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await (await ada.command("/fireside", "quote")).acknowledged()
    await fake.until(lambda: ada.modal)
    form = ada.modal
    assert form is not None
    talks, speakers = [t.title for t in bot.fireside.corpus.catalog.talk], bot.fireside.corpus.speakers
    assert "Any talk" in text_in(form.blocks)
    offered = await ada.suggest(form, TOPIC, "deep lear")
    await offered.acknowledged()
    assert [o["value"] for o in offered.options or []][:2] == ["deep lear", "deep learning"]
    await (await ada.submit(form, {TOPIC: "deep learning", SPEAKER: "0", TALK: "0"})).acknowledged()
    await fake.until(lambda: fake.ephemerals(ada))
    assert speakers
    assert talks
    assert "Nothing in the talks is about that." in text_in(
        fake.ephemerals(ada)[-1]
    )  # the script's are of no such talk
    await (await ada.command("/fireside", "quote")).acknowledged()
    await fake.until(lambda: ada.modal)
    form = ada.modal
    assert form is not None
    await (await ada.suggest(form, TOPIC, "lamps")).acknowledged()
    await (await ada.submit(form, {TOPIC: "lamps"})).acknowledged()
    await fake.until(lambda: len(fake.ephemerals(ada)) == 2)
    assert "“Quotation number 1.”" in text_in(fake.ephemerals(ada)[-1])
    assert ada.modal is None


async def test_the_global_shortcut_answers_in_the_person_s_own_conversation(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await (await ada.shortcut(None, SEARCH)).acknowledged()
    await fake.until(lambda: ada.modal)
    assert ada.modal is not None
    await (await ada.suggest(ada.modal, TOPIC, "lamps")).acknowledged()
    await (await ada.submit(ada.modal, {TOPIC: "lamps"})).acknowledged()
    await fake.until(lambda: bot.said(ada.dm))
    assert "“Quotation number 1.”" in text_in(bot.said(ada.dm)[0])


async def test_a_form_that_comes_too_late_is_told_in_a_sentence(bot: Bot):
    fake = bot.fake
    fake.fail("views.open", error="expired_trigger_id")
    told = text_in(await bot.told(fake.person("Ada"), "quote"))
    assert told == "Slack lets a form open for three seconds only, and that took longer. Please try it again."


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("deep lear", ["deep lear", "deep learning"]),
        ("learn", ["learn", "learning"]),
        ("LEARN", ["LEARN", "learning"]),
        ("x" * 300, ["x" * 74 + "…"]),
        ("", ["learning"]),
    ],
)
def test_a_topic_is_completed_by_its_last_word(typed: str, first: list[str]):
    found = completions(typed, ["learning"])
    assert all(len(topic) <= 75 for topic in found)
    assert found[1:] == first[1:] or typed == ""
    assert found[0][:70] == first[0][:70]


async def test_the_message_menu_looks_up_what_was_said_about_a_message(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    said = await fake.person("Bob").say(fake.general, "Lamps are <!here> overrated.")
    await (await ada.shortcut(said, ABOUT)).acknowledged()
    await fake.until(lambda: fake.ephemerals(ada))
    card = fake.ephemerals(ada)[0]
    assert text_in(card).startswith("Lamps are @here overrated.\n“Quotation number 1.”")
    assert not [active for active in mentions_in(card) if active.kind != "link"]
    silent = fake.world.post(fake.general, fake.person("Bob").user, "", subtype="file_share")
    await (await ada.shortcut(silent, ABOUT)).acknowledged()
    await fake.until(lambda: len(fake.ephemerals(ada)) == 2)
    assert "There are no words in that message" in text_in(fake.ephemerals(ada)[1])


async def test_what_the_message_menu_finds_in_a_thread_is_shown_there(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    root = await ada.say(fake.general, "Lamps.")
    said = await fake.person("Bob").say(fake.general, "Lamps are overrated.", thread=root)
    await (await ada.shortcut(said, ABOUT)).acknowledged()
    await fake.until(lambda: fake.ephemerals(ada))
    card = fake.ephemerals(ada)[0]
    assert card.thread_ts == root.ts
    await (await ada.click(card, "fireside:post")).acknowledged()
    await fake.until(bot.said)
    assert bot.said()[0].root == root.ts
    await ada.say(fake.general, "And candles?", thread=root)
    await fake.until(lambda: bot.asked == ["And candles?"])


# Buttons under replies


async def test_why_and_again_work_in_a_thread(either: Bot):
    fake = either.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    reply = await either.answers(ada, "What is a lamp?")
    why = await either.clicked(bob, reply, "why")
    assert "supported" in text_in(why)
    assert why.thread_ts == reply.root
    await (await bob.click(reply, "fireside:again")).acknowledged()
    await fake.until(lambda: len(either.said()) == 2)
    assert either.said()[1].root == reply.root
    assert either.asked == ["What is a lamp?"] * 2
    assert either.fireside.seeds[0] != either.fireside.seeds[1]


async def test_good_is_kept_once_a_person_and_forgotten_on_wish(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    reply = await bot.answers(ada, "What is a lamp?")
    for person in (ada, bob, bob):
        assert "Thank you" in text_in(await bot.clicked(person, reply, "opinion", "positive"))
    kept = await bot.store.feedback()
    assert [(f.user, f.good, f.question, f.text) for f in kept] == [
        (person.id, True, "What is a lamp?", "You asked: What is a lamp?") for person in (ada, bob)
    ]
    assert "1 piece of feedback deleted" in text_in(await bot.told(bob, "forget"))
    assert [f.user for f in await bot.store.feedback()] == [ada.id]


async def test_bad_asks_what_was_wrong_and_keeps_that_with_the_reply(either: Bot):
    fake = either.fake
    bob = fake.person("Bob")
    reply = await either.answers(fake.person("Ada"), "What is a lamp?")
    await (await bob.click(reply, "fireside:opinion", "negative")).acknowledged()
    await fake.until(lambda: bob.modal)
    assert bob.modal is not None
    assert bob.modal.title == "What was wrong?"
    await (await bob.submit(bob.modal, {COMMENT: "It is a *buoy*. <!here>"})).acknowledged()
    await fake.until(lambda: fake.ephemerals(bob))
    thanks = fake.ephemerals(bob)[-1]
    assert "Thank you" in text_in(thanks)
    assert thanks.thread_ts == reply.root
    (kept,) = await either.store.feedback()
    assert (kept.good, kept.comment, kept.question, kept.user) == (
        False,
        "It is a *buoy*. <!here>",
        "What is a lamp?",
        bob.id,
    )


async def test_a_comment_is_not_needed(bot: Bot):
    fake = bot.fake
    bob = fake.person("Bob")
    reply = await bot.told(bob, "ask What is a lamp?")
    await (await bob.click(reply, "fireside:opinion", "negative")).acknowledged()
    await fake.until(lambda: bob.modal)
    assert bob.modal is not None
    await (await bob.submit(bob.modal)).acknowledged()
    await fake.until(lambda: len(fake.ephemerals(bob)) == 2)
    assert [(f.good, f.comment) for f in await bot.store.feedback()] == [(False, "")]


async def test_who_opted_out_leaves_no_feedback(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.told(ada, "forget opt-out")
    reply = await bot.answers(ada, "What is a lamp?")
    told = text_in(await bot.clicked(ada, reply, "opinion", "positive"))
    assert "You asked me to keep nothing of you, so I didn't." in told
    assert "`/fireside forget opt-in`" in told
    assert not await bot.store.feedback()


async def test_buttons_work_after_a_restart_with_the_history_of_their_question(fake: FakeSlack, tmp_path: Path):
    ada, bob = fake.person("Ada"), fake.person("Bob")
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        back = await bot.answers(ada, "Which lamp?")
        long = await bot.answers(ada, "What is it? " * 300, thread=back.root)
        private = await bot.told(bob, "ask What is *it*?")
        card = await bot.told(bob, "quote lamps")
    async with running(fake, Scripted(asks_back), tmp_path) as bot:
        await (await ada.click(back, "fireside:pick:1")).acknowledged()
        await fake.until(lambda: bot.asked == ["the new lamp"])
        turns = [t.content for t in bot.fireside.asked[0].history]
        assert turns == ["Which lamp?", "Which do you mean: (1) the old lamp; (2) the new lamp?"]
        await bot.clicked(bob, private, "why")
        assert bot.asked[1:] == ["What is *it*?"]
        await bot.clicked(bob, private, "opinion", "positive")
        assert [f.question for f in await bot.store.feedback()] == ["What is *it*?"]
        await bot.clicked(bob, long, "why")  # too long for its button: read from the thread again
        assert bot.asked[-1] == ("What is it? " * 300).strip()
        assert [t.content for t in bot.fireside.asked[-1].history] == turns
        await (await bob.click(card, "fireside:quote:next")).acknowledged()
        await fake.until(lambda: "Quotation number 2." in text_in(card))
        await (await bob.click(private, "fireside:share")).acknowledged()
        await fake.until(lambda: any("What is *it*?" in text_in(m) for m in bot.said()))


async def test_bad_works_after_a_restart_with_the_history_of_its_question(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        first = await bot.answers(ada, "What is a lamp?")
        await bot.mentioned(ada, "And its oil?", thread=first.root)
        await fake.until(lambda: len([m for m in bot.said() if whole(m)]) == 2)
        second = bot.said()[-1]
    async with running(fake, Scripted(), tmp_path) as bot:
        await (await ada.click(second, "fireside:opinion", "negative")).acknowledged()
        await fake.until(lambda: ada.modal)
        assert ada.modal is not None
        await (await ada.submit(ada.modal)).acknowledged()
        await fake.until(lambda: fake.ephemerals(ada))
        (kept,) = await bot.store.feedback()
        assert (kept.question, [t.content for t in kept.history]) == (
            "And its oil?",
            ["What is a lamp?", "You asked: What is a lamp?"],
        )


async def test_a_button_whose_question_is_gone_says_so(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    async with running(fake, Scripted(), tmp_path) as bot:
        reply = await bot.answers(ada, "What is it? " * 300)
    next(m for m in fake.general.messages if m.ts == reply.root).text = ""
    async with running(fake, Scripted(), tmp_path) as bot:
        assert "I can no longer read the question" in text_in(await bot.clicked(ada, reply, "why"))


async def test_a_click_in_a_blocked_channel_is_refused_but_for_what_is_one_s_own(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    reply = await bot.answers(ada, "What is a lamp?")
    await bot.store.change_place("slack", fake.team_id, blocked_channels=(fake.general.id,))
    assert "I am not to answer in this channel." in text_in(await bot.clicked(ada, reply, "again"))
    assert "Thank you" in text_in(await bot.clicked(ada, reply, "opinion", "positive"))
    assert bot.asked == ["What is a lamp?"]


async def test_a_click_on_what_is_no_longer_offered_is_acknowledged(bot: Bot):
    fake = bot.fake
    old = fake.world.post(fake.general, fake.bot, "Old")
    for action in ("fireside:gone", "fireside:quote:next", "else"):
        button = {"type": "button", "action_id": action, "text": {"type": "plain_text", "text": "x"}, "value": "{]"}
        old.blocks = [{"type": "actions", "block_id": "b", "elements": [button]}]
        await (await fake.person("Ada").click(old, action)).acknowledged()
    await bot.settled()
