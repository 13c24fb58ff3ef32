"""Where a COPY goes to."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from couchlet.errors import bad_request
from couchlet.revisions import Revision, parse_revision
from couchlet.web.call import parse_query


def parse_destination(header: str) -> tuple[str, Revision | None]:
    """Return the id, and the revision that is to be replaced, in a `Destination` header.

    Raises:
        CouchError: 400 for an absolute address, or a revision that is none.
    """
    if re.match("https?://", header):
        raise bad_request("Destination URL must be relative.")
    path, _, query = header.partition("?")
    revision = parse_query(query).get("rev") if query else None
    return unquote_plus(path), parse_revision(revision) if revision else None
