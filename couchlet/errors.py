"""The one error of this program that a client sees, and constructors for its usual forms.

CouchDB answers errors as `{"error": <name>, "reason": <sentence>}` with a status; names and wording here are its.
"""

from __future__ import annotations


class CouchError(Exception):
    """An answer that is an error: HTTP status, CouchDB's name for it, and a reason for people."""

    def __init__(self, status: int, error: str, reason: str, headers: dict[str, str] | None = None) -> None:
        """Keep the answer; `headers` are sent with it."""
        super().__init__(f"{status} {error}: {reason}")
        self.status = status
        self.error = error
        self.reason = reason
        self.headers = headers or {}

    def as_row(self) -> dict[str, str]:
        """Return the members that describe this error inside a row of a larger answer."""
        return {"error": self.error, "reason": self.reason}


def bad_request(reason: str) -> CouchError:
    """400: the request is malformed."""
    return CouchError(400, "bad_request", reason)


def not_utf8() -> CouchError:
    """400: the id of a document that is to be written is no text."""
    return CouchError(400, "illegal_docid", "Document id must be valid UTF-8")


def query_parse_error(reason: str) -> CouchError:
    """400: a parameter of the query string cannot be used."""
    return CouchError(400, "query_parse_error", reason)


def unauthorized(reason: str) -> CouchError:
    """401: who asks is not known, or must be an administrator."""
    return CouchError(401, "unauthorized", reason)


def forbidden(reason: str) -> CouchError:
    """403: who asks is known, and may not."""
    return CouchError(403, "forbidden", reason)


def not_found(reason: str = "missing") -> CouchError:
    """404: there is no such document, attachment or address."""
    return CouchError(404, "not_found", reason)


def no_database() -> CouchError:
    """404: there is no such database."""
    return CouchError(404, "not_found", "Database does not exist.")


def method_not_allowed(methods: str) -> CouchError:
    """405, with the methods that are allowed here, separated by commas."""
    return CouchError(405, "method_not_allowed", f"Only {methods} allowed", {"Allow": methods})


def bad_content_type(content_type: str) -> CouchError:
    """415: a body, or the document in it, is not declared to be what it has to be."""
    return CouchError(415, "bad_content_type", f"Content-Type must be {content_type}")


def conflict() -> CouchError:
    """409: the write names a revision that is not a leaf."""
    return CouchError(409, "conflict", "Document update conflict.")


def missing_stub(id_: str, name: str) -> CouchError:
    """412: an attachment is to stay as it was, and was not there."""
    return CouchError(412, "missing_stub", f"Invalid attachment stub in {id_} for {name}")


def unknown_error(reason: str) -> CouchError:
    """500: CouchDB fails on such a request, with this name for it; so does this, without failing."""
    return CouchError(500, "unknown_error", reason)


def not_implemented(what: str) -> CouchError:
    """501: CouchDB has this, couchlet does not; `what` begins the sentence and says what to do instead."""
    return CouchError(501, "not_implemented", what)
