"""Index definitions: as `_index` takes them, as design documents keep them, and the entries they make."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from couchlet.errors import CouchError, unknown_error
from couchlet.mango.erlang_text import erlang_term
from couchlet.mango.generated_names import generated_name
from couchlet.mango.matching import Matcher, compile_selector
from couchlet.mango.paths import BAD_PATH, NOT_FOUND, Path, get_path, parse_path
from couchlet.mango.selector import Selector, normalize
from couchlet.mango.sorting import parse_sort
from couchlet.order.json_order import json_key

ALL_DOCS_NAME: Final = "_all_docs"


class IndexDefinition(msgspec.Struct, frozen=True):
    """One index: the design document and name it goes by, its fields with their directions, and its filter."""

    ddoc: str
    name: str
    fields: tuple[tuple[str, str], ...]
    partial: Selector = {}

    @property
    def columns(self) -> list[str]:
        """The names of the fields, in order."""
        return [name for name, _ in self.fields]

    @property
    def is_special(self) -> bool:
        """Whether this stands for the order of all documents by id."""
        return self.name == ALL_DOCS_NAME and not self.ddoc

    def as_json(self) -> dict[str, Any]:
        """Return the description that `GET /db/_index` lists."""
        fields = [{name: direction} for name, direction in self.fields]
        if self.is_special:
            return {"ddoc": None, "name": self.name, "type": "special", "def": {"fields": fields}}
        definition: dict[str, Any] = {"fields": fields}
        if self.partial:
            definition["partial_filter_selector"] = self.partial
        return {
            "ddoc": self.ddoc,
            "name": self.name,
            "type": "json",
            "partitioned": False,
            "def": definition,
        }


class IndexRequest(NamedTuple):
    """An index that is asked for: what it is, its definition as given, and whether it is said to be partitioned."""

    definition: IndexDefinition
    given: dict[str, Any]
    partitioned: bool | None

    def as_view(self) -> dict[str, Any]:
        """Return the member of `views` that keeps this index in its design document."""
        definition = self.definition
        body = {"fields": dict(definition.fields), "partial_filter_selector": definition.partial}
        return {"map": body, "reduce": "_count", "options": {"def": self.given}}


ALL_DOCS: Final = IndexDefinition("", ALL_DOCS_NAME, (("_id", "asc"),))


class EntryMaker:
    """Makes the entries of one index: a key for each document that has all its fields and passes its filter."""

    def __init__(self, definition: IndexDefinition) -> None:
        """Prepare paths and filter."""
        self._paths: list[Path] = [parse_path(name) for name in definition.columns]
        self._passes: Matcher = compile_selector(definition.partial)

    def key(self, document: dict[str, Any]) -> bytes | None:
        """Return the key of a document's entry; None if the index does not contain the document."""
        values = []
        for path in self._paths:
            value = get_path(document, path)
            if value is NOT_FOUND or value is BAD_PATH:
                return None
            values.append(value)
        try:
            passes = self._passes(document)
        except CouchError:
            # A filter that cannot be applied to a document must not keep it from being written.
            passes = False
        if not passes:
            return None
        return b"".join([json_key(value) for value in values])


def parse_index_request(body: Any) -> IndexRequest:  # noqa: ANN401 - any JSON value
    """Return the index that a request to `_index` describes; names that it leaves out are made from the definition.

    Raises:
        CouchError: 400 with Mango's name for what is wrong, 503 for index types that need a search service.
    """
    if not isinstance(body, dict):
        raise CouchError(400, "bad_request", "Request body must be a JSON object")
    unknown = [name for name in body if name not in {"index", "type", "name", "ddoc", "w", "partitioned"}]
    if "index" not in body:
        raise CouchError(400, "missing_required_key", "Missing required key: index")
    type_ = _text(body.get("type", "json"))
    name, ddoc = _name(body, "name"), _name(body, "ddoc")
    _check_quorum_and_partition(body)
    if unknown:
        raise CouchError(400, "invalid_key", f"Invalid key {unknown[0]} for this request.")
    if type_ in {"text", "nouveau"}:
        raise CouchError(503, "required index service unavailable", type_)
    if type_ != "json":
        raise CouchError(400, "invalid_index", f"Invalid type for index: {type_}")
    fields, partial = _parse_definition(body["index"])
    generated = generated_name(body)
    ddoc = ddoc or generated
    if not ddoc.startswith("_design/"):
        ddoc = f"_design/{ddoc}"
    definition = IndexDefinition(ddoc, name or generated, fields, partial)
    return IndexRequest(definition, body["index"], body.get("partitioned"))


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, str):
        raise CouchError(400, "invalid_string", f"Invalid string: {erlang_term(value)}")
    return value


def _name(body: dict[str, Any], member: str) -> str | None:
    if member not in body:
        return None
    value = body[member]
    if value == "":
        raise CouchError(400, "invalid_empty_string", "Index name or ddoc cannot be empty string")
    return _text(value)


def _check_quorum_and_partition(body: dict[str, Any]) -> None:
    quorum = body.get("w", 1)
    if not isinstance(quorum, int) or isinstance(quorum, bool) or quorum <= 0:
        raise CouchError(400, "invalid_pos_integer", f"{erlang_term(quorum)} is not an integer greater than zero")
    partitioned = body.get("partitioned", False)
    if not isinstance(partitioned, bool):
        raise unknown_error(f"Unknown Error: mango_opts :: {{invalid_partitioned_value,{erlang_term(partitioned)}}}")
    if partitioned:
        reason = "Unknown error while saving the design document: invalid_design_doc"
        raise CouchError(500, "error_saving_ddoc", reason)


def _parse_definition(index: Any) -> tuple[tuple[tuple[str, str], ...], Selector]:  # noqa: ANN401 - any JSON value
    if not isinstance(index, dict):
        raise CouchError(400, "invalid_index", f"JSON indexes must be an object, not: {erlang_term(index)}")
    if "fields" not in index:
        raise CouchError(400, "missing_required_key", "Missing required key: fields")
    fields = tuple(parse_sort(index["fields"]))
    for name, _ in fields:
        parse_path(name)
    partial = normalize(index.get("partial_filter_selector", {}))
    unknown = [name for name in index if name not in {"fields", "partial_filter_selector"}]
    if unknown:
        raise CouchError(400, "invalid_key", f"Invalid key {unknown[0]} for this request.")
    return fields, partial


def definitions_in(ddoc: str, body: dict[str, Any]) -> list[IndexDefinition]:
    """Return the indexes that a design document holds; what is no valid definition is passed over, as CouchDB does."""
    views = body.get("views")
    if body.get("language") != "query" or not isinstance(views, dict):
        return []
    found = []
    for name, view in views.items():
        definition = _definition_in_view(ddoc, name, view)
        if definition is not None:
            found.append(definition)
    return found


def _definition_in_view(ddoc: str, name: str, view: Any) -> IndexDefinition | None:  # noqa: ANN401 - any JSON value
    if not isinstance(view, dict) or not isinstance(view.get("map"), dict):
        return None
    fields = view["map"].get("fields")
    if not isinstance(fields, dict) or not isinstance(view.get("options"), dict):
        return None
    try:
        parsed = tuple(parse_sort([{field: direction} for field, direction in fields.items()]))
        for field, _ in parsed:
            parse_path(field)
        return IndexDefinition(ddoc, name, parsed, normalize(view["map"].get("partial_filter_selector", {})))
    except CouchError:
        return None
