"""Documents as clients see them: the stored body with the members that CouchDB adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from couchlet import json_text
from couchlet.content_coding import plain_content
from couchlet.errors import bad_request
from couchlet.revisions import Branch, Revision, branches_by_rank, parse_revisions, winner
from couchlet.storage.records import Attachments, StoredDocument, attachments_of, stored_length, visible_attachment

if TYPE_CHECKING:
    from couchlet.storage.reader import Reader
    from couchlet.storage.transaction import Content
    from couchlet.web.call import Parameters


class ShowOptions(msgspec.Struct, frozen=True):
    """What is to be shown of a document besides its members; no conflicts as a list of them with `empty_conflicts`."""

    revs: bool = False
    revs_info: bool = False
    conflicts: bool = False
    empty_conflicts: bool = False
    deleted_conflicts: bool = False
    local_seq: bool = False
    attachments: bool = False
    att_encoding_info: bool = False
    deleted: bool = False
    latest: bool = False
    atts_since: tuple[Revision, ...] = ()
    follows: bool = False

    @property
    def has_meta(self) -> bool:
        """Whether something is shown that can change while the revision stays the same."""
        return self.revs_info or self.conflicts or self.deleted_conflicts or self.local_seq


PLAIN = ShowOptions()


def parse_show_options(parameters: Parameters) -> ShowOptions:
    """Return the options in a query string; one that is named several times is on if it is on once.

    Raises:
        CouchError: 400 for an `atts_since` that is no list of revisions.
    """
    every = dict(parameters)

    def on(name: str) -> bool:
        return (name, "true") in parameters

    since: tuple[Revision, ...] = ()
    if "atts_since" in every:
        since = tuple(parse_revisions(json_text.decode(every["atts_since"])))
    return ShowOptions(
        revs=on("revs"),
        revs_info=on("revs_info") or on("meta"),
        conflicts=on("conflicts") or on("meta"),
        deleted_conflicts=on("deleted_conflicts") or on("meta"),
        local_seq=on("local_seq"),
        attachments=on("attachments") or "atts_since" in every,
        att_encoding_info=on("att_encoding_info"),
        deleted=on("deleted"),
        latest=on("latest"),
        atts_since=since,
    )


def show_local(id_: str, revision: Revision, body: bytes, *, with_history: bool = False) -> bytes:
    """Return a `_local` document as JSON; its history is the one revision that it has."""
    history = {"_revisions": {"start": revision.generation, "ids": [revision.id]}}
    return _assemble(id_, revision, body, history if with_history else {})


def _assemble(id_: str, revision: Revision, body: bytes, more: dict[str, Any]) -> bytes:
    parts = [b'{"_id":', json_text.encode(id_), b',"_rev":', json_text.encode(str(revision))]
    if len(body) > 2:  # noqa: PLR2004 - more than a pair of braces
        parts += [b",", body[1:-1]]
    if more:
        parts += [b",", json_text.encode(more)[1:-1]]
    parts.append(b"}")
    return b"".join(parts)


def show_content(
    reader: Reader, row: StoredDocument, content: Content, options: ShowOptions = PLAIN, *, with_meta: bool = True
) -> bytes:
    """One revision of a document as JSON; `with_meta` is for the shown revision only, as in CouchDB."""
    more: dict[str, Any] = {}
    if content.deleted:
        more["_deleted"] = True
    if options.revs or options.atts_since or (with_meta and options.has_meta):
        branch = branch_of(row, content.revision)
        if options.revs:
            more["_revisions"] = {"start": branch.start, "ids": branch.ids[: reader.revs_limit]}
        if with_meta:
            more |= _meta(reader, row, branch, options)
    if content.attachments:
        stored = attachments_of(content.attachments)
        more["_attachments"] = _attachments(reader, row, content.revision, stored, options)
    return _assemble(row.id, content.revision, content.body, more)


def branch_of(row: StoredDocument, revision: Revision) -> Branch:
    """Return the history of a revision, beginning with itself.

    Raises:
        CouchError: 400 if the document has no such revision.
    """
    for branch in branches_by_rank(row.tree):
        if branch.holds(revision):
            return Branch(revision.generation, branch.ids[branch.start - revision.generation :], branch.deleted)
    raise bad_request(f"{revision} is no revision of {row.id}.")


def _meta(reader: Reader, row: StoredDocument, branch: Branch, options: ShowOptions) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    tree = row.tree
    if options.revs_info:
        kept = reader.kept_revisions(row)
        meta["_revs_info"] = [{"rev": str(old), "status": _status(kept, old)} for old in branch.revisions()]
    losers = [other for other in branches_by_rank(tree) if other.leaf != winner(tree).leaf]
    if options.conflicts:
        living = [str(other.leaf) for other in losers if not other.deleted]
        if living or options.empty_conflicts:
            meta["_conflicts"] = living
    if options.deleted_conflicts:
        deleted = [str(other.leaf) for other in losers if other.deleted]
        if deleted:
            meta["_deleted_conflicts"] = deleted
    if options.local_seq:
        meta["_local_seq"] = row.seq
    return meta


def _status(kept: dict[Revision, bool], revision: Revision) -> str:
    if revision not in kept:
        return "missing"
    return "deleted" if kept[revision] else "available"


def _attachments(
    reader: Reader, row: StoredDocument, revision: Revision, stored: Attachments, options: ShowOptions
) -> dict[str, Any]:
    known = known_generation(row, revision, options)
    shown = {}
    for name, fields in stored.items():
        if not options.attachments or fields["revpos"] <= known:
            shown[name] = visible_attachment(fields)
        elif options.follows:
            shown[name] = visible_attachment(fields, follows=True)
        else:
            data = plain_content(fields, reader.attachment(fields["key"], stored_length(fields)))
            shown[name] = visible_attachment(fields, data)
        if options.att_encoding_info and fields.get("encoding"):
            shown[name] |= {"encoding": fields["encoding"], "encoded_length": stored_length(fields)}
    return shown


def known_generation(row: StoredDocument, revision: Revision, options: ShowOptions) -> int:
    """Return the generation up to which the asker has the attachments already, by `atts_since`; -1 without."""
    if not options.atts_since:
        return -1
    branch = branch_of(row, revision)
    return max((since.generation for since in options.atts_since if branch.holds(since)), default=0)
