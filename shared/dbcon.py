"""The adapter to CouchDB: databases and documents, as calls that say what became of them.

What a queue must see and a general client hides is here in the open: whether a PUT was answered 201 or 202, whether a
GET found nothing or could not ask, the bytes that are sent (to repeat them), ids with any character, a time limit on
every call, and ``allow_fallback`` on ``_find``. Every failure is one of :mod:`shared.errors`.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from urllib.parse import quote

import msgspec

from shared import answers, couchdb_http, errors, forks, structs
from shared.answers import Change, Row
from shared.changes import Changes
from shared.clock import Clock, elapsed_s
from shared.couchdb_http import TIME_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from shared.settings import Settings

Doc = dict[str, Any]
T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_STREAM_READ_TIMEOUT_S: Final = 25.0
_ATTACHED_S: Final = 120.0
"""How long CouchDB may take to store an attachment that it has; its own time limit is 60 s after the last piece."""

INDEXES: Final = "drw"
"""The design document of a database that holds all its indexes. CouchDB brings those of one design document up to date
together and reads each changed document once for them: measured on 3.5.0, 0.16 ms for the three of ``msgq``, of which
each takes 0.13 ms by itself."""

_INDEX_TRIES: Final = 10
_FORGETTING_S: Final = 5.0
_SHARDS_COME_OR_GO: Final = ("No DB shards could be opened", "missing_target")
"""What CouchDB answers meanwhile (`fabric:get_db_info`, `mem3_util:get_or_create_db_int`)."""
_LOOK_S: Final = 0.02
_EVERY_COPY_S: Final = 2.0
_MOST_COPIES_S: Final = 5.0
"""For so long what lost is looked for and removed, while other writes wait: the janitor removes what stays."""

_A_COPY_IS_AWAY_S: Final = 60.0
"""A node that hangs lets CouchDB wait for a minute for its copy: it is not asked for again so soon."""

_PURGED_AT_ONCE: Final = 100
"""CouchDB refuses more ids in one request (``max_document_id_number``)."""


class DbConnection:
    """A connection to one CouchDB server, shared by all threads of a process."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        """Take address and credentials from ``settings``; nothing is sent before the first call."""
        structs.learn()
        self.url = settings.couchdb_url
        self.clock = clock or Clock()
        self.copies: dict[str, int] = {}
        """How many copies databases have of each shard, as far as it was asked for."""
        self._requests = couchdb_http.Requests(settings, self.clock)
        self.send = self._requests.send
        self.stream = self._requests.stream

    def close(self) -> None:
        """Close every connection."""
        self._requests.close()

    def database(self, name: str, *, remembers: int = 0) -> Database:
        """Return one database of this server; nothing is asked, so it need not exist.

        It ``remembers``, for a second, so many of the documents that :meth:`Database.mutate` wrote last.
        """
        return Database(self, name, remembers=remembers)

    def welcome(self) -> Doc:
        """Return what ``GET /`` answers: version, vendor, features."""
        return self.call("GET", "/")

    def check_credentials(self) -> None:
        """Ask for something that needs a login; raise WrongPassword where it fails."""
        session = self.call("GET", "/_session")
        if not session.get("userCtx", {}).get("name"):
            raise errors.WrongPassword(
                f"CouchDB at {self.url} wants a user and a password: {couchdb_http.HOW_TO_LOG_IN}"
            )

    def database_names(self) -> list[str]:
        """Return the names of all databases, in order."""
        return self.call("GET", "/_all_dbs", kind=list[str])

    def create_database(self, name: str, **options: int) -> bool:
        """Create a database (``n`` copies, ``q`` shards); return False where it exists.

        A CouchDB may believe for a moment that one exists which has just been deleted.
        """
        path = f"/{quote(name, safe='')}"
        until_s = elapsed_s() + _FORGETTING_S
        while True:
            try:
                self.call("PUT", path, params=options)
            except errors.Conflict:
                if self._stands(path):
                    return False
                if elapsed_s() > until_s:
                    raise errors.DatabaseAway(f"CouchDB at {self.url} neither has {name} nor makes it") from None
                time.sleep(_LOOK_S)
            else:
                return True

    def drop_database(self, name: str) -> bool:
        """Delete a database with all it holds; return False where there is none.

        Waits until CouchDB has forgotten it: what is asked sooner may be answered as if it were there.
        """
        self.copies.pop(name, None)
        path = f"/{quote(name, safe='')}"
        try:
            self.call("DELETE", path)
        except (errors.DatabaseMissing, errors.NotFound):
            return False
        until_s = elapsed_s() + _FORGETTING_S
        while self._stands(path) is not False and elapsed_s() < until_s:
            time.sleep(_LOOK_S)
        return True

    def _stands(self, path: str) -> bool | None:
        """Tell whether there is a database; None while its shards are being made or deleted, or cannot be reached."""
        try:
            self.call("GET", path)
        except (errors.DatabaseMissing, errors.NotFound):
            return False
        except errors.DatabaseAway as error:
            if any(each in str(error) for each in _SHARDS_COME_OR_GO):
                return None
            raise
        return True

    def create_indexes(self, database: str, wanted: Mapping[str, tuple[list[str], Doc | None]]) -> list[str]:
        """Create the Mango indexes that are missing, and return their names.

        ``wanted`` has by name their fields, and over which documents if not all. An index of the same name in a design
        document of its own, as they were once, is removed.
        """
        made = [name for name, (fields, only) in wanted.items() if self._create_index(database, name, fields, only)]
        alone = [name for ddoc, name in self.indexes(database) if name in wanted and ddoc == name]
        for name in alone:
            self.call("DELETE", f"/{quote(database, safe='')}/_index/{quote(name)}/json/{quote(name)}")
        return made

    def indexes(self, database: str) -> list[tuple[str, str]]:
        """Return design document and name of every Mango index of a database."""
        found = self.call("GET", f"/{quote(database, safe='')}/_index", kind=answers.Indexes).indexes
        return [(each.ddoc.removeprefix("_design/"), each.name) for each in found if each.ddoc]

    def _create_index(self, database: str, name: str, fields: list[str], only: Doc | None) -> bool:
        """Create an index where it is missing; tell whether it was.

        Of two who do so at once CouchDB answers one with 500 ``error_saving_ddoc``; asked again, it says "exists".
        """
        definition: Doc = {"fields": fields}
        if only is not None:
            definition["partial_filter_selector"] = only
        body = {"index": definition, "ddoc": INDEXES, "name": name, "type": "json"}
        for tries_left in reversed(range(_INDEX_TRIES)):
            try:
                answer = self.call("POST", f"/{quote(database, safe='')}/_index", content=msgspec.json.encode(body))
            except errors.DatabaseAway as error:
                if not tries_left or "error_saving_ddoc" not in str(error):
                    raise
            else:
                return answer.get("result") == "created"
        return False

    @overload
    def call(
        self, method: str, path: str, *, content: bytes | None = ..., params: Doc | None = ..., timeout_s: float = ...
    ) -> Doc: ...

    @overload
    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = ...,
        params: Doc | None = ...,
        timeout_s: float = ...,
        kind: type[T],
    ) -> T: ...

    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Doc | None = None,
        timeout_s: float = TIME_LIMIT_S,
        kind: type[Any] = dict,
    ) -> Any:
        """Send one request and return its answer, decoded from JSON; raise one of :mod:`shared.errors`.

        ``kind`` is what CouchDB answers there, an object if nothing is said. Another answer is not its own, but for
        instance a proxy's: DatabaseAway.
        """
        return self.send(method, path, content=content, params=params, timeout_s=timeout_s).json(kind)


class Database:
    """One database. Documents are dicts with ``_id`` and, once stored, ``_rev``."""

    def __init__(self, server: DbConnection, name: str, *, remembers: int = 0) -> None:
        """Take the server's connection, the name, and how many documents to remember; nothing is asked."""
        self.server = server
        self.name = name
        self._changes = Changes(self, remembers)
        self._every_copy_from_s = 0.0
        self._path = "/" + quote(name, safe="")

    def path(self, *parts: str) -> str:
        """Return the path of something in this database; every part is percent-encoded."""
        return "/".join([self._path, *(quote(part, safe="") for part in parts)])

    def info(self, *, timeout_s: float = TIME_LIMIT_S) -> Doc:
        """Return what ``GET /{db}`` answers: sizes in bytes, counts, ``cluster``."""
        return self.server.call("GET", self._path, timeout_s=timeout_s)

    def made(self) -> str:
        """Return when the database was made, in CouchDB's own terms: another one of the same name has another."""
        return str(self.info().get("instance_start_time"))

    def copies(self, *, timeout_s: float = TIME_LIMIT_S) -> int:
        """Return how many copies there are of each shard; a process asks once for each database."""
        if self.name not in self.server.copies:
            self.server.copies[self.name] = self.info(timeout_s=timeout_s).get("cluster", {}).get("n", 1)
        return self.server.copies[self.name]

    def may_fork(self, *, timeout_s: float = TIME_LIMIT_S) -> bool:
        """Tell whether the histories of documents may fork, because there are several copies (:mod:`shared.forks`)."""
        return self.copies(timeout_s=timeout_s) > 1

    def limit_revisions(self, count: int) -> None:
        """Set how many revisions of each document CouchDB remembers; low only where nothing is replicated.

        Only where it is another number: to set it, CouchDB 3.5.0 waits for every node, also for one that is down.
        """
        if self.server.call("GET", self.path("_revs_limit"), kind=int) != count:
            self.server.send("PUT", self.path("_revs_limit"), content=str(count).encode())

    def get(self, doc_id: str, *, timeout_s: float = TIME_LIMIT_S, **query: object) -> Doc | None:
        """Return a document, or None where there is none; a missing database is DatabaseMissing.

        What begins with an underscore is CouchDB's own (``_all_docs``, ``_security``), and no document of anybody's.
        """
        if not _is_documents(doc_id):
            return None
        try:
            response = self.server.send("GET", self.path(doc_id), params=_query(query), timeout_s=timeout_s)
        except errors.NotFound:
            return None
        doc: Doc = response.json(Doc)
        if "_rev" not in doc:
            raise errors.NotNow(f"{self.server.url} answers what is not a document: {response.content[:100]!r}")
        return doc

    def fetch(self, ids: Iterable[str], *, timeout_s: float = TIME_LIMIT_S) -> list[Doc | None]:
        """Return the documents with these ids, in one request, None for each that does not exist; as :meth:`get`.

        Through ``_bulk_get``, which answers for as many in a third of the time that ``_all_docs`` takes with ``keys``,
        and on a cluster asks as many copies of each as a GET does.
        """
        wanted = list(ids)
        leaves = self.leaves(filter(_is_documents, wanted), timeout_s=timeout_s)
        return [forks.shown(leaves.get(each, ())) for each in wanted]

    def leaves(
        self, ids: Iterable[str], *, ancestors: bool = False, copies: int = 0, timeout_s: float = TIME_LIMIT_S
    ) -> dict[str, list[Doc]]:
        """Return every leaf of the revision trees of some documents, deleted ones too; none for what does not exist.

        With ``ancestors`` each has ``_revisions``. So many ``copies`` are asked, else a majority of them. Raises
        DatabaseAway where CouchDB could not read one of them.
        """
        wanted = list(ids)
        content = msgspec.json.encode({"docs": [{"id": each} for each in wanted]})
        params = ({"revs": "true"} if ancestors else {}) | ({"r": str(copies)} if copies else {})
        answer = self.server.call(
            "POST", self.path("_bulk_get"), content=content, params=params, timeout_s=timeout_s, kind=answers.Got
        )
        found: dict[str, list[Doc]] = {each: [] for each in wanted}
        for result in answer.results:
            for each in result.docs:
                if each.ok is not None:
                    found[result.id].append(each.ok)
                elif each.error.get("error") != "not_found":
                    raise errors.NotNow(f"CouchDB could not read document {result.id}: {each.error}")
        return found

    def leaves_of_every_copy(self, doc_id: str, *, ancestors: bool = False) -> list[Doc]:
        """Return the leaves of a document in all copies: one that lost may be in the one that a majority leaves out.

        While a copy does not answer, those of a majority. A copy that hangs is waited for a few seconds only.
        """
        if elapsed_s() > self._every_copy_from_s:
            try:
                copies = self.copies()
                return self.leaves([doc_id], ancestors=ancestors, copies=copies, timeout_s=_EVERY_COPY_S)[doc_id]
            except errors.DatabaseAway:
                self._every_copy_from_s = elapsed_s() + _A_COPY_IS_AWAY_S
        return self.leaves([doc_id], ancestors=ancestors, timeout_s=_MOST_COPIES_S)[doc_id]

    def put(self, doc: Doc) -> str:
        """Write one document at the revision that it was read at and return the new one.

        Raises Conflict where another revision was written since, Refused for content that CouchDB does not take.
        """
        row = self.put_row(doc["_id"], msgspec.json.encode(doc))
        if row.error == "conflict":
            raise errors.Conflict(f"document {doc['_id']} of {self.name} was changed by somebody else")
        if row.error:
            raise errors.Refused(f"document {doc['_id']} of {self.name} was refused: {row.reason}")
        if not (row.sure or doc.get("_deleted")):
            self._make_sure(doc["_id"], row.rev)
        return row.rev

    def delete(self, doc_id: str) -> bool:
        """Delete a document as it is now; False where there is none. Raises Conflict where it changes meanwhile."""
        doc = self.get(doc_id)
        if doc is None:
            return False
        self.put({"_id": doc_id, "_rev": doc["_rev"], "_deleted": True})
        return True

    def put_row(self, doc_id: str, content: bytes, *, timeout_s: float = TIME_LIMIT_S) -> Row:
        """Write one document from its bytes, so that a repetition sends the very same; a refusal is a row too."""
        try:
            response = self.server.send("PUT", self.path(doc_id), content=content, timeout_s=timeout_s)
        except errors.Conflict as error:
            return Row(doc_id, error="conflict", reason=str(error))
        except errors.Refused as error:
            return Row(doc_id, error="refused", reason=str(error))
        return Row(doc_id, response.json(answers.Written).rev, sure=response.status != HTTPStatus.ACCEPTED)

    def bulk(self, docs: list[Doc], *, new_edits: bool = True) -> list[Row]:
        """Write many documents in one request; the rows are in the order of ``docs``, conflicts are rows too."""
        body: Doc = {"docs": docs} if new_edits else {"docs": docs, "new_edits": False}
        return self.bulk_bytes(msgspec.json.encode(body), len(docs) if new_edits else None)

    def bulk_bytes(self, content: bytes, count: int | None, *, timeout_s: float = TIME_LIMIT_S) -> list[Row]:
        """As :meth:`bulk`, with the request's bytes, so that a repetition sends the very same.

        ``count`` is how many rows there have to be. Raises DatabaseAway too where no document could be written for now,
        as on a disk that is full.
        """
        path = self.path("_bulk_docs")
        rows = self.server.call("POST", path, content=content, timeout_s=timeout_s, kind=list[Row])
        if count is not None and len(rows) != count:
            raise errors.NotNow(f"{self.name} is not CouchDB's: {len(rows)} rows for {count} documents")
        if rows and all(row.is_away for row in rows):
            raise errors.NotNow(f"{self.name} takes no document now: {rows[0].error}: {rows[0].reason}")
        return rows

    def find(self, selector: Doc, *, index: str, sort: Sequence[str | Doc], limit: int, **more: object) -> list[Doc]:
        """Return at most ``limit`` documents that match, read from the named index and from nothing else.

        ``allow_fallback: false`` makes CouchDB refuse instead of reading the whole database; a ``warning`` in an
        answer means that it did more than it should have, and is logged.
        """
        return self.find_behind("", selector, index=index, sort=sort, limit=limit, **more)[0]

    def find_behind(
        self, bookmark: str, selector: Doc, *, index: str, sort: Sequence[str | Doc], limit: int, **more: object
    ) -> tuple[list[Doc], str]:
        """As :meth:`find`, behind a bookmark of this index, empty for none; return also that of the last document.

        CouchDB begins to read there, whereas ``$gt`` a value has it read and pass over all that have this value.
        """
        use_index = [INDEXES, index]
        body = {
            "selector": selector,
            "use_index": use_index,
            "sort": sort,
            "limit": limit,
            "allow_fallback": False,
            **more,
        }
        if bookmark:
            body["bookmark"] = bookmark
        content = msgspec.json.encode(body)
        try:
            answer = self.server.call("POST", self.path("_find"), content=content, kind=answers.Found)
        except errors.Refused as error:
            if "_index" not in str(error):  # no_usable_index, or invalid_index
                raise
            raise errors.Refused(f"{self.name} has no index {index} ({error}): 'drw setup' makes it") from error
        if answer.warning:
            _LOG.warning("_find on %s by %s: %s", self.name, index, answer.warning)
        return answer.docs, answer.bookmark if answer.docs else ""

    def pages(
        self,
        where: Doc,
        *,
        by: str,
        index: str,
        sort: Sequence[str | Doc],
        since: str = "",
        until: str = "",
        limit: int = 200,
        **more: object,
    ) -> Iterator[list[Doc]]:
        """Yield all that a query finds in the order of the text ``by``, which is to follow ``where`` in the index.

        ``since`` is its first value, ``until`` that before which it ends. Each page begins with the value that the one
        before ended with, so that what comes and goes meanwhile shifts nothing, as it would with ``skip``, or with a
        bookmark whose document has gone. Where ``fields`` are named, ``_id`` and ``by`` have to be among them.
        """
        seen: set[str] = set()
        while True:
            most = limit + len(seen)
            bounds = {"$gte": since} | ({"$lt": until} if until else {})
            docs = self.find({**where, by: bounds}, index=index, sort=sort, limit=most, **more)
            if fresh := [doc for doc in docs if doc["_id"] not in seen]:
                yield fresh
            if len(docs) < most:
                return
            since = docs[-1][by]
            seen = {doc["_id"] for doc in docs if doc[by] == since}

    def purge(self, revisions: Mapping[str, Sequence[str]]) -> None:
        """Remove leaves for good, leaving no trace of them: ids and their revisions, 100 documents a request.

        That needs a server administrator, and no replication hears of it.
        """
        items = list(revisions.items())
        for start in range(0, len(items), _PURGED_AT_ONCE):
            content = msgspec.json.encode(dict(items[start : start + _PURGED_AT_ONCE]))
            self.server.call("POST", self.path("_purge"), content=content)

    def rows(self, **query: object) -> list[Doc]:
        """Return the rows of ``_all_docs`` for its own options (``startkey``, ``endkey``, ``limit``, …)."""
        return self.server.call("GET", self.path("_all_docs"), params=_query(query), kind=answers.Listed).rows

    def count(self) -> int:
        """Return how many documents there are, without design documents."""
        count: int = self.info()["doc_count"]
        return count - len(self.rows(startkey="_design/", endkey="_design0"))

    def every(self, *, page: int = 500, start: str = "", end: str = "\ufff0") -> Iterator[Doc]:
        """Yield every document with an id from ``start`` to ``end`` but design documents, read page by page."""
        while True:
            rows = self.rows(startkey=start, endkey=end, limit=page, include_docs=True)
            yield from (row["doc"] for row in rows if row.get("doc") and not row["id"].startswith("_design/"))
            if len(rows) < page:
                return
            start = rows[-1]["id"] + "\x00"

    def mutate(self, doc_id: str, change: Callable[[Doc | None], Doc | None]) -> Doc | None:
        """Apply a pure function to a document until it was written at the revision that it saw.

        ``change`` takes the document (None where there is none) and returns the new one, or None to leave it. It runs
        again on the fresh document after each conflict, so it must recognise its own work. Returns the document as it
        is then. Raises Conflict when a dozen tries met one each.

        The threads that share this object take turns at a document, so that they do not meet in the database.
        """
        return self._changes.apply(doc_id, change)

    def counts(self, doc_id: str, rev: str) -> bool:
        """Tell whether a write that too few copies took at once stands alone: most may have taken another's instead.

        Ours is then removed, unless it may be the only one to stay. Every copy is asked: where two writers each found
        one copy, and the third had not yet heard of what they change, a majority may show each its own leaf alone.
        """
        others = forks.rivals(rev, self.leaves_of_every_copy(doc_id, ancestors=True))
        if forks.gives_way(rev, others):
            self.remove([(doc_id, rev)])
        return not others

    def _make_sure(self, doc_id: str, rev: str) -> None:
        """Raise Conflict for a write that too few copies took at once, and that does not stand alone."""
        if not self.counts(doc_id, rev):
            raise errors.Conflict(f"document {doc_id} of {self.name} is being changed by somebody else too")

    def remove(self, leaves: Iterable[tuple[str, str]]) -> bool:
        """Delete leaves that lost, given by ids and revisions; tell whether all are gone."""
        tombs: list[Doc] = [{"_id": doc_id, "_rev": rev, "_deleted": True} for doc_id, rev in leaves]
        if not tombs:
            return True
        _LOG.info("removing %d leaves that lost a race from %s", len(tombs), self.name)
        try:
            content = msgspec.json.encode({"docs": tombs})
            return not any(row.error for row in self.bulk_bytes(content, len(tombs), timeout_s=_MOST_COPIES_S))
        except errors.DatabaseError as error:
            _LOG.warning("leaves that lost are not removed from %s: %s", self.name, error)
            return False

    def attach(self, doc_id: str, name: str, rev: str, content: Iterable[bytes], size: int) -> str:
        """Store an attachment of ``size`` bytes, piece by piece; return the document's new revision.

        Raises Conflict where another revision was written since, Refused for what CouchDB does not take.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        params = {"rev": rev} if rev else None
        response = self.server.send(
            "PUT", self.path(doc_id, name), content=content, params=params, headers=headers, answer_s=_ATTACHED_S
        )
        stored = response.json(answers.Written).rev
        if response.status == HTTPStatus.ACCEPTED:
            self._make_sure(doc_id, stored)
        return stored

    def attachment(self, doc_id: str, name: str, *, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Yield an attachment piece by piece; raise NotFound where there is none."""
        with self.server.stream(self.path(doc_id, name), read_timeout_s=_STREAM_READ_TIMEOUT_S) as response:
            yield from response.stream(chunk_bytes)

    def feed(self, since: str, *, heartbeat_s: float) -> Generator[Change]:
        """Yield the rows of a continuous ``_changes`` feed, an empty one for each heartbeat, until the line breaks.

        Silence for 2.5 heartbeats is DatabaseAway, for such feeds can die without a word; so is what is no row.
        """
        params = {"feed": "continuous", "since": since, "heartbeat": str(int(heartbeat_s * 1000))}
        with self.server.stream(self.path("_changes"), params, read_timeout_s=2.5 * heartbeat_s) as response:
            for line in _lines(couchdb_http.pieces(response)):
                yield couchdb_http.decoded(line, Change) if line else Change()

    def changed(self, since: str, *, limit: int) -> answers.Changed:
        """Return the documents that were written since an update sequence, each with all its leaves, ``limit`` of them.

        ``last_seq`` is where the next page begins; ``"0"`` is the beginning of all.
        """
        params = {"since": since, "limit": str(limit), "style": "all_docs"}
        return self.server.call("GET", self.path("_changes"), params=params, kind=answers.Changed)

    def last_seq(self) -> str:
        """Return the update sequence of now, for a feed that begins here."""
        return str(self.changed("now", limit=1).last_seq)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of what comes in pieces; only a line feed ends one, whatever Unicode has besides."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _is_documents(doc_id: str) -> bool:
    """Tell whether an id is one that a document of somebody's can have, and not CouchDB's own."""
    return bool(doc_id) and not doc_id.startswith("_")


def _query(query: Doc) -> Doc:
    encoded = {key: msgspec.json.encode(value).decode() for key, value in query.items() if key not in _PLAIN}
    return encoded | {key: value for key, value in query.items() if key in _PLAIN}


_PLAIN: Final = frozenset({"rev", "open_revs"})
