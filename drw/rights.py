"""Who may do what in CouchDB: a user and a role for each kind of actor, and what the databases say of them. Pure.

A role's member may read and write a database whole: so much every CouchDB can do, couchlet too. Apache CouchDB
besides asks :data:`WRITERS`, a function in each database, at every write: there xtss alone changes an OUS.
"""

from __future__ import annotations

import json
from typing import Any, Final

from shared import audit, delivery, ngas, reports, status
from shared.actor import ACTORS_DATABASE
from shared.bus import queue

PREFIX: Final = "drw-"
_BUS: Final = frozenset({queue.DATABASE, status.DATABASE, ACTORS_DATABASE})
"""What every actor needs: messages, signs of life, and to see that there are OUSs."""

_RECORDS: Final = frozenset({delivery.METADATA_DATABASE, delivery.STATUS_DATABASE, ngas.DATABASE})
_EVERYTHING: Final = _BUS | _RECORDS | {reports.DATABASE, audit.DATABASE}

DATABASES_OF: Final[dict[str, frozenset[str]]] = {
    "xtss": _BUS,
    "launcher": _BUS | {audit.DATABASE},
    "pipeline-driver": _BUS,
    "replicated-cache": _BUS | {ngas.DATABASE},
    "aqua-qa2": _BUS | {reports.DATABASE},
    "product-ingestor": _BUS | _RECORDS,
    "data-tracker": _BUS | _RECORDS,
    "notifier": _BUS,
    "dashboard": _EVERYTHING,
    "operator": _EVERYTHING,
}
"""The databases of each kind of actor. ``operator`` is whoever uses ``drw``; the janitor has no user of ours."""

WRITERS_OF: Final[dict[str, tuple[str, ...]]] = {
    status.DATABASE: ("xtss",),
    reports.DATABASE: ("aqua-qa2",),
    delivery.METADATA_DATABASE: ("product-ingestor", "operator"),
    delivery.STATUS_DATABASE: ("product-ingestor", "operator"),
    ngas.DATABASE: ("product-ingestor", "replicated-cache", "operator"),
}
"""Who may write where not every member may, as far as the server can tell them apart. Operators mend records."""

WRITERS: Final = "writers"
"""The design document with the function that does so."""

_FUNCTION: Final = """function (after, before, user) {
  var may = %s, kept = %s;
  function has(role) { return user.roles.indexOf(role) !== -1; }
  if (has("_admin")) { return; }
  if (may.length && !may.some(has)) {
    throw {forbidden: "only " + may.join(" and ") + " may write here, and " + user.name + " is not"};
  }
  if (kept && before) { throw {forbidden: "what is written here is never changed"}; }
}"""


def role_of(kind: str) -> str:
    """Return the role, and the user's name, of a kind of actor: ``drw-xtss``."""
    return f"{PREFIX}{kind}"


def security(database: str) -> dict[str, Any]:
    """Return the ``_security`` of a database: server administrators, and the roles that need it."""
    roles = sorted(role_of(kind) for kind, needed in DATABASES_OF.items() if database in needed)
    return {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [], "roles": roles}}


def writers(database: str) -> dict[str, Any] | None:
    """Return the design document that keeps others from writing; None where every member may write everything."""
    may, kept = [role_of(kind) for kind in WRITERS_OF.get(database, ())], database == audit.DATABASE
    if not may and not kept:
        return None
    function = _FUNCTION % (json.dumps(may), json.dumps(kept))
    return {"_id": f"_design/{WRITERS}", "language": "javascript", "validate_doc_update": function}
