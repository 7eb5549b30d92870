from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, running, text_in, whole
from tests.slack_fake import FakeSlack, Person, View

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def home_of(bot: Bot, person: Person) -> View:
    await person.opens_home()
    await bot.fake.until(lambda: bot.fake.home(person))
    await bot.settled()
    home = bot.fake.home(person)
    assert home is not None
    return home


def names(view: View) -> list[str]:
    return [button.action_id.removeprefix("fireside:") for button in view.buttons]


async def panel_of(bot: Bot, admin: Person) -> View:
    await (await admin.command("/fireside", "settings")).acknowledged()
    await bot.fake.until(lambda: admin.modal)
    assert admin.modal is not None
    return admin.modal


async def chosen(bot: Bot, admin: Person, panel: View, key: str, choose: object = None) -> str:
    """What the panel says after a choice."""
    before = panel.updates
    await (await admin.click(panel, f"fireside:set:{key}", choose)).acknowledged()
    await bot.fake.until(lambda: panel.updates > before)
    return text_in(panel.blocks)


async def test_home_says_what_it_is_from_what_it_answers_and_how_often_it_is_wrong(either: Bot):
    shown = text_in((await home_of(either, either.fake.person("Ada"))).blocks)
    assert either.fireside.card.disclosure.split(".")[0] in shown
    assert "What I am, and what I am not" in shown
    for talk in either.fireside.corpus.catalog.talk:
        assert talk.title in shown
    assert "false answers" in shown
    assert "ertified" in shown
    assert "I keep no messages." in shown


async def test_home_offers_settings_to_admins_alone(bot: Bot):
    fake = bot.fake
    assert "home:settings" not in names(await home_of(bot, fake.person("Ada")))
    olga = fake.person("Olga", admin=True)
    home = await home_of(bot, olga)
    await (await olga.click(home, "fireside:home:settings")).acknowledged()
    await fake.until(lambda: olga.modal)
    assert olga.modal is not None
    assert "How I behave in this workspace" in text_in(olga.modal.blocks).replace("*", "")


async def test_a_click_on_settings_by_somebody_else_is_refused(bot: Bot):
    fake = bot.fake
    ada, olga = fake.person("Ada"), fake.person("Olga", admin=True)
    panel = await panel_of(bot, olga)
    panel.user = ada.user  # as if Ada had come by it
    await (await ada.click(panel, "fireside:set:answers", "mentions")).acknowledged()
    await fake.until(lambda: bot.said(ada.dm))
    assert "Only admins and owners of the workspace" in text_in(bot.said(ada.dm)[0])
    assert (await bot.store.place("slack", fake.team_id)).answers == "threads"


async def test_what_is_kept_of_a_person_comes_as_a_file_to_that_person_alone(bot: Bot):
    fake = bot.fake
    ada, bob = fake.person("Ada"), fake.person("Bob")
    home = await home_of(bot, ada)
    await (await ada.click(home, "fireside:home:export")).acknowledged()
    await fake.until(lambda: bot.said(ada.dm))
    assert "nothing to export" in text_in(bot.said(ada.dm)[0])
    for person in (ada, bob):
        reply = await bot.answers(person, f"What is {person.user.name}'s lamp?")
        await bot.clicked(person, reply, "opinion", "positive")
    await (await ada.click(home, "fireside:home:export")).acknowledged()
    await fake.until(lambda: len(bot.said(ada.dm)) == 2)
    (file,) = bot.said(ada.dm)[1].files
    (row,) = json.loads(file.data or b"")
    assert (file.name, row["question"], row["user"]) == ("fireside-feedback.json", "What is Ada's lamp?", ada.id)
    assert not any(m.files for m in bot.said())


async def test_an_export_that_can_not_be_uploaded_is_told(bot: Bot, caplog: pytest.LogCaptureFixture):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.clicked(ada, await bot.answers(ada, "What is a lamp?"), "opinion", "positive")
    fake.fail("files.getUploadURLExternal", error="missing_scope")
    await (await ada.click(await home_of(bot, ada), "fireside:home:export")).acknowledged()
    await fake.until(lambda: bot.said(ada.dm))
    assert "The file could not be uploaded." in text_in(bot.said(ada.dm)[0])
    assert "run `fireside doctor slack`" in caplog.text


async def test_delete_and_opting_out_and_in_again(bot: Bot):
    fake = bot.fake
    ada = fake.person("Ada")
    await bot.clicked(ada, await bot.answers(ada, "What is a lamp?"), "opinion", "positive")
    home = await home_of(bot, ada)
    for number, (action, says) in enumerate(
        [
            ("delete", "1 piece of feedback deleted"),
            ("opt-out", "From now on I keep nothing of you"),
            ("opt-in", "I keep no messages"),
        ]
    ):
        published = home.published
        await (await ada.click(home, f"fireside:home:{action}")).acknowledged()
        await fake.until(lambda published=published: home.published > published)
        assert says in text_in(bot.said(ada.dm)[number])
        assert ("home:opt-in" in names(home)) == (action == "opt-out")
    assert not await bot.store.feedback()
    assert not await bot.store.opted_out("slack", ada.id)


