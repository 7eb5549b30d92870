from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from bot.store import OWN, Feedback, PlaceSettings, Seen, Store, store_error
from persona.errors import InputError, StoreError
from persona.types import Decision, Reason, Turn
from tests.persona.corpora import assert_sentence

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "fireside.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    made = await Store.open(path)
    yield made
    await made.close()


def thumbs_down(reply_id: str = "r1", user: str = "u1", **fields: Any) -> Feedback:
    given: dict[str, Any] = {
        "created": NOW,
        "good": False,
        "comment": "He never said that. 😕",
        "question": "What about banks?",
        "history": (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello.")),
        "text": "Banks are “fine”.",
        "decision": Decision.ANSWER,
        "reason": Reason.SUPPORTED,
    }
    return Feedback(
        platform="discord", place="g1", channel="c1", user=user, reply_id=reply_id, corpus="sha256:0", **given | fields
    )


async def test_an_event_is_new_once(store: Store):
    assert await store.first_sight("discord", "1")
    assert not await store.first_sight("discord", "1")
    assert await store.first_sight("slack", "1")


async def test_of_many_who_see_an_event_at_once_one_is_first(path: Path, store: Store):
    other = await Store.open(path)
    seen = await asyncio.gather(*((store, other)[i % 2].first_sight("discord", "1") for i in range(40)))
    await other.close()
    assert seen.count(True) == 1


async def test_what_was_kept_is_there_after_a_restart(path: Path, store: Store):
    await store.first_sight("discord", "1")
    await store.save_place("discord", "g1", None, PlaceSettings(voice="quotes"))
    await store.close()
    again = await Store.open(path)
    assert not await again.first_sight("discord", "1")
    assert (await again.place("discord", "g1")).voice == "quotes"
    await again.close()


async def test_what_a_killed_process_left_unanswered_is_known(store: Store):
    for number in range(3):
        await store.first_sight("discord", str(number), f"c{number}")
    await store.answered("discord", "1")
    await store.first_sight("slack", "9")
    assert await store.unanswered("discord") == [Seen("0", "c0"), Seen("2", "c2")]


async def test_the_channels_of_late_are_known_once_each(store: Store):
    for number, channel in enumerate(["c1", "c2", "c1"]):
        await store.first_sight("discord", f"e{number}", channel)
    await store.first_sight("slack", "e9", "c9")
    now = datetime.now(UTC)
    assert await store.channels("discord", now - timedelta(hours=1)) == ["c1", "c2"]
    assert await store.channels("discord", now + timedelta(hours=1)) == []


async def test_a_place_that_set_nothing_has_the_defaults(store: Store):
    assert await store.place("discord", "g1", "c1") == PlaceSettings()


async def test_a_channels_own_settings_go_before_its_places(store: Store):
    await store.save_place("discord", "g1", None, PlaceSettings(answers="mentions", risk=0.05, blocked_users=("7",)))
    await store.save_place("discord", "g1", "c1", PlaceSettings(risk=0.2))
    settings = await store.place("discord", "g1", "c1")
    assert (settings.answers, settings.risk, settings.blocked_users) == ("mentions", 0.2, ("7",))
    assert (await store.place("discord", "g1", "c2")).risk == 0.05
    assert (await store.place("discord", "g2", "c1")).risk is None


async def test_a_channel_cannot_let_in_whom_its_place_blocks(store: Store):
    await store.save_place("discord", "g1", None, PlaceSettings(blocked_users=("7",)))
    await store.change_place("discord", "g1", "c1", blocked_users=(), answers="mentions")
    settings = await store.place("discord", "g1", "c1")
    assert (settings.blocked_users, settings.answers) == (("7",), "mentions")
    assert set(OWN) < set(PlaceSettings.model_fields)


async def test_a_change_keeps_the_other_keys_and_none_takes_one_back(store: Store):
    await store.change_place("discord", "g1", voice="quotes", risk=0.1)
    await store.change_place("discord", "g1", "c1", voice="model")
    assert (await store.change_place("discord", "g1", risk=0.2)).voice == "quotes"
    assert (await store.change_place("discord", "g1", "c1", voice=None)).voice == "quotes"
    assert (await store.change_place("discord", "g1", voice=None)).voice is None


async def test_two_admins_who_change_different_keys_at_once_both_get_their_way(path: Path, store: Store):
    other = await Store.open(path)
    await asyncio.gather(
        store.change_place("discord", "g1", voice="quotes"), other.change_place("discord", "g1", risk=0.1)
    )
    await other.close()
    settings = await store.place("discord", "g1")
    assert (settings.voice, settings.risk) == ("quotes", 0.1)


@pytest.mark.parametrize(
    "changes", [{"risk": 1.5}, {"voice": "loud"}, {"answers": "always"}, {"persona": ""}, {"colour": "red"}]
)
async def test_a_value_that_cannot_be_is_refused_and_changes_nothing(store: Store, changes: dict[str, Any]):
    await store.change_place("discord", "g1", risk=0.1)
    with pytest.raises(InputError) as caught:
        await store.change_place("discord", "g1", **changes)
    assert_sentence(caught.value, next(iter(changes)))
    assert await store.place("discord", "g1") == PlaceSettings(risk=0.1)


async def test_feedback_comes_back_as_it_was_given(store: Store):
    given = [thumbs_down(), thumbs_down("r2", good=True, created=NOW + timedelta(days=1))]
    for feedback in reversed(given):
        await store.add_feedback(feedback)
    assert await store.feedback() == given
    assert await store.feedback(NOW + timedelta(hours=1)) == given[1:]


async def test_a_second_thought_replaces_the_first(store: Store):
    await store.add_feedback(thumbs_down())
    await store.add_feedback(thumbs_down(user="u2"))
    await store.add_feedback(thumbs_down(good=True, comment=""))
    assert [(f.user, f.good) for f in await store.feedback()] == [("u2", False), ("u1", True)]


async def test_half_a_surrogate_pair_is_no_reason_to_lose_feedback(store: Store):
    await store.add_feedback(thumbs_down(comment="so \ud83d"))
    assert (await store.feedback())[0].comment == "so \ufffd"


async def test_who_opted_out_stays_out_until_opting_in(store: Store):
    await store.opt_out("discord", "u1")
    await store.opt_out("discord", "u1")
    assert await store.opted_out("discord", "u1")
    assert not await store.opted_out("discord", "u2")
    await store.opt_out("discord", "u1", out=False)
    assert not await store.opted_out("discord", "u1")


async def test_a_channel_is_met_once(store: Store):
    assert await store.first_contact("discord", "c1")
    assert not await store.first_contact("discord", "c1")


async def test_forget_leaves_not_a_byte_of_what_a_user_wrote(path: Path, store: Store):
    await store.add_feedback(thumbs_down(comment="peregrine"))
    await store.add_feedback(thumbs_down(user="u2", comment="kestrel"))
    assert await store.forget("discord", "u1") == 1
    assert [f.user for f in await store.feedback()] == ["u2"]
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"peregrine" not in kept
    assert b"kestrel" in kept


async def test_purge_deletes_what_is_older_and_nothing_else(store: Store):
    now, day = datetime.now(UTC), timedelta(days=1)
    await store.add_feedback(thumbs_down(created=now - 40 * day))
    await store.add_feedback(thumbs_down("r2", created=now))
    await store.first_sight("discord", "1")
    await store.change_place("discord", "g1", voice="quotes")
    assert await store.purge(now - 30 * day) == 1
    assert [f.reply_id for f in await store.feedback()] == ["r2"]
    assert not await store.first_sight("discord", "1")
    assert await store.purge(now + day) == 2
    assert await store.first_sight("discord", "1")
    assert (await store.place("discord", "g1")).voice == "quotes"


async def test_a_task_that_is_cancelled_leaves_the_store_working(store: Store):
    for turns in range(6):
        task = asyncio.create_task(store.first_sight("discord", f"cancelled {turns}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await store.first_sight("discord", "after")


async def test_only_the_owner_may_read_it(path: Path, store: Store):
    assert store.where == str(path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path):
    path = tmp_path / "fireside.sqlite3"
    path.write_bytes(b"my diary" * 200)
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert_sentence(caught.value, str(path), "is no database", "backup")
    assert path.read_bytes() == b"my diary" * 200


async def test_a_store_that_cannot_be_made_names_its_folder(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        await Store.open(tmp_path / "file" / "fireside.sqlite3")
    assert_sentence(caught.value, str(tmp_path), "--data-dir")


async def test_a_store_that_may_only_be_read_says_so(path: Path, store: Store):
    await store.close()
    with pytest.raises(StoreError) as caught:
        await Store.open(f"sqlite+aiosqlite:///file:{path}?mode=ro&uri=true")
    assert_sentence(caught.value, "can't be written", "FIRESIDE_DATA_DIR")


async def test_a_store_of_another_version_is_left_alone(path: Path, store: Store):
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE format SET version = 99")
    connection.close()
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert_sentence(caught.value, "format 99")


async def test_settings_that_another_version_wrote_are_named(path: Path, store: Store):
    await store.change_place("discord", "g1", voice="quotes")
    with sqlite3.connect(path) as connection:
        connection.execute("""UPDATE place SET settings = '{"mood": "grim"}'""")
    connection.close()
    with pytest.raises(StoreError) as caught:
        await store.place("discord", "g1")
    assert_sentence(caught.value, "'mood'")


def test_a_locked_database_and_a_full_disk_are_told_apart(tmp_path: Path):
    one, two = (sqlite3.connect(tmp_path / "s", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("CREATE TABLE t (x)")
    one.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        two.execute("BEGIN IMMEDIATE")
    one.execute("ROLLBACK")
    one.execute("PRAGMA max_page_count=2")
    with pytest.raises(sqlite3.OperationalError) as full:
        one.execute("INSERT INTO t VALUES (zeroblob(100000))")
    one.close()
    two.close()
    assert_sentence(store_error(locked.value, "S"), "'S' is locked", "try again")
    assert_sentence(store_error(OperationalError("", {}, full.value), "S"), "'S' is full", "Free space")


async def test_a_password_in_the_url_is_not_shown():
    with pytest.raises(StoreError) as caught:
        await Store.open("sqlite+aiosqlite://user:secret@host//nowhere/at/all")
    assert "secret" not in str(caught.value)
