"""Every error that Fireside raises on purpose.

FiresideError               one sentence: what, which value, what to do next
├── ConfigError             a setting, persona card or calibration file
├── CorpusError             a catalog, seed or speaker annotation
├── PassageIndexError       the passage index in Chroma
├── ModelError              a model file or llama.cpp
│   ├── BusyError           too many wait for the chat model
│   ├── TooLongError        a prompt does not fit the chat model's context
│   ├── DeadlineError       the chat model was not done in time
│   └── AwayError           the chat model's server does not answer
├── HubError                a model can't be found or fetched
├── StoreError              what the bots keep can't be read or written
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


class BusyError(ModelError):
    """Too many requests wait for the chat model; `position` is the place in the queue that this one would have had."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class TooLongError(ModelError):
    """A prompt and the room for its answer don't fit the chat model's context."""


class DeadlineError(ModelError):
    """The chat model was not done in the time that it was given."""


class AwayError(ModelError):
    """The chat model's server can't be reached, or refuses."""


class HubError(FiresideError):
    """A model can't be found on the hub, or not be fetched from it."""


class StoreError(FiresideError):
    """What the bots keep (settings, feedback, seen events) can't be read or written."""


class InputError(FiresideError):
    """What the user gave can't be used as it is."""

    exit_code = 2


class VerificationError(FiresideError):
    """A citation does not stand in its document."""
