"""Design documents: who may write them, and what couchlet cannot honour in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from couchlet import json_text
from couchlet.auth.rights import require_design_author
from couchlet.errors import conflict, not_implemented
from couchlet.storage.edits import check_stubs, conflicts
from couchlet.web.design_fields import validate_design_fields

if TYPE_CHECKING:
    from couchlet.auth.users import User
    from couchlet.documents import NewDocument
    from couchlet.storage.database import Database


def check_design(document: NewDocument, user: User, database: Database, *, new_edits: bool) -> None:
    """Refuse a design document from who is no administrator, and one whose rules would not be kept.

    Views and other functions are stored as they are, so that a database with them can be replicated through here;
    calling them is refused. A function that validates writes must not be accepted, because it would not be asked.

    Raises:
        CouchError: 412 for a stub of what is not there and 409 for a conflict, which come before all else in CouchDB;
            401 or 403, 501, or 400 for one that is malformed.
    """
    if not document.id.startswith("_design/"):
        return
    if new_edits:
        before = database.reader.document(document.id)
        check_stubs(document, before)
        if conflicts(document, before):
            raise conflict()
    require_design_author(user, database.security)
    if document.deleted:
        return
    body = json_text.decode_stored(document.body)
    validate_design_fields(body)
    if "validate_doc_update" in body:
        raise not_implemented(
            "couchlet runs no JavaScript, so it could not keep to validate_doc_update: "
            "leave it out, or use Apache CouchDB."
        )
