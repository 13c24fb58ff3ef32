"""The parameters of `_changes`, and its filters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from couchlet import json_text
from couchlet.errors import CouchError, bad_request, not_found, not_implemented, unknown_error
from couchlet.mango.erlang_text import erlang_term
from couchlet.mango.matching import Matcher, compile_selector
from couchlet.mango.selector import normalize
from couchlet.web.numbers import integer
from couchlet.web.sequences import parse_since

if TYPE_CHECKING:
    from couchlet.storage.database import Database
    from couchlet.web.call import Call

DEFAULT_TIMEOUT_S: Final = 60.0
"""How long a feed waits for a change before it ends, and the most that can be asked for."""

_FEEDS: Final = frozenset(("normal", "continuous", "longpoll", "eventsource"))
_LIMIT: Final = 10**15

_SWITCHES: Final = frozenset(("descending", "include_docs", "conflicts", "attachments", "att_encoding_info"))


class ChangeOptions(msgspec.Struct):
    """Parsed parameters. `heartbeat_s` keeps a feed open; without it `timeout_s` ends it.

    A row has its sequence if the rows still wanted are a multiple of `seq_interval`, else null. `ids` are the documents
    asked for, each with how often it was named.
    """

    feed: str = "normal"
    since: int = 0
    limit: int = _LIMIT
    descending: bool = False
    all_leaves: bool = False
    heartbeat_s: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    include_docs: bool = False
    conflicts: bool = False
    attachments: bool = False
    att_encoding_info: bool = False
    ids: Counter[str] | None = None
    design_only: bool = False
    matcher: Matcher | None = None
    fields: list[str] | None = None
    seq_interval: int = 1


def _integer(text: str) -> int:
    try:
        return integer(text)
    except ValueError as error:
        raise unknown_error("badarg") from error


async def parse_changes(call: Call, database: Database) -> ChangeOptions:
    """Parse the parameters and the filter.

    Raises:
        CouchError: with CouchDB's status and sentence for what is wrong.
    """
    options = ChangeOptions()
    for name, value in call.parameters:
        _take(options, name.lower(), value)
    options.limit = _limit(options.limit, options.feed)
    # Of several with one name the last counts here.
    query = {name.lower(): value for name, value in call.parameters}
    await _parse_filter(call, database, query, options)
    if options.feed not in _FEEDS:
        raise bad_request("Supported `feed` types: normal, continuous, live, longpoll, eventsource")
    named = [value for name, value in call.parameters if name.lower() in {"since", "last-event-id"}]
    since = named[-1] if named else "0"
    if options.feed == "eventsource":
        since = call.header("Last-Event-ID") or since
    if not options.descending:
        # Downwards everything is sent, from the newest on, whatever this says.
        options.since = parse_since(database, since)
    return options


def _take(options: ChangeOptions, name: str, value: str) -> None:
    """Take one parameter: the first that is wrong is the one that is answered."""
    if name in _SWITCHES:
        if value == "true":
            setattr(options, name, True)
    elif name == "feed":
        options.feed = "continuous" if value == "live" else value
    elif name == "limit":
        options.limit = _integer(value)
    elif name == "timeout":
        options.timeout_s = min(max(_integer(value), 0) / 1000, DEFAULT_TIMEOUT_S)
    elif name == "style":
        options.all_leaves = _style(value)
    elif name == "heartbeat":
        options.heartbeat_s = _heartbeat(value)
    elif name == "seq_interval":
        options.seq_interval = _seq_interval(value)


def _limit(asked: int, feed: str) -> int:
    """Return how many rows may be sent; less than none is no limit for feeds that end by themselves, as in CouchDB."""
    return _LIMIT if asked < 0 and feed in {"normal", "longpoll"} else max(asked, 0)


def _style(text: str) -> bool:
    if text not in {"main_only", "all_docs"}:
        raise unknown_error("badarg")
    return text == "all_docs"


def _seq_interval(text: str) -> int:
    try:
        interval = integer(text)
    except ValueError:
        interval = 0
    if interval <= 0:
        raise bad_request("invalid_seq_interval")
    return interval


def _heartbeat(text: str) -> float:
    if text == "true":
        return DEFAULT_TIMEOUT_S
    try:
        milliseconds = integer(text)
    except ValueError as error:
        raise bad_request("Invalid heartbeat value. Expecting a positive integer value (in milliseconds).") from error
    if milliseconds <= 0:
        raise bad_request("The heartbeat value should be a positive integer (in milliseconds).")
    return min(milliseconds / 1000, DEFAULT_TIMEOUT_S)


async def _body(call: Call, filter_name: str) -> dict[str, Any]:
    """Return what a POST brings; nothing for other methods, nor for a body that is announced to be empty.

    An empty one is looked at only for a filter that needs it.
    """
    if call.method != "POST":
        return {}
    call.require_json()
    is_empty = call.request.content_length == 0
    return {} if is_empty and filter_name not in {"_doc_ids", "_selector"} else await call.json_object()


async def _parse_filter(call: Call, database: Database, query: dict[str, str], options: ChangeOptions) -> None:
    name = query.get("filter", "")
    body = await _body(call, name)
    if name == "_doc_ids":
        ids = body.get("doc_ids") if call.method == "POST" else json_text.decode(query.get("doc_ids", "null"))
        options.ids = _checked_ids(ids)
    elif name == "_selector":
        if call.method != "POST":
            raise bad_request("Selector must be specified in POST payload")
        _parse_selector(body, options)
    elif name == "_design":
        options.design_only = True
    elif name == "_view":
        if not query.get("view"):
            raise bad_request("`view` filter parameter is not provided.")
        _refuse_function(database, query["view"], "views", "`view` must be of the form `designname/viewname`")
    elif name.startswith("_"):
        raise bad_request("unknown builtin filter name")
    elif name.strip("/"):
        _refuse_function(database, name, "filters", "`filter` must be of the form `designname/filtername`")


def _checked_ids(ids: Any) -> Counter[str]:  # noqa: ANN401 - any JSON value
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise bad_request("`doc_ids` filter parameter is not a list of doc ids.")
    return Counter(ids)


def _parse_selector(body: dict[str, Any], options: ChangeOptions) -> None:
    selector, fields = body.get("selector"), body.get("fields")
    if not isinstance(selector, dict):
        raise bad_request("Selector error: expected a JSON object")
    try:
        options.matcher = compile_selector(normalize(selector))
    except CouchError as error:
        raise bad_request(error.reason) from error
    if fields is not None:
        if not isinstance(fields, list):
            raise bad_request("Selector error: fields must be JSON array")
        for field in fields:
            if not isinstance(field, str):
                raise bad_request(f"Invalid JSON for field spec: {erlang_term(field)}")
        options.fields = fields or None


def _refuse_function(database: Database, name: str, member: str, form: str) -> NoReturn:
    """Say of a function of a design document that it is missing, or that it is not run here."""
    parts = [part for part in name.split("/") if part]
    if len(parts) != 2:  # noqa: PLR2004 - design document and function
        raise bad_request(form)
    row = database.reader.document(f"_design/{parts[0]}")
    if row is None or row.deleted:
        raise not_found("missing" if row is None else "deleted")
    functions = json_text.decode_stored(row.body).get(member)
    if not isinstance(functions, dict) or parts[1] not in functions:
        raise not_found(f"missing json key: {parts[1] if isinstance(functions, dict) else member}")
    raise not_implemented(
        "couchlet runs no JavaScript, so it has no filter functions and no `_view` filter: use the `_selector` filter."
    )
