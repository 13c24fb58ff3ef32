"""Documents as clients send them: the members with an underscore taken out, checked, and the rest.

The rules and the sentences are CouchDB's: which special members there are, which are passed over, which ids a
document may have, and how large it may be.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import msgspec

from couchlet import json_text
from couchlet.content_coding import GZIP, ContentType, content_type_text
from couchlet.document_size import is_larger
from couchlet.errors import CouchError, bad_request, not_utf8, unknown_error
from couchlet.json_text import is_utf8
from couchlet.revisions import MAX_GENERATION, Revision, parse_revision, parse_revision_id, refuse_generation

MAX_DOCUMENT_BYTES: Final = 8_000_000
"""The largest body of a document as JSON, attachments not counted (CouchDB's `max_document_size`)."""

_DIGEST_PREFIX: Final = "md5-"
_IGNORED: Final = frozenset(("_revs_info", "_local_seq", "_conflicts", "_deleted_conflicts"))
_KEPT: Final = frozenset(
    (
        "_access",
        "_replication_state",
        "_replication_state_time",
        "_replication_state_reason",
        "_replication_id",
        "_replication_stats",
    )
)


class AttachmentInput(msgspec.Struct, frozen=True):
    """One attachment as a document in a request names it.

    Exactly one of `stub` (keep what the parent revision has), `follows` (comes as a part of the same request) and
    `data` says where its content is. Of one that follows, `length` is that of the plain content, and `sent_length` that
    of what comes, as far as the document says.
    """

    content_type: ContentType = "application/octet-stream"
    revpos: int | None = None
    digest: str | None = None
    length: int | None = None
    sent_length: int | None = None
    encoding: str | None = None
    stub: bool = False
    follows: bool = False
    data: bytes | None = None


class NewDocument(msgspec.Struct):
    """A document as a request brings it. `history` is the revision it edits (or, replicated, is) and its ancestors.

    `attachments` are those that it names; what is stored already is in `kept_attachments`, which count more.
    """

    id: str
    body: bytes
    deleted: bool = False
    start: int = 0
    history: tuple[str, ...] = ()
    attachments: dict[str, AttachmentInput] = {}
    kept_attachments: dict[str, dict[str, Any]] | None = None

    @property
    def revision(self) -> Revision | None:
        """The revision that the request names."""
        return Revision(self.start, self.history[0]) if self.history else None


def validate_id(id_: object) -> str:
    """Check a document's id.

    Raises:
        CouchError: 400 `illegal_docid`.
    """
    if not isinstance(id_, str):
        raise CouchError(400, "illegal_docid", "Document id must be a string")
    if not id_:
        raise CouchError(400, "illegal_docid", "Document id must not be empty")
    if not is_utf8(id_):
        raise not_utf8()
    if id_[0] == "_":
        if id_ in {"_design/", "_local/"}:
            raise CouchError(400, "illegal_docid", f"Illegal document id `{id_}`")
        if not id_.startswith(("_design/", "_local/")):
            raise CouchError(400, "illegal_docid", "Only reserved document ids may start with underscore.")
    return id_


def parse_document(value: Any, id_: str | None = None, *, has_parts: bool = False) -> NewDocument:  # noqa: ANN401
    """Take a document out of JSON; `id_` is the id in the address, which counts more than the one inside.

    An id that is named nowhere is left empty. Without parts behind it, none of its attachments can follow.

    Raises:
        CouchError: what CouchDB answers for a document that is malformed or too large.
    """
    if not isinstance(value, dict):
        raise bad_request("Document must be a JSON object")
    document = NewDocument(id="", body=b"")
    special = [name for name in value if name[:1] == "_"]
    if special:
        value = value.copy()
        has_history = isinstance(value.get("_revisions"), dict)
        for name in special:
            if name not in _KEPT:
                _take_special(document, name, value.pop(name), has_history=has_history)
    if id_ is not None:
        document.id = id_
    if document.attachments and not has_parts and any(item.follows for item in document.attachments.values()):
        raise unknown_error("function_clause")
    document.body = json_text.encode(value)
    if is_larger(value, document.body, MAX_DOCUMENT_BYTES):
        raise CouchError(413, "document_too_large", document.id)
    return document


def _take_special(document: NewDocument, name: str, value: Any, *, has_history: bool) -> None:  # noqa: ANN401
    if name == "_id":
        document.id = validate_id(value)
    elif name == "_rev":
        revision = parse_revision(value)
        refuse_generation(revision)
        if not has_history:  # `_revisions` counts more, also an empty one
            document.start, document.history = revision.generation, (revision.id,)
    elif name == "_deleted" and isinstance(value, bool):
        document.deleted = value
    elif name == "_revisions" and isinstance(value, dict):
        document.start, document.history = _parse_history(value)
    elif name == "_attachments" and isinstance(value, dict):
        # As CouchDB does it, what is no object is passed over.
        document.attachments = {
            validate_attachment_name(file): _parse_attachment(file, fields)
            for file, fields in value.items()
            if isinstance(fields, dict)
        }
    elif name not in _IGNORED:
        raise CouchError(400, "doc_validation", f"Bad special document member: {name}")


def _parse_history(value: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    start, ids = value.get("start"), value.get("ids")
    if not isinstance(start, int) or isinstance(start, bool):
        raise CouchError(400, "doc_validation", "_revisions.start isn't an integer.")
    if not isinstance(ids, list):
        raise CouchError(400, "doc_validation", "_revisions.ids isn't a array.")
    if not ids:
        return 0, ()
    # The last may be of generation 0: a `_local` document's, as CouchDB's replicator sends it back with its
    # checkpoints, or what a document goes back to that was made with such a revision.
    if not len(ids) - 1 <= start <= MAX_GENERATION:
        raise CouchError(400, "doc_validation", "_revisions.start does not fit the number of _revisions.ids.")
    return start, tuple(parse_revision_id(id_) for id_ in ids)


def validate_attachment_name(name: str) -> str:
    """Check an attachment's name.

    Raises:
        CouchError: 400 `bad_request` for a name that begins with an underscore, or is no text.
    """
    if not is_utf8(name):
        raise bad_request("Attachment name is not UTF-8 encoded")
    if name.startswith("_"):
        raise bad_request(f"Attachment name '{name}' starts with prohibited character '_'")
    return name


def _parse_attachment(name: str, fields: dict[str, Any]) -> AttachmentInput:
    """Take an attachment out of a document as CouchDB's `couch_att:from_json` does it, failing where that fails."""
    is_stub, follows = fields.get("stub") is True, fields.get("follows") is True
    revpos = _integer_or_none(fields.get("revpos"))
    content_type = fields.get("content_type", "application/octet-stream")
    if not (is_stub or follows):
        data = _inline_data(name, fields.get("data"))
        _check_content_type(content_type)
        # Inline data is always the plain content, whatever encoding the sender's copy had.
        return AttachmentInput(content_type=content_type, revpos=revpos, length=len(data), data=data)
    _check_encoding_and_digest(fields)
    if is_stub:
        return AttachmentInput(stub=True, revpos=revpos)
    _check_content_type(content_type)
    if fields.get("encoding", "identity") not in {"identity", GZIP}:
        raise unknown_error("function_clause")
    length = fields.get("length")
    sent_length = fields.get("encoded_length", length) if "encoding" in fields else length
    return AttachmentInput(
        follows=True,
        content_type=content_type,
        revpos=revpos,
        digest=_text_or_none(fields.get("digest")),
        length=_integer_or_none(length),
        sent_length=_integer_or_none(sent_length),
        encoding=_text_or_none(fields.get("encoding")),
    )


def _inline_data(name: str, data: object) -> bytes:
    """Return what is written in Base64; a list of bytes is text to Erlang."""
    try:
        text = bytes(data).decode("latin-1") if isinstance(data, list) else data
        assert isinstance(text, str)
        return base64.b64decode("".join(text.split()), validate=True)
    except (AssertionError, TypeError, ValueError) as error:
        raise bad_request(f"Invalid attachment data for {name}") from error


def _check_content_type(value: object) -> None:
    """Refuse what CouchDB fails on when it decides whether to compress."""
    try:
        content_type_text(value)
    except ValueError as error:
        raise unknown_error("function_clause") from error


def _check_encoding_and_digest(fields: dict[str, Any]) -> None:
    if not isinstance(fields.get("encoding", ""), str):
        raise unknown_error("badarg")
    digest = fields.get("digest")
    if isinstance(digest, str) and digest.startswith(_DIGEST_PREFIX):
        try:
            base64.b64decode(digest.removeprefix(_DIGEST_PREFIX), validate=True)
        except ValueError as error:
            raise unknown_error("function_clause") from error


def _integer_or_none(value: Any) -> int | None:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text_or_none(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, str) else None


def content_digest(data: bytes) -> str:
    """Return the digest of a content in the form in which documents show it."""
    return digest_text(hashlib.md5(data, usedforsecurity=False).digest())


def digest_text(md5: bytes) -> str:
    """Return an MD5 sum in the form in which documents show it."""
    return _DIGEST_PREFIX + base64.b64encode(md5).decode("ascii")


def md5_of_digest(text: str) -> bytes:
    """Undo `digest_text`."""
    return base64.b64decode(text.removeprefix(_DIGEST_PREFIX))
