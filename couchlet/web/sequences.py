"""Update sequences as clients see them: a number, and a token that tells one database from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet.errors import bad_request

if TYPE_CHECKING:
    from couchlet.storage.database import Database

_TOKEN_PREFIX = "g1AAAA"  # noqa: S105 - not a secret; sequences of CouchDB begin so, and clients may look for it


def _token(database: Database) -> str:
    return _TOKEN_PREFIX + database.uuid


def packed_sequence(database: Database, number: int) -> str:
    """Return a sequence of this database."""
    return f"{number}-{_token(database)}"


def parse_since(database: Database, value: Any) -> int:  # noqa: ANN401 - whatever a client sends
    """Return the number that a `since` stands for.

    A sequence of a database that was deleted and made anew means nothing here: everything is sent, as CouchDB does.

    Raises:
        CouchError: 400 for what is no sequence.
    """
    if value == "now":
        return database.counters.update_seq
    if value in {0, "0"}:
        return 0
    if isinstance(value, str):
        number, dash, token = value.strip('"').partition("-")
        if dash and number.isascii() and number.isdigit() and len(number) < 18 and token:  # noqa: PLR2004 - 64 bits
            if token == _token(database):
                return int(number)
            if token.startswith(("g1AAAA", "g2wAAA")):
                return 0
    raise bad_request("Malformed sequence supplied in 'since' parameter.")
