"""The database `_users`: passwords are hashed on the way in.

As in CouchDB 3 only server administrators reach it at all, and its `_security` cannot be changed; so nothing here
has to tell one user's document from another's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from couchlet import json_text
from couchlet.auth.users import check_user_document, with_password_hashed
from couchlet.auth.users_design import USERS_DESIGN, USERS_DESIGN_ID
from couchlet.documents import NewDocument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from couchlet.storage.catalog import Catalog
    from couchlet.storage.database import Database


async def ensure_users(catalog: Catalog) -> None:
    """Make the database and its design document, as far as they are not there.

    Raises:
        CouchError: 5xx if the disk does not take them.
    """
    if not catalog.exists("_users"):
        await catalog.create("_users")
    users = catalog.get("_users")
    if users.reader.document(USERS_DESIGN_ID) is None:
        await users.edit([NewDocument(id=USERS_DESIGN_ID, body=json_text.encode(USERS_DESIGN))])


async def hash_passwords(database: Database, documents: Sequence[NewDocument]) -> None:
    """Hash the passwords in documents that are to be written to `_users`, also in those that are deleted.

    Raises:
        CouchError: 403 or 500 if one cannot be hashed: CouchDB does this for all before it checks any.
    """
    for document in documents:
        if _is_of_user(database, document):
            body = json_text.decode_stored(document.body)
            document.body = json_text.encode(await asyncio.to_thread(with_password_hashed, body))


def check_user(database: Database, document: NewDocument) -> None:
    """Check a document that is to be written to `_users`.

    Raises:
        CouchError: 403 if it describes no user.
    """
    if _is_of_user(database, document) and not document.deleted:
        check_user_document(document.id, json_text.decode_stored(document.body))


def _is_of_user(database: Database, document: NewDocument) -> bool:
    return database.name == "_users" and not document.id.startswith(("_design/", "_local/"))