async def test_a_home_that_can_not_be_shown_is_one_sentence_in_the_log(bot: Bot, caplog: pytest.LogCaptureFixture):
    bot.fake.fail("views.publish", error="not_enabled")
    await bot.fake.person("Ada").opens_home()
    await bot.settled()
    assert "(not_enabled)" in caplog.text


async def test_settings_hold_at_once_and_can_be_taken_back(bot: Bot):
    fake = bot.fake
    olga, ada = fake.person("Olga", admin=True), fake.person("Ada")
    panel = await panel_of(bot, olga)
    assert "Answers mentions only." in await chosen(bot, olga, panel, "answers", "mentions")
    root = await bot.mentioned(ada, "One?")
    await fake.reply_to(root, done=whole)
    await ada.say(fake.general, "Two?", thread=root)
    await bot.settled()
    assert bot.asked == ["One?"]
    await chosen(bot, olga, panel, "blocked_channels", [fake.general.id])
    await chosen(bot, olga, panel, "blocked_users", [ada.id])
    held = await bot.store.place("slack", fake.team_id)
    assert (held.blocked_channels, held.blocked_users) == ((fake.general.id,), (ada.id,))
    assert "I am not to answer" in text_in(await bot.told(ada, "ask Three?"))
    assert "goes on in its threads" in await chosen(bot, olga, panel, "clear")
    assert "You asked: Four?" in text_in(await bot.told(ada, "ask Four?"))
    assert "Other bots: answered" in await chosen(bot, olga, panel, "bots")
    assert "Other bots: ignored" in await chosen(bot, olga, panel, "nobots")


async def test_a_channel_has_settings_of_its_own(bot: Bot):
    fake = bot.fake
    olga = fake.person("Olga", admin=True)
    panel = await panel_of(bot, olga)
    assert "set:blocked_users" in names(panel)
    shown = await chosen(bot, olga, panel, "scope", "channel")
    assert f"How I behave in <#{fake.general.id}>" in shown
    assert "set:blocked_users" not in names(panel)  # who may ask is the workspace's alone
    assert "Voice: quotes" in await chosen(bot, olga, panel, "voice", "quotes")
    assert (await bot.store.place("slack", fake.team_id, fake.general.id)).voice == "quotes"
    assert (await bot.store.place("slack", fake.team_id)).voice is None
    assert "How I behave in this workspace" in await chosen(bot, olga, panel, "scope", "workspace")


async def test_only_certified_risks_are_offered_and_taken(bot: Bot):
    fake = bot.fake
    olga = fake.person("Olga", admin=True)
    panel = await panel_of(bot, olga)
    assert ("set:risk" in names(panel)) == bool(bot.slack.desk.host.risks())
    option = {"text": {"type": "plain_text", "text": "Risk"}, "value": "0.999"}
    menu = {"type": "static_select", "action_id": "fireside:set:risk", "options": [option]}
    panel.content["blocks"] = [{"type": "actions", "block_id": "b", "elements": [menu]}]
    assert "The risk 0.999 is not certified (any more)." in await chosen(bot, olga, panel, "risk", "0.999")
    assert (await bot.store.place("slack", fake.team_id)).risk is None


async def test_in_a_dm_settings_are_the_workspace_s(bot: Bot):
    fake = bot.fake
    olga = fake.person("Olga", admin=True)
    await (await olga.command("/fireside", "settings", channel=olga.dm)).acknowledged()
    await fake.until(lambda: olga.modal)
    assert olga.modal is not None
    assert "set:scope" not in names(olga.modal)


async def test_a_choice_that_can_not_be_stored_is_told_in_the_panel(bot: Bot):
    fake = bot.fake
    olga = fake.person("Olga", admin=True)
    panel = await panel_of(bot, olga)
    await bot.settled()  # what is still being noted would open it again
    await bot.store.close()
    Path(bot.store.where).write_bytes(b"no database" * 500)
    await (await olga.click(panel, "fireside:set:answers", "mentions")).acknowledged()
    await fake.until(lambda: bot.said(olga.dm))
    assert "My store doesn't answer at the moment" in text_in(bot.said(olga.dm)[0])


async def test_admins_are_asked_for_again_where_slack_has_too_much_to_do(fake: FakeSlack, tmp_path: Path):
    async with running(fake, Scripted(), tmp_path) as bot:
        fake.fail("users.info", status=429, retry_after=0.02)
        await panel_of(bot, fake.person("Olga", admin=True))
