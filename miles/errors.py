"""The errors that a person is meant to read.

The message of a MilesError says what happened and what to do next; pages show it, the command
line prints it. Anything else that is raised is a bug and keeps its traceback.
"""

from datetime import datetime


class MilesError(Exception):
    """Base of every error whose message is written for the person using Miles."""


class DatabaseUnavailable(MilesError):
    """The database can't be reached, or refuses us."""


class UnreadableFile(MilesError):
    """A file is empty, truncated, or not what its name says."""


class ModelUnavailable(MilesError):
    """The model folder is missing, damaged, or made for another version of Miles; or a remote model does not answer."""


class SourceError(MilesError):
    """A video source did not give what was asked for. `kind` says what to do about it."""

    def __init__(
        self, message: str, kind: str = "transient", status: int | None = None, expected: bool = False
    ) -> None:
        super().__init__(message)
        #: transient | rate_limited | gone | extractor | invalid
        self.kind = kind
        #: the HTTP status, where there was one
        self.status = status
        #: whether it is the source's own answer (yt-dlp's `expected`), and no defect of the reading
        self.expected = expected


class SourcePaused(MilesError):
    """No request may be sent to a source before a moment: it refused us, or its budget is used up."""

    def __init__(self, message: str, source: str, until: datetime) -> None:
        super().__init__(message)
        self.source = source
        #: UTC
        self.until = until


class ImageRefused(MilesError):
    """A picture can't be fetched, or is none that we use. `kind` says which, `status` what its server answered."""

    def __init__(self, message: str, kind: str, status: int | None = None) -> None:
        super().__init__(message)
        #: of the address: address | unreachable | timeout | status;
        #: of the bytes: too_large | too_many_pixels | too_small | too_complex | not_an_image
        self.kind = kind
        self.status = status


class ClipRefused(MilesError):
    """A clip can't be used. `kind` says why."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        #: of the file: empty | too_large | not_a_video | no_picture | damaged | too_many_pixels;
        #: of reading it: took_too_long | too_much_memory; of where it lies: missing | too_many
        self.kind = kind


class StorageUnavailable(MilesError):
    """Where pictures and clips lie can't be reached, refuses us, or is full."""


class ConceptsUnavailable(MilesError):
    """No concepts could be made: the language model failed, refused, or answered nonsense."""


class SpendingCapReached(ConceptsUnavailable):
    """A request to the language model would go over the day's limit, and was not sent."""


class AlreadyRunning(MilesError):
    """Miles is already running on this data, or its port is taken."""
