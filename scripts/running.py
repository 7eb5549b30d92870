"""How a script ends: with an exit code, and with one sentence on stderr where something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from persona.errors import FiresideError


def exit_code(work: Callable[[], None]) -> int:
    """Does the work; 0, or the code of what went wrong, which is said."""
    try:
        work()
    except FiresideError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        print(f"Can't read or write '{exc.filename}': {exc.strerror}. Check the paths.", file=sys.stderr)
        return 1
    return 0
