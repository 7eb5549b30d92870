"""Settings and persona read anew under a bot that runs: a real persona in a folder that the tests change."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.host import Asker, Host, Refused
from bot.reloading import Reloader, limits_of, reloading, reopened
from bot.store import Store
from persona.card import load_card
from persona.errors import ConfigError
from persona.index import PassageIndex
from persona.models import load_coefficients
from persona.pipeline import Answered, Fireside
from persona.settings import Settings, load_settings
from persona.types import Question
from tests.fakes import HashEmbedder, ScriptedModel

SECOND = Path(__file__).parents[1] / "data" / "second"
ANN = Asker("discord", "ann", "g1", "c1")
NOTHING_ASKED = "There is no question in that. What should be looked up?"  # in the card


class Place:
    """A folder with settings, a persona card and its documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = Path(shutil.copytree(SECOND, folder / "persona")) / "mara.toml"
        self.told: list[bool] = []
        self.set()

    def set(self, **settings: object) -> None:
        given = {"persona": "persona/mara.toml", "data_dir": "data", **settings}
        lines = (f"{key} = {value!r}\n" for key, value in given.items())
        (self.folder / "fireside.toml").write_text("".join(lines), encoding="utf-8")

    def edit(self, before: str, after: str, file: Path | None = None) -> None:
        path = file or self.card
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")

    def read(self, **environ: str) -> Settings:
        return load_settings(environ=environ, places=[self.folder])

    def open(self, settings: Settings) -> Fireside:
        embedder = HashEmbedder(dimensions=384)  # as many as the coefficients were fitted for
        fitted = load_coefficients().model_copy(update={"embedding": embedder.fingerprint})
        card = load_card(settings.persona)
        index = PassageIndex(card.id, folder=settings.data_dir / "index" / card.id)
        return Fireside.open(card, index, embedder, coefficients=fitted)

    def reloader(self, host: Host, **named: Any) -> Reloader:
        return Reloader(self.read(), host, self.read, self.told.append, **named)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def _log_as_before(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("fireside")
    before = (list(root.handlers), root.level)
    caplog.set_level("INFO", "fireside")
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(logging.NOTSET)


@pytest.fixture
async def host(place: Place) -> AsyncIterator[Host]:
    store = await Store.open(place.folder / "store")
    made = Host(place.open(place.read()), store, limits_of(place.read()))
    yield made
    await made.close()
    await store.close()
    made.fireside.close()


async def said(host: Host, text: str = "?") -> str:
    last = [update async for update in host.answer(Question(text=text), ANN)][-1]
    assert isinstance(last, Answered | Refused)
    return last.reply.text if isinstance(last, Answered) else last.text


async def test_a_line_of_the_card_holds_from_the_next_question_on(place: Place, host: Host):
    assert await said(host) == NOTHING_ASKED
    place.edit(NOTHING_ASKED, "Ask me something.")
    assert await said(host) == NOTHING_ASKED
    assert await place.reloader(host).reload()
    assert await said(host) == "Ask me something."
    assert place.told == [True]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda p: p.edit("greeting = ", "greting = "), ["mara.toml", "'greting'", "'greeting'"]),
        (lambda p: p.edit("{told}{at}.", "{tald}{at}."), ["mara.toml", "answer.quoted", "{tald}"]),
        (lambda p: p.edit('kind = "transcript"', 'kind = "lore"', p.card.parent / "catalog.toml"), ["catalog", "lore"]),
        (lambda p: p.card.unlink(), ["mara.toml"]),
        (lambda p: p.set(vioce="quotes"), ["fireside.toml", "'vioce'", "'voice'"]),
        (lambda p: p.set(log_level="loud"), ["fireside.toml", "'log_level'", "'loud'"]),
        (lambda p: p.set(limit_user="often"), ["fireside.toml", "'limit_user'", "'often'", "12/minute"]),
        (lambda p: p.set(risk=0.05), ["0.05", "not certified"]),
        (lambda p: p.edit('"Fresnell" = "Fresnel"', '"Fresnal" = "Fresnel"'), ["'mara'", "have changed", "Restart"]),
        (lambda p: p.edit("nineteen", "twenty", p.card.parent / "lighthouse.txt"), ["have changed", "Restart"]),
    ],
)
async def test_what_is_wrong_is_said_in_a_sentence_and_leaves_the_old_one_at_work(
    place: Place, host: Host, caplog: pytest.LogCaptureFixture, wrong: Any, named: list[str]
):
    old, reloader = host.fireside, place.reloader(host)
    place.edit(NOTHING_ASKED, "Ask me something.")
    wrong(place)
    assert not await reloader.reload()
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert record.getMessage().startswith("Nothing was reloaded; what ran goes on. ")
    assert "\n" not in record.getMessage()
    assert not [word for word in named if word not in record.getMessage()]
    assert host.fireside is old
    assert await said(host) == NOTHING_ASKED
    assert place.told == [False]


async def test_after_a_bad_reload_a_good_one_is_applied(place: Place, host: Host):
    reloader = place.reloader(host)
    place.edit("greeting = ", "greting = ")
    place.edit(NOTHING_ASKED, "Ask me something.")
    assert not await reloader.reload()
    place.edit("greting = ", "greeting = ")
    assert await reloader.reload()
    assert await said(host) == "Ask me something."


