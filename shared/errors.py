"""Every error that drw raises on purpose, in one tree.

::

    DrwError
    ├── BadInput                a person or a sender gave something malformed
    │   └── BadMessage          ... in the body of a message
    ├── DatabaseError           CouchDB did not do as asked
    │   ├── DatabaseAway        unreachable, timed out, 5xx or 412 "nodedown": try again later
    │   │   └── NotNow          ... or it answers, and cannot do it now: whoever asks says so
    │   ├── WrongPassword       401: trying again is useless
    │   ├── Forbidden           403, or 401 for what is an administrator's: the user lacks a right
    │   ├── DatabaseMissing     404 for a whole database
    │   ├── NotFound            404 for something in a database
    │   ├── Conflict            409 or 412: somebody else wrote first
    │   └── Refused             400, 413, 415 and the like: the content is at fault
    ├── BusError
    │   ├── OutcomeUnknown      a write may or may not have happened
    │   │   └── DeadlineExceeded   a call was not answered in time
    │   ├── SentDifferently     a message with this id exists, with another body
    │   ├── LeaseLost           a claim is no longer ours
    │   ├── Stopped             the process stops, and its work has to end
    │   └── RemoteError         the executor of a call answered with an error
    │       └── StateRefused    ... xtss would not make the change
    ├── ArchiveError            NGAS lacks a file, or holds another one
    │   └── NameTaken           ... under the name of the one to be archived
    ├── CacheError              a cache directory cannot be used
    │   ├── NoCache             ... because it is none, and cannot become one
    │   ├── ContentDiffers      a name exists there with another content
    │   ├── SourceAway          what is to be copied is not there, or not reachable
    │   ├── CacheAway           its disk does not answer, is not mounted, or takes nothing now
    │   └── DiskFull            there is no room for it now
    └── ProgramError            a program could not be started

The text of an error is a sentence for people: what, which value, what to do.
"""

from __future__ import annotations


class DrwError(Exception):
    """Something that drw foresaw went wrong."""

    def __init__(self, message: str = "") -> None:
        """Take the sentence for people; the class's docstring stands in for a missing one, else the class's name."""
        kind = type(self)
        super().__init__(message or (kind.__doc__ or "").strip().partition("\n")[0] or kind.__name__)


class BadInput(DrwError):
    """A value is malformed."""


class BadMessage(BadInput):
    """The body of a message is malformed."""


class DatabaseError(DrwError):
    """CouchDB did not do as asked."""


class DatabaseAway(DatabaseError):
    """CouchDB cannot be reached, or is not able to answer now."""


class NotNow(DatabaseAway):
    """CouchDB answers, but does not do now what it is asked for.

    Whoever asks has to say so: that CouchDB cannot be reached is told by the connection to it.
    """


class WrongPassword(DatabaseError):
    """CouchDB does not accept these credentials."""


class Forbidden(DatabaseError):
    """CouchDB does not allow this to this user."""


class DatabaseMissing(DatabaseError):
    """A database does not exist."""


class NotFound(DatabaseError):
    """A document, attachment or index does not exist."""


class Conflict(DatabaseError):
    """Somebody else wrote first."""


class Refused(DatabaseError):
    """CouchDB refuses the content of a request."""


class BusError(DrwError):
    """The message bus could not do as asked."""


class OutcomeUnknown(BusError):
    """A write may or may not have happened; repeating it with the same id is safe."""


class DeadlineExceeded(OutcomeUnknown):
    """A call was not answered in time."""


class SentDifferently(BusError):
    """A message with this id was sent before, with another body."""


class LeaseLost(BusError):
    """The claim on a message is no longer ours: what was done for it must be dropped."""


class Stopped(BusError):
    """The process stops, and the time that its work had to finish is over: it is to end now, and is given back."""


class RemoteError(BusError):
    """The executor of a call answered with an error.

    ``kind`` is the executor's name for the error, such as ``BadInput`` or ``StateRefused``.
    """

    def __init__(self, message: str = "", *, kind: str = "RemoteError") -> None:
        """Take the executor's sentence and the kind of its error."""
        super().__init__(message)
        self.kind = kind


class StateRefused(RemoteError):
    """xtss refuses a state change; ``found`` is the state that the OUS is in, empty for none."""

    def __init__(self, message: str = "", *, found: str = "") -> None:
        """Take xtss's sentence and the state that it found."""
        super().__init__(message, kind="StateRefused")
        self.found = found


class ArchiveError(DrwError):
    """The archive lacks a file, holds another one under its name, or cannot take it."""


class NameTaken(ArchiveError):
    """The archive holds another file under a name."""


class CacheError(DrwError):
    """A cache directory cannot be used."""


class NoCache(CacheError):
    """What is named is no cache directory, and cannot become one: it is for a person to mend."""


class ContentDiffers(CacheError):
    """A name exists in the cache with another content."""


class SourceAway(CacheError):
    """What is to be copied is not there yet, or cannot be reached."""


class CacheAway(CacheError):
    """A disk does not answer, is not mounted, or may not be written now: that passes, or somebody mends it."""


class DiskFull(CacheError):
    """A disk has no room now."""


class ProgramError(DrwError):
    """A program could not be started."""


def text_of(error: BaseException) -> str:
    """Return the text of any exception; its type's name where it has none, or fails to say it."""
    try:
        return str(error) or type(error).__name__
    except BaseException:  # noqa: BLE001 (somebody else's __str__, which may raise anything)
        return type(error).__name__
