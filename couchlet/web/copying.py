"""Where a COPY goes to."""

from __future__ import annotations

import re

from couchlet.errors import bad_request, not_utf8
from couchlet.json_text import is_utf8
from couchlet.revisions import Revision, parse_revision
from couchlet.web.call import parse_query, unquote


def parse_destination(header: str) -> tuple[str, Revision | None]:
    """Return the id, and the revision that is to be replaced, in a `Destination` header.

    Raises:
        CouchError: 400 for an absolute address, or a revision that is none.
    """
    if re.match("https?://", header):
        raise bad_request("Destination URL must be relative.")
    path, mark, query = header.partition("?")
    if not is_utf8(header):
        raise not_utf8()
    if not mark:
        return unquote(path), None
    if not query.startswith("rev="):
        raise bad_request("Invalid rev format")
    return unquote(path), parse_revision(parse_query(query)["rev"])