async def test_a_mistake_of_ours_leaves_the_old_one_at_work_too(
    place: Place, host: Host, caplog: pytest.LogCaptureFixture
):
    def breaks(_settings: Settings, _old: Fireside) -> Fireside:
        raise RuntimeError("a bug")

    old = host.fireside
    assert not await place.reloader(host, reopen=breaks).reload()
    assert host.fireside is old
    assert "by a mistake of ours" in caplog.text


async def test_limits_and_log_are_applied(place: Place, host: Host, capsys: pytest.CaptureFixture[str]):
    reloader = place.reloader(host)
    place.set(limit_user="1/hour", log_level="debug", log_format="json")
    assert await reloader.reload()
    await said(host)
    assert "more than I can answer at once" in await said(host)
    lines = capsys.readouterr().err.splitlines()
    assert [line.count('"message": ') for line in lines] == [1] * len(lines)
    assert '"message": "refused"' in lines[-1]  # for debugging


async def test_what_needs_a_restart_is_named_in_one_line_and_the_rest_is_applied(
    place: Place, host: Host, caplog: pytest.LogCaptureFixture
):
    reloader = Reloader(place.read(), host, lambda: place.read(DISCORD_TOKEN="new"))
    place.set(data_dir="elsewhere", retention_days=7)
    place.edit(NOTHING_ASKED, "Ask me something.")
    assert await reloader.reload()
    (told,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert told == "Only a restart changes: data_dir, retention_days, discord_token."
    assert await said(host) == "Ask me something."
    assert not (place.folder / "elsewhere").exists()
    assert reloader.settings.retention_days == 90


async def test_another_persona_takes_over_and_the_old_one_is_closed(place: Place, host: Host):
    old, other = host.fireside, place.card.with_name("vera.toml")
    shutil.copy(place.card, other)
    place.edit(NOTHING_ASKED, "Vera listens.", other)
    place.set(persona="persona/vera.toml")
    assert await place.reloader(host).reload()
    assert (host.fireside.card.id, await said(host)) == ("vera", "Vera listens.")
    await host.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        await old.respond(Question(text="?"))


async def test_weights_and_chat_model_go_on(place: Place, host: Host):
    model = ScriptedModel()
    speaking = host.fireside.speaking(model, None)
    again = reopened(place.read(), speaking)
    assert again.writer is not None
    assert again.writer.model is model
    assert again.embedder is speaking.embedder
    assert again.policy.coefficients is speaking.policy.coefficients
    again.writer = None
    again.close()


async def test_personas_of_places_are_read_anew_all_or_none(place: Place, host: Host):
    other = place.card.with_name("vera.toml")
    shutil.copy(place.card, other)
    both = Host(
        host.fireside, host.store, personas=lambda name: place.open(place.read().model_copy(update={"persona": name}))
    )
    await host.store.change_place("discord", "g1", "c1", persona=str(other))
    assert await said(both) == NOTHING_ASKED
    reloader = place.reloader(both)
    place.edit(NOTHING_ASKED, "Vera listens.", other)
    place.edit("greeting = ", "greting = ")
    assert not await reloader.reload()
    assert await said(both) == NOTHING_ASKED
    place.edit("greting = ", "greeting = ")
    place.edit("greeting = ", "greting = ", other)
    assert not await reloader.reload()
    assert await said(both) == NOTHING_ASKED
    place.edit("greting = ", "greeting = ", other)
    assert await reloader.reload()
    assert await said(both) == "Vera listens."
    await both.close()
    host.fireside = both.fireside  # for the fixture to close


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
async def test_sighup_reloads_and_the_signals_of_a_busy_time_make_one_more(place: Place, host: Host):
    gate, begun, reads = threading.Event(), asyncio.Event(), [0]
    loop, told = asyncio.get_running_loop(), asyncio.Semaphore(0)

    def read() -> Settings:
        reads[0] += 1
        loop.call_soon_threadsafe(begun.set)
        if not gate.wait(10):
            raise ConfigError("The test let it wait.")
        return place.read()

    place.edit(NOTHING_ASKED, "Ask me something.")
    async with reloading(place.read(), host, read, lambda _ok: told.release()):
        os.kill(os.getpid(), signal.SIGHUP)
        await begun.wait()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0)  # the loop sees them
        gate.set()
        for _ in range(2):
            await told.acquire()
        assert await said(host) == "Ask me something."
    assert reads == [2]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


IN_A_TERMINAL = """
import asyncio, fcntl, os, signal, termios
from bot.reloading import reloading
from persona.errors import ConfigError

def read():
    raise ConfigError("Nothing to read.")

async def main():
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with reloading(None, None, read, lambda ok: os.write(reports, b"reload\\n")):
        os.write(reports, b"ready\\n")
        await stop.wait()
    os.write(reports, b"stopped\\n")

reports = int(os.environ["REPORTS"])
fcntl.ioctl(int(os.environ["TERMINAL"]), termios.TIOCSCTTY, 0)
asyncio.run(main())
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no terminals of that kind")
def test_a_closed_terminal_ends_the_bot_that_was_started_in_it():
    import pty

    reading, writing = os.pipe()
    terminal, its_end = pty.openpty()
    environ = {**os.environ, "REPORTS": str(writing), "TERMINAL": str(its_end)}
    bot = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL], env=environ, pass_fds=(writing, its_end), start_new_session=True
    )
    os.close(writing)
    os.close(its_end)
    with bot, os.fdopen(reading, encoding="ascii") as reports:
        assert reports.readline() == "ready\n"
        bot.send_signal(signal.SIGHUP)
        assert reports.readline() == "reload\n"
        os.close(terminal)
        assert reports.readline() == "stopped\n"
    assert bot.returncode == 0
