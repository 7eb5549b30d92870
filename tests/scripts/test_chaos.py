"""The chaos, short: real adapters, processes and servers; a persona that answers by a script."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bot.desk import LEAVING
from persona.errors import FiresideError
from scripts.chaos import PHASES, Sizes, Weight, course, outcomes, run, shown, slope_of, texts
from scripts.chaos_house import HOUSES, UNAVAILABLE, Asked, Kept, Seen
from scripts.chaos_parts import Bot, ModelServer

LOCAL = pytest.mark.allow_hosts(["127.0.0.1"])
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process, and /proc")


@LOCAL
@LINUX
@pytest.mark.parametrize("platform", sorted(HOUSES))
async def test_a_short_chaos_breaks_no_promise(platform: str, tmp_path: Path):
    (tmp_path / "index" / "ilya").mkdir(parents=True)
    command = [sys.executable, "-m", "tests.bot.child", platform, "0.05"]
    told: list[str] = []
    sizes = Sizes(seconds=7.5, questions=12, seed=5)
    figures = await run(HOUSES[platform](), tmp_path, sizes, told.append, ("errors", "disk", "kill"), command)
    assert figures["broken"] == []
    *phases, everything = figures["phases"]
    assert [phase["phase"] for phase in phases] == ["errors", "disk", "kill"]
    assert everything["asked"] == sum(phase["asked"] for phase in phases) >= 30
    assert figures["starts"] > 2, "it was ended and started again"
    assert figures["acknowledged"] > 0
    assert [line for line in told if "kill" in line]
    assert "BROKEN" not in str(shown(figures))


def asked(*seen: Seen, failed: bool = False, kind: str = "mention") -> Asked:
    return Asked(kind, lambda: seen, lambda: failed)


@pytest.mark.parametrize(
    ("seen", "failed", "outcome"),
    [
        ([], False, ""),
        ([], True, "platform"),
        ([Seen("You are number 3 in the queue.", False)], False, ""),
        ([Seen("Because …", True)], False, "answered"),
        ([Seen(LEAVING, False)], False, "told"),
        ([Seen(f"{UNAVAILABLE}…", True)], False, "told"),
        ([Seen("You are number 3 in the queue.", False), Seen("Because …", True)], True, "answered"),
    ],
)
def test_what_became_of_a_question_is_told_by_what_stands_there(seen: Sequence[Seen], failed: bool, outcome: str):
    assert asked(*seen, failed=failed).outcome == outcome


def test_who_heard_nothing_and_who_heard_twice_are_counted():
    whole = Seen("Because …", True)
    figures = outcomes([asked(whole), asked(whole, whole, kind="dm"), asked(), asked(failed=True, kind="command")])
    counted = [figures[name] for name in ("asked", "answered", "told", "platform", "unanswered", "twice")]
    assert counted == [4, 2, 0, 1, 1, 1]
    assert (figures["unanswered_kinds"], figures["twice_kinds"]) == ({"mention": 1}, {"dm": 1})


def test_a_second_reply_breaks_a_promise_only_where_the_first_could_be_known_of():
    whole, unknown = Seen("Because …", True), Seen("Because …", True, unconfirmed=True)
    figures = outcomes([asked(unknown, whole), asked(unknown, whole, whole), asked(unknown)])
    assert [figures[name] for name in ("answered", "again", "twice")] == [3, 1, 1]


def test_the_slope_is_that_of_the_longest_process_without_its_beginning():
    loading = [Weight(1, n, 100.0 + n) for n in range(0, 100, 10)]
    flat = [Weight(1, n, 200.0 + n * 0.002) for n in range(100, 1001, 10)]
    slope, over = slope_of([*loading, *flat, Weight(2, 5, 900.0)])
    assert slope == pytest.approx(2.0)
    assert over == 900
    assert course([*loading, *flat])[0] == (0, 100.0)
    assert (slope_of([]), course([])) == ((None, 0), [])


def test_a_setting_may_be_the_acknowledged_value_or_one_that_was_tried_since():
    kept = Kept()
    assert kept.try_answers() == "mentions"
    assert kept.answers == {"threads", "mentions"}
    kept.changed("mentions")
    assert (kept.answers, kept.acknowledged) == ({"mentions"}, 1)


def test_questions_are_mixed_in_the_same_way_for_the_same_seed():
    one, same, other = (texts(random.Random(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(one) == sorted(other)


@LOCAL
@LINUX
async def test_a_process_that_ends_by_itself_is_told_with_its_last_words():
    async def up() -> None:
        await asyncio.sleep(60)

    command = [sys.executable, "-c", "import sys; sys.exit('no token')"]
    with pytest.raises(FiresideError, match="does not start: no token"):
        await Bot(command, {}, up).start()


@LOCAL
@LINUX
async def test_an_end_that_is_none_is_noted():
    async def up() -> None:
        while "ready" not in bot.log:
            await asyncio.sleep(0.01)

    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(3));"
        "print('ready', file=sys.stderr, flush=True); time.sleep(60)"
    )
    bot = Bot([sys.executable, "-c", code], {}, up)
    await bot.start()
    await bot.stop()
    assert len(bot.broken) == 1
    assert "exit code 3" in bot.broken[0]


@LOCAL
async def test_the_model_s_server_quotes_the_first_passage_and_misbehaves_on_demand():
    import httpx2

    server = ModelServer(random.Random(0))
    prompt = 'Question: "Why?"\nPassages:\n{"id": "p1", "text": "It shines. It turns."}'
    body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    async with server.serving(), httpx2.AsyncClient() as client:
        fine = await client.post(f"{server.url}/v1/chat/completions", json=body)
        assert "It shines" in fine.text
        assert fine.text.endswith("data: [DONE]\n\n")
        server.mood = "refuses"
        assert (await client.post(f"{server.url}/v1/chat/completions", json=body)).status_code in (429, 500, 503)
        server.mood = "hangs"
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(f"{server.url}/v1/models", timeout=0.05)
        server.mood = "fine"
        assert (await client.get(f"{server.url}/v1/models")).json()["data"][0]["id"] == "chaos"


def test_every_phase_has_its_own_kind_of_trouble():
    assert len(set(PHASES)) == len(PHASES)
