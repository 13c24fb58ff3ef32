"""Changes that several make of one document at once, each of which tells afterwards whether it was made."""

from __future__ import annotations


def add(database, what) -> list:
    """Add something to the list in document ``a``, once; return the list."""

    def change(doc):
        before = doc["changes"] if doc else []
        return None if what in before else {**(doc or {}), "changes": [*before, what]}

    return database.mutate("a", change)["changes"]


def take(database, doc_id, number) -> int:
    """Take a document for review as number so and so, if nobody has; return who has it."""

    def change(doc):
        return doc | {"state": "Reviewing", "by": number} if doc["state"] == "ReadyForReview" else None

    return database.mutate(doc_id, change)["by"]
