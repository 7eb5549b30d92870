"""The entry point `fireside`: starts the commands of ``bot.commands`` and leaves quietly on Ctrl-C, whenever it comes.

It imports nothing but the standard library before Ctrl-C is looked after: the rest takes seconds to import, and that is
when people press it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # what shells report for a process that SIGINT ended


def main() -> None:
    """Runs the command line; ends the process."""
    # Not KeyboardInterrupt: raised in an import of C code or in a ctypes callback it becomes another error, or is lost.
    # No command keeps anything in memory that a sudden end would lose; a bot that must sign off restores the default.
    signal.signal(signal.SIGINT, _leave)
    _write_utf8()
    try:
        from bot.commands import app

        app(prog_name="fireside")
    except KeyboardInterrupt:
        _leave()
    except OSError as exc:
        print(f"Can't use {_named(exc)}: {exc.strerror}. Check that it can be written and has room.", file=sys.stderr)
        sys.exit(1)
    finally:
        _flush()
        gc.freeze()  # memory goes with the process: to look through it for garbage first takes a third of a second


def _leave(_number: int = signal.SIGINT, _frame: FrameType | None = None) -> NoReturn:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(INTERRUPTED)


def _named(exc: OSError) -> str:
    return f"'{exc.filename}'" if exc.filename else "the output"


def _write_utf8() -> None:
    """Replies hold typographic quotes: a file or pipe gets UTF-8 whatever the locale, a terminal what it can show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:
            continue
        if stream.isatty():
            reconfigure(errors="replace")
        else:
            reconfigure(encoding="utf-8", errors="replace")


def _flush() -> None:
    """Writes out what is left while a reader that has gone away can still be met with silence."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
