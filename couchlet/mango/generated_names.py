"""The names of indexes that a request leaves unnamed: a hash of the request, the very one that CouchDB makes."""

from __future__ import annotations

import hashlib
from typing import Any

from couchlet import erlang_terms
from couchlet.erlang_terms import atom, json_value, list_of, tuple_of


def generated_name(body: dict[str, Any]) -> str:
    """Return the name of the index that a request to `_index` describes."""
    options = [
        (atom("ddoc"), _text_or_atom(body.get("ddoc"), "auto_name")),
        (atom("def"), json_value(body["index"])),
        (atom("name"), _text_or_atom(body.get("name"), "auto_name")),
        (atom("partitioned"), json_value(body["partitioned"]) if "partitioned" in body else atom("db_default")),
        (atom("type"), json_value(body.get("type", "json"))),
        (atom("w"), json_value(body.get("w", 2))),
    ]
    term = tuple_of(json_value(body["index"]), list_of(*[tuple_of(*option) for option in options]))
    return hashlib.sha1(erlang_terms.VERSION + term, usedforsecurity=False).hexdigest()


def _text_or_atom(value: str | None, otherwise: str) -> bytes:
    return atom(otherwise) if value is None else json_value(value)
