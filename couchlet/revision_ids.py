"""The ids of the revisions that edits make: those that CouchDB makes for the same edits (`new_revid` in `couch_db`).

Such an id is the MD5 sum of a term: whether the edit deletes, the generation of the revision that it goes on from and
its id (0 where there is none), the members without underscore in their order, and the attachments.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from couchlet.documents import md5_of_digest
from couchlet.erlang_terms import VERSION, atom, binary, integer, json_value, list_of, tuple_of
from couchlet.revisions import raw_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from couchlet.revisions import Revision

_NO_ID: Final = integer(0)
_UNREAD_ATTACHMENT: Final = tuple_of(atom("undefined"), atom("undefined"), atom("undefined"))


def new_revision_id(
    *,
    deleted: bool,
    parent: Revision | None,
    body: dict[str, Any],
    attachments: Mapping[str, Mapping[str, Any]],
    revives: bool = False,
) -> str:
    """Return the id of the revision that an edit makes; `revives` says that it makes a deleted document anew.

    CouchDB takes the id of such a document anew, from its tombstone, when it has the attachments in the form for the
    disk already, in which it finds neither their names, nor their types, nor their sums.
    """
    term = list_of(
        json_value(deleted),
        integer(parent.generation if parent else 0),
        binary(raw_id(parent.id)) if parent else _NO_ID,
        json_value(body),
        _attachments_term(attachments, unread=revives),
    )
    return hashlib.md5(VERSION + term, usedforsecurity=False).hexdigest()


def _attachments_term(attachments: Mapping[str, Mapping[str, Any]], *, unread: bool) -> bytes:
    """Return the attachments from the last to the first, each as its name, its type and the sum of what is stored."""
    if unread:
        return list_of(*[_UNREAD_ATTACHMENT] * len(attachments))
    terms = [
        tuple_of(json_value(name), json_value(fields["content_type"]), binary(md5_of_digest(fields["digest"])))
        for name, fields in attachments.items()
    ]
    return list_of(*reversed(terms))
