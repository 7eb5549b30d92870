"""SIGHUP: settings and persona are read anew while the bot runs; what can't be read leaves the old ones at work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterable

from bot.host import Host
from bot.limits import Limits
from bot.logs import set_up
from persona.errors import ConfigError, FiresideError
from persona.pipeline import Fireside
from persona.settings import Settings

log = logging.getLogger("fireside.reloading")
LIMITS = ("limit_user", "limit_channel", "limit_overall")
LOGS = ("log_format", "log_level")
CHANGEABLE = (
    "persona",
    "risk",
    "think",
    *LIMITS,
    *LOGS,
)  # all else is built in: store, chat model, connections, tokens

Reread = Callable[[], Settings]
Reopen = Callable[[Settings, Fireside], Fireside]


def limits_of(settings: Settings) -> Limits:
    """How often people may ask."""
    return Limits(settings.limit_user, settings.limit_channel, settings.limit_overall)


def reopened(settings: Settings, old: Fireside) -> Fireside:
    """The persona that the settings name, read anew: card, catalog, calibration; with the weights and the chat model of the
    old one. FiresideError where something is wrong with it; the old one is as it was."""
    from persona.card import load_card
    from persona.corpus import load_corpus
    from persona.opening import open_index
    from persona.support import load_support

    card = load_card(settings.persona)
    corpus = load_corpus(card.catalog, card.aliases)
    if card.id == old.card.id and corpus.fingerprint != old.corpus.fingerprint:
        # Their index would change under the replies that the old one still gives.
        raise ConfigError(f"The documents of '{card.id}' (or its aliases) have changed. Restart the bot to index them.")
    fireside = Fireside.open(
        card,
        open_index(settings, card),
        old.embedder,
        judge=old.judge,
        coefficients=old.policy.coefficients,
        corpus=corpus,
        risk=settings.risk,
    )
    if old.writer is not None:
        fireside = fireside.speaking(old.writer.model, load_support(), think=settings.think)
    fireside.model_problem = old.model_problem
    return fireside


class Reloader:
    """Reads anew what may change while the bot runs."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        reread: Reread,
        told: Callable[[bool], None] = lambda _ok: None,
        *,
        reopen: Reopen = reopened,
    ) -> None:
        """`told` hears of each reload whether it was applied."""
        self.settings = settings
        self._host = host
        self._reread = reread
        self._told = told
        self._reopen = reopen

    async def reload(self) -> bool:
        """Whether all was read and applied; else the log has a sentence why, and nothing has changed. One at a time."""
        try:
            read = await asyncio.to_thread(self._reread)
            settings = self.settings.model_copy(update={name: getattr(read, name) for name in CHANGEABLE})
            # All that may fail comes first.
            fireside, others = await asyncio.to_thread(self._personas, settings)
        except FiresideError as exc:
            log.error(f"Nothing was reloaded; what ran goes on. {exc}")
        except Exception as exc:
            log.error("Nothing was reloaded, by a mistake of ours; what ran goes on.", exc_info=exc)
        else:
            self._host.replace(fireside, others)
            self._apply(settings, read)
            self._told(True)
            return True
        self._told(False)
        return False

    def _personas(self, settings: Settings) -> tuple[Fireside, dict[str, Fireside]]:
        """The persona, and those that places have chosen beside it: only one is certified for a risk, only one speaks."""
        opened = [self._reopen(settings, self._host.fireside)]
        others = self._host.personas
        try:
            for name, old in others.items():
                chosen = {"persona": name, "voice": "quotes", "risk": None}
                opened.append(self._reopen(settings.model_copy(update=chosen), old))
        except BaseException:
            for fireside in opened:
                fireside.writer = None  # the chat model is the old one's
                fireside.close()
            raise
        return opened[0], dict(zip(others, opened[1:], strict=True))

    def _apply(self, settings: Settings, read: Settings) -> None:
        """Applies what is no persona, and says what has to wait for a restart."""
        before, self.settings = self.settings, settings
        if _changed(before, settings, LIMITS):
            self._host.limit(limits_of(settings))
        if _changed(before, settings, LOGS):
            set_up(settings)
        policy, persona = self._host.fireside.policy, self._host.fireside.card.id
        log.info("reloaded", extra={"persona": persona, "threshold": round(policy.threshold, 4), "risk": policy.risk})
        if fixed := _changed(settings, read, type(read).model_fields):
            log.warning(f"Only a restart changes: {', '.join(fixed)}.")


def _changed(before: Settings, after: Settings, names: Iterable[str]) -> list[str]:
    return [name for name in names if getattr(before, name) != getattr(after, name)]


@contextlib.asynccontextmanager
async def reloading(
    settings: Settings, host: Host, reread: Reread, told: Callable[[bool], None] = lambda _ok: None
) -> AsyncGenerator[Reloader]:
    """Reloads on SIGHUP meanwhile (Windows has none). Signals that come during a reload make one more. The one that comes
    because the terminal was closed that the bot was started in ends it, as SIGTERM does."""
    reloader = Reloader(settings, host, reread, told)
    wanted = asyncio.Event()

    async def work() -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            await reloader.reload()

    started_in_one = _in_a_terminal()

    def hung_up() -> None:
        if started_in_one and not _in_a_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            wanted.set()

    loop, number = asyncio.get_running_loop(), getattr(signal, "SIGHUP", None)
    before = signal.getsignal(number) if number is not None else None
    working = asyncio.create_task(work())
    if number is not None:
        loop.add_signal_handler(number, hung_up)
    try:
        yield reloader
    finally:
        if number is not None:
            loop.remove_signal_handler(number)
            signal.signal(number, before)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def _in_a_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
