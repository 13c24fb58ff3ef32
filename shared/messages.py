"""The bodies of the messages on the bus: the seed's fields, checked.

Pure. :func:`read` turns a body into one of these types, passes over fields that it does not know, and raises
BadMessage that names the field at fault. ``body()`` is the way back. What a person types becomes a body by
:func:`message_body`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, Literal, TypeVar

import msgspec

from shared import names
from shared.bus import envelope
from shared.errors import BadInput, BadMessage, Refused

XTSS: Final = "xtss"
PROCESS: Final = "pipeline.process."
"""What the selectors of all pipeline drivers begin with."""

REPORTS: Final = "pipeline.report.JAO"
INGEST: Final = "ingest.JAO"
VERDICT: Final = "verdict.JAO"

Flag = Literal["Pass", "Semipass", "Fail"]
"""A reviewer's verdict, as the seed has it."""

_SHA256_LENGTH: Final = 64


def process_selector(executive: str) -> str:
    """Return the selector of the pipeline driver at an executive."""
    return f"{PROCESS}{names.executive(executive)}"


def cached_selector(executive: str) -> str:
    """Return the selector of the cache replicator at an executive."""
    return f"cached.{names.executive(executive)}"


class FileEntry(msgspec.Struct, frozen=True, order=True):
    """One file: its path relative to what it belongs to, its size in bytes, its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a path that could leave the folder, and what is no size or no hash."""
        names.relative_path(self.path)
        if self.size < 0:
            raise BadInput(f"size is {self.size}: it must be 0 or more")
        if len(self.sha256) != _SHA256_LENGTH or not set(self.sha256) <= set("0123456789abcdef"):
            raise BadInput(f"sha256 is {names.shown(self.sha256)}: it must be 64 hexadecimal digits")


class _Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    def body(self) -> dict[str, Any]:
        """Return this as the JSON object that a message carries."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body


class ProcessRequest(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """To a pipeline driver: run the pipeline on this OUS.

    ``launchedAt`` is the ``timestamp`` of the OUS as it was launched: a driver that was cut off for days must not take
    a launch that another has replaced. Without it, whatever launch there is is meant. ``review`` is what the reviewer
    of the run before said (``flag``, ``reason``, ``comment``, ``reviewer``, ``run``, ``at``).
    """

    progID: str  # noqa: N815 (the seed's name)
    ousUID: str  # noqa: N815 (the seed's name)
    recipe: str
    launchedAt: str = ""  # noqa: N815 (as the seed's names)
    review: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse malformed names."""
        names.program_id(self.progID)
        names.uid(self.ousUID)
        names.recipe(self.recipe)


class CachedFile(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """To a cache replicator: pull this products directory or weblog to yourself.

    ``files`` says what must have come, each path beginning with ``name``.
    """

    fileType: Literal["productsdir", "weblog"]  # noqa: N815 (the seed's name)
    cachedAt: str  # noqa: N815 (the seed's name)
    name: str
    files: tuple[FileEntry, ...] = ()

    def __post_init__(self) -> None:
        """Refuse malformed names."""
        names.executive(self.cachedAt)
        if self.fileType == "weblog":
            names.weblog_name(self.name)
        else:
            names.split_products_dir(self.name)

    def body(self) -> dict[str, Any]:
        """Return what a message carries, without ``files`` that are too many: the replicator asks the cache then."""
        whole = super().body()
        return whole if envelope.fits(whole) else msgspec.structs.replace(self, files=()).body()


class PipelineReport(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """To AQUA at JAO: the report of a run, its XML in BASE64."""

    ousUID: str  # noqa: N815 (the seed's name)
    source: str
    report: str
    timestamp: str
    productsDir: str  # noqa: N815 (the seed's name)

    def __post_init__(self) -> None:
        """Refuse malformed names, and a report that is not BASE64."""
        names.uid(self.ousUID)
        names.executive(self.source)
        _same_run(self.timestamp, self.productsDir)
        self.xml()

    def xml(self) -> bytes:
        """Return the report's text."""
        try:
            return base64.b64decode(self.report, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadInput(f"report is not BASE64: {error}") from error


class IngestRequest(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """To the product ingestor: archive the products of this run."""

    ousUID: str  # noqa: N815 (the seed's name)
    timestamp: str
    productsDir: str  # noqa: N815 (the seed's name)

    def __post_init__(self) -> None:
        """Refuse malformed names."""
        names.uid(self.ousUID)
        _same_run(self.timestamp, self.productsDir)


class Verdict(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """From a reviewer: what becomes of an OUS in Reviewing. The run is the one that was reviewed."""

    ousUID: str  # noqa: N815 (as everywhere)
    flag: Flag
    timestamp: str
    productsDir: str  # noqa: N815 (as everywhere)
    reviewer: str
    session: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        """Refuse malformed names."""
        names.uid(self.ousUID)
        _same_run(self.timestamp, self.productsDir)


class StateRequest(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """To xtss: do something with the status entity of an OUS.

    ``value`` depends on the operation; ``expected`` is a state, or several, of which the OUS must be in one; ``run`` is
    the run that it must be about, ``launchedAt`` the launch that it must still wait for, and ``session`` the process
    in which it must be reviewed; ``note`` goes
    into the history, and so does ``by``, who wants it, if that is not the sender. ``force``, for operators, makes
    a move that the life cycle does not have.
    """

    operation: str
    ousUID: str  # noqa: N815 (the seed's name)
    value: Any = None
    expected: str | tuple[str, ...] = ()
    note: str = ""
    by: str = ""
    run: str = ""
    launchedAt: str = ""  # noqa: N815 (as the seed's names)
    session: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse a malformed UID."""
        names.uid(self.ousUID)


AnyBody = TypeVar("AnyBody", bound=_Body)


def read(kind: type[AnyBody], body: object) -> AnyBody:
    """Return a message's body as ``kind``; raise BadMessage that says which field is missing or wrong."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise BadMessage(f"this is no {kind.__name__} message: {error}") from error
    except BadInput as error:
        raise BadMessage(f"this is no {kind.__name__} message: {error}") from error


def message_body(text: str | bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text is, which can be a message's body; BadInput names ``where`` it came from."""
    try:
        body = msgspec.json.decode(text, type=dict[str, Any])
        envelope.digest(body)
    except RecursionError as error:
        raise BadInput(f"{where} is nested too deep for a message: send what is less deep") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadInput(f"{where} is no JSON object: {error}") from error
    except Refused as error:
        raise BadInput(f"{where} cannot be sent: {error}") from error
    return body


def _same_run(timestamp: str, products_dir: str) -> None:
    names.timestamp(timestamp)
    if names.split_products_dir(products_dir)[1] != timestamp:
        raise BadInput(f"productsDir {products_dir} is not that of the run at timestamp {timestamp}")
