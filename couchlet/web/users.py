"""The database `_users`: passwords are hashed on the way in.

As in CouchDB 3 only server administrators reach it at all, and its `_security` cannot be changed; so nothing here
has to tell one user's document from another's.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from couchlet import json_text
from couchlet.auth.users import prepare_user_document, with_password_hashed
from couchlet.auth.users_design import USERS_DESIGN, USERS_DESIGN_ID
from couchlet.documents import NewDocument

if TYPE_CHECKING:
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


async def before_write(database: Database, document: NewDocument) -> None:
    """Check a document that is to be written to `_users`, and hash the password in it, also in one that is deleted.

    Raises:
        CouchError: 403 if it describes no user.
    """
    if database.name != "_users" or document.id.startswith(("_design/", "_local/")):
        return
    body = json_text.decode_stored(document.body)
    prepare = with_password_hashed if document.deleted else partial(prepare_user_document, document.id)
    document.body = json_text.encode(await asyncio.to_thread(prepare, body))
