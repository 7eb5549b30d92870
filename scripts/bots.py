"""What the demonstrations and benchmarks of all platforms share: a bot in a process of its own, connected to a fake
platform, with a data folder to throw away; and a demonstration's command line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from pathlib import Path

from persona.errors import FiresideError
from persona.settings import load_settings
from scripts.running import exit_code

ROOT = Path(__file__).parent.parent
START_SECONDS = 300.0  # an index that is not there yet is built first
REPLY_SECONDS = 60.0
STOP_SECONDS = 15.0  # what is in flight may take ten
QUIET = 0.5  # seconds without a request after which nothing more belongs to a reply
WIDTH = 110
# What shows is the bundled persona, without a chat model, whatever the settings of who runs this say.
SHOWN = {"FIRESIDE_VOICE": "quotes", "FIRESIDE_PERSONA": "ilya"}

Tell = Callable[[str], None]


@contextlib.contextmanager
def scratch(data: Path) -> Generator[Path]:
    """A data folder to throw away, with the index and the models of `data` where that has any."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if (data / "index").is_dir():
            shutil.copytree(data / "index", folder / "index")
        if (data / "models").is_dir():
            (folder / "models").symlink_to((data / "models").absolute())
        yield folder


@contextlib.asynccontextmanager
async def connected(
    platform: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    up: Callable[[], Awaitable[object]],
    violations: Sequence[str],
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A bot in a process of its own, connected once `up` returns; at the end it is stopped as Ctrl-C would. `environ` is
    laid over this process's own; `violations` are what the platform's fake complains of. FiresideError if the bot doesn't
    connect, stop, or keep to what the platform takes."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to handle
        )

        def failed(how: str) -> FiresideError:
            log.seek(0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            return FiresideError(f"The bot {how}: {lines[-1] if lines else 'it said nothing'}")

        try:
            await _up_or_ended(process, up)
            if process.returncode is not None:
                raise failed("does not start")
            yield process
            if process.returncode is not None:
                raise failed(f"ended by itself with exit code {process.returncode}")
            process.terminate()
            try:
                code = await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                raise failed(f"did not stop within {STOP_SECONDS:.0f} s") from None
            if code:
                raise failed(f"stopped with exit code {code}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if violations:
        raise FiresideError(f"{platform} would refuse what the bot sent: {'; '.join(violations)}")


async def _up_or_ended(process: asyncio.subprocess.Process, up: Callable[[], Awaitable[object]]) -> None:
    connecting, ending = asyncio.ensure_future(up()), asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({connecting, ending}, return_when=asyncio.FIRST_COMPLETED)
        with in_a_sentence():
            if connecting.done():
                await connecting
    finally:
        for each in (connecting, ending):
            each.cancel()
        await asyncio.gather(connecting, ending, return_exceptions=True)


@contextlib.contextmanager
def in_a_sentence() -> Generator[None]:
    """The fakes say by an AssertionError that something never came, with the requests until then in further lines."""
    try:
        yield
    except AssertionError as exc:
        raise FiresideError(f"The conversation went wrong: {str(exc).partition(chr(10))[0]}") from exc


def bot_command(platform: str) -> list[str]:
    """What runs the bot."""
    return [sys.executable, "-m", "bot", platform.casefold()]


def indented(line: str) -> str:
    """A line of what somebody says, wrapped to the terminal's width."""
    return textwrap.fill(
        line, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def main(platform: str, demo: Callable[[Path, Tell], Awaitable[None]]) -> int:
    """The command line of a demonstration; returns the exit code."""
    parser = argparse.ArgumentParser(description=f"Show a conversation with the {platform} bot, without {platform}.")
    parser.add_argument("--data-dir", type=Path, help="folder with a built index (default: yours; else it is built)")
    options = parser.parse_args()

    async def shown(folder: Path) -> None:
        await demo(folder, lambda line: print(line, flush=True))

    def work() -> None:
        print("Starting the bot…", file=sys.stderr, flush=True)
        with scratch(options.data_dir or load_settings().data_dir) as folder:
            asyncio.run(shown(folder))

    return exit_code(work)
