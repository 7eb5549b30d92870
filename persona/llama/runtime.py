"""What llama.cpp sets up once for the process."""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import ctypes
import threading

import llama_cpp

_STARTING = threading.Lock()


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silent(_level: int, _text: bytes, _data: object) -> None:
    """llama.cpp logs to stderr by itself; what matters of it comes back as a ModelError."""


def start_llama() -> None:
    """Readies llama.cpp, quietly; as often as one likes, from any thread."""
    with _STARTING:
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
