"""The errors that a person is meant to read.

The message of a MilesError says what happened and what to do next; pages show it, the command
line prints it. Anything else that is raised is a bug and keeps its traceback.
"""


class MilesError(Exception):
    """Base of every error whose message is written for the person using Miles."""


class DatabaseUnavailable(MilesError):
    """The database can't be reached, or refuses us."""


class UnreadableFile(MilesError):
    """A file is empty, truncated, or not what its name says."""


class ModelUnavailable(MilesError):
    """The model folder is missing, damaged, or made for another version of Miles."""


class SourceError(MilesError):
    """A video source did not give what was asked for. `kind` says what to do about it."""

    def __init__(self, message: str, kind: str = "transient", status: int | None = None) -> None:
        super().__init__(message)
        #: transient | rate_limited | gone | extractor | invalid
        self.kind = kind
        #: the HTTP status, where there was one
        self.status = status


class ConceptsUnavailable(MilesError):
    """No concepts could be made: the language model failed, refused, or answered nonsense."""


class AlreadyRunning(MilesError):
    """Miles is already running on this data, or its port is taken."""
