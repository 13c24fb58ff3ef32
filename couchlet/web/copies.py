"""On how many nodes a write is to be: there is one, so a write that wants more is only accepted, as CouchDB says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet.errors import unknown_error
from couchlet.web.numbers import INTEGER

if TYPE_CHECKING:
    from couchlet.web.call import Call


def wants_more_copies(call: Call, body: dict[str, Any] | None = None, *, needs_integer: bool = True) -> bool:
    """Whether the parameter `w`, or the member of the body, asks for more than the one copy.

    A purge needs no integer: what is none counts as nothing then (`fabric_doc_purge:w`).

    Raises:
        CouchError: 500, as from CouchDB, if the parameter is no integer.
    """
    given = body.get("w") if body else None
    if isinstance(given, int) and not isinstance(given, bool):
        return given > 1
    text = call.query.get("w")
    if text is None:
        return False
    if not INTEGER.fullmatch(text):
        if not needs_integer:
            return False
        raise unknown_error("badarg")
    # Of a number too long to be read only the sign matters.
    return not text.startswith("-") and text.lstrip("+0") not in {"", "1"}
