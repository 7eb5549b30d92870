"""Every error that Fireside raises on purpose.

FiresideError               one sentence: what, which value, what to do next
├── ConfigError             a setting, persona card or calibration file
├── CorpusError             a catalog, seed or speaker annotation
├── PassageIndexError       the passage index in Chroma
├── ModelError              a model file or llama.cpp
├── InputError              a question or file that a user gave (exit code 2)
└── VerificationError       a citation that its document does not bear out (a bug, never shown)
"""


class FiresideError(Exception):
    """An error whose message is a whole sentence for a person; shown without a traceback."""

    exit_code = 1


class ConfigError(FiresideError):
    """A setting, persona card or calibration file is wrong."""

    exit_code = 2


class CorpusError(FiresideError):
    """A catalog, seed or speaker annotation is missing, changed or malformed."""


class PassageIndexError(FiresideError):
    """The passage index can't be read or written."""


class ModelError(FiresideError):
    """A model file is missing or corrupt, or llama.cpp refused it."""


class InputError(FiresideError):
    """What the user gave can't be used as it is."""

    exit_code = 2


class VerificationError(FiresideError):
    """A citation does not stand in its document."""
