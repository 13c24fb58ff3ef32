"""What an edit does to a document: conflict or new revision, by CouchDB's rules.

Interactive edits (`new_edits` true) extend a leaf or are refused; replicated ones (`new_edits` false) are merged
into the tree whatever it holds.
"""

from __future__ import annotations

from functools import reduce
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from couchlet import json_text
from couchlet.content_coding import GZIP, compressed, is_compressible
from couchlet.documents import AttachmentInput, NewDocument, content_digest
from couchlet.errors import CouchError, conflict, missing_stub, unknown_error
from couchlet.revision_ids import new_revision_id
from couchlet.revisions import (
    Branch,
    Revision,
    Tree,
    extends_leaf,
    holds,
    is_deleted,
    leaf_branch,
    merge,
    stem,
    winner,
)
from couchlet.storage.contents import store_content
from couchlet.storage.records import Attachments, StoredDocument, attachments_of, pack_attachments, stored_document
from couchlet.storage.transaction import Change, Content, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Outcome = Revision | CouchError


def _revpos(attachment: AttachmentInput | None, generation: int | None) -> int:
    """Return the generation that a new attachment is of: the edit's, or what a replicated revision says."""
    if generation is not None:
        return generation
    return (attachment.revpos or 0) if attachment else 0


def _is_checked(document: NewDocument) -> bool:
    """Whether CouchDB looks closer at a request with this document, even if no rules are to be asked.

    It finds then that a new document has no revision to edit, and passes over replicated ones that it knows.
    """
    return bool(document.attachments or document.kept_attachments) or document.id.startswith("_design/")


def conflicts(document: NewDocument, before: StoredDocument | None) -> bool:
    """Whether an edit names no leaf of what is there, or none although there is something."""
    if before is None:
        return bool(document.history)
    if document.revision is None:
        return not is_deleted(before.tree)
    return leaf_branch(before.tree, document.revision) is None


def _check_before(document: NewDocument, before: StoredDocument | None) -> None:
    """Compare an edit with what was stored before its request, whatever edits came earlier in that.

    CouchDB does so for all of a request that it looks closer at (`couch_db:prep_and_validate_updates`), before it
    merges them one after another.

    Raises:
        CouchError: 409 `conflict`; for a stub 412 `missing_stub` in a document that is not there, and 500 in one that
            is made anew, on which CouchDB fails.
    """
    check_stubs(document, before)
    if conflicts(document, before):
        raise conflict()
    if document.revision is None and _stub(document) is not None:
        raise unknown_error("function_clause")


def check_stubs(document: NewDocument, before: StoredDocument | None) -> None:
    """Refuse a stub of what is not there, whatever else is wrong with the document.

    Raises:
        CouchError: 412 `missing_stub`.
    """
    stub = _stub(document)
    if stub is not None and before is None:
        raise missing_stub(document.id, stub)


def _stub(document: NewDocument) -> str | None:
    """Return the name of a document's first attachment that is a stub."""
    return next((name for name, attachment in document.attachments.items() if attachment.stub), None)


def _paths(documents: Sequence[NewDocument]) -> dict[str, list[Branch]]:
    """Return the replicated revisions of each document, with their ancestors."""
    paths: dict[str, list[Branch]] = {}
    for document in documents:
        if document.history:
            paths.setdefault(document.id, []).append(Branch(document.start, document.history, document.deleted))
    return paths


class _Draft:
    """One document while the edits of a request are applied to it; `expected` is its tree after them all, if asked."""

    def __init__(self, id_: str, before: StoredDocument | None) -> None:
        self.id = id_
        self.before = before
        self.tree: Tree = before.tree if before else ()
        self.expected: Tree = ()
        self.contents: dict[Revision, Content] = {}

    @property
    def exists(self) -> bool:
        return bool(self.tree)


class Editor:
    """Applies the edits of one request inside a transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work on this transaction."""
        self._transaction = transaction
        self._drafts: dict[str, _Draft] = {}
        self._paths: dict[str, list[Branch]] = {}
        self._looks_closer = False

    def apply(
        self, documents: Sequence[NewDocument], *, new_edits: bool, refused: Sequence[NewDocument] = ()
    ) -> list[Outcome]:
        """Apply the edits; each gets its new revision or its error.

        As in CouchDB (`couch_db:group_alike_docs`) they are taken in the order of their ids, those of one id in theirs.
        Those of the request that were `refused` already are not written, but count where the others are looked at.
        """
        heads = self._transaction.heads(document.id for document in documents)
        ordered = sorted(documents, key=lambda document: document.id)
        self._drafts = {document.id: _Draft(document.id, heads.get(document.id)) for document in ordered}
        self._looks_closer = self._transaction.has_rules is not False or any(map(_is_checked, (*documents, *refused)))
        if not new_edits and self._looks_closer:
            self._paths = _paths(documents)
        step: Callable[[NewDocument], Revision] = self._edit if new_edits else self._replicate
        outcomes: dict[int, Outcome] = {}
        for document in ordered:
            try:
                outcomes[id(document)] = step(document)
            except CouchError as error:
                if error.status != HTTPStatus.CONFLICT:
                    # What is wrong with a stub refuses the whole request.
                    raise
                outcomes[id(document)] = error
        self._write()
        self._forget_rules()
        return [outcomes[id(document)] for document in documents]

    def _forget_rules(self) -> None:
        """Look for rules anew from now on if a design document was written."""
        if any(draft.contents and id_.startswith("_design/") for id_, draft in self._drafts.items()):
            self._transaction.has_rules = None

    def _learn_rules(self, document: NewDocument) -> None:
        """Look for rules, as CouchDB does it when it would ask them: also if the request is refused in the end."""
        if self._transaction.has_rules is None and not document.id.startswith("_design/"):
            self._transaction.find_rules()

    def _edit(self, document: NewDocument) -> Revision:
        draft = self._drafts[document.id]
        if self._looks_closer:
            _check_before(document, draft.before)
            self._learn_rules(document)
        parent, ancestors = document.revision, document.history
        # Attachments are of the generation that the request makes, even where a tombstone is what it goes on from.
        attachments = self._attachments(document, draft, [parent] if parent else [], document.start + 1)
        revives = draft.exists and is_deleted(draft.tree)
        if revives:
            if document.start != 0 or document.deleted:
                raise conflict()
            # A deleted document made anew goes on from its tombstone, as CouchDB does it.
            parent, ancestors = winner(draft.tree).leaf, winner(draft.tree).ids
        elif draft.exists:
            leaf = leaf_branch(draft.tree, parent) if parent else None
            if leaf is not None and len(ancestors) == 1:
                ancestors = leaf.ids
            elif not extends_leaf(draft.tree, Branch(document.start, ancestors, document.deleted)):
                raise conflict()
        id_ = new_revision_id(
            deleted=document.deleted,
            parent=parent,
            body=json_text.decode_stored(document.body),
            attachments=attachments,
            revives=revives,
        )
        path = Branch(parent.generation + 1 if parent else 1, (id_, *ancestors), document.deleted)
        if holds(draft.tree, path.leaf):
            raise conflict()
        self._add(draft, path, document, attachments)
        return path.leaf

    def _replicate(self, document: NewDocument) -> Revision:
        draft = self._drafts[document.id]
        revision = document.revision
        if revision is None:
            raise CouchError(400, "bad_request", "When `new_edits: false`, the document needs `_rev` or `_revisions`")
        path = Branch(document.start, document.history, document.deleted)
        if self._looks_closer and draft.before and not self._is_new_leaf(draft, draft.before, revision):
            return revision
        attachments = self._attachments(document, draft, islice(path.revisions(), 1, None), None)
        self._learn_rules(document)
        if holds(draft.tree, revision):
            draft.tree = merge(draft.tree, path)
            if self._content(draft, revision) is not None:
                return revision
            # Known as an ancestor only, so far: it may still bring its content.
        self._add(draft, path, document, attachments)
        return revision

    def _is_new_leaf(self, draft: _Draft, before: StoredDocument, revision: Revision) -> bool:
        """Whether a replicated revision is a leaf once all of the request are there, and was none before.

        CouchDB passes over others when it looks closer (`couch_db:prep_and_validate_replicated_updates`).
        """
        if not draft.expected:
            draft.expected = reduce(merge, self._paths[draft.id], before.tree)
        return leaf_branch(draft.expected, revision) is not None and leaf_branch(before.tree, revision) is None

    def _add(self, draft: _Draft, path: Branch, document: NewDocument, attachments: Attachments) -> None:
        draft.tree = merge(draft.tree, path) if draft.tree else (path,)
        leaf = path.leaf
        draft.contents[leaf] = Content(leaf, path.deleted, document.body, pack_attachments(attachments))

    def _attachments(
        self, document: NewDocument, draft: _Draft, ancestors: Iterable[Revision], generation: int | None
    ) -> Attachments:
        """Return the attachments of the new revision; inline contents are stored.

        What is new is of the revision's generation; a replicated revision (None) says itself of which, or it is 0.
        """
        kept = document.kept_attachments or {}
        if not (kept or document.attachments):
            return {}
        held: Attachments = {}
        if any(attachment.stub for attachment in document.attachments.values()):
            found = filter(None, (self._content_before(draft, ancestor) for ancestor in ancestors))
            content = next(found, None)
            held = attachments_of(content.attachments) if content else {}
        result: Attachments = {}
        # In the order in which the document names them.
        for name in document.attachments | kept:
            given, fields = document.attachments.get(name), kept.get(name)
            if fields is not None:
                result[name] = fields if "revpos" in fields else {**fields, "revpos": _revpos(given, generation)}
            elif given is not None:
                result[name] = self._attachment(document, name, given, held, generation)
        return result

    def _attachment(
        self, document: NewDocument, name: str, attachment: AttachmentInput, held: Attachments, generation: int | None
    ) -> dict[str, Any]:
        if attachment.data is None:
            fields = held.get(name)
            if fields is None or attachment.revpos not in {None, fields["revpos"]}:
                raise missing_stub(document.id, name)
            return fields
        pack = is_compressible(attachment.content_type)
        data = compressed(attachment.data) if pack else attachment.data
        key = self._transaction.new_content_key()
        store_content(self._transaction.connection, key, data)
        made = {
            "content_type": attachment.content_type,
            "revpos": _revpos(attachment, generation),
            "digest": content_digest(data),
            "length": len(attachment.data),
            "key": key,
        }
        return made | {"encoding": GZIP, "stored": len(data)} if pack else made

    def _content(self, draft: _Draft, revision: Revision) -> Content | None:
        return draft.contents.get(revision) or self._content_before(draft, revision)

    def _content_before(self, draft: _Draft, revision: Revision) -> Content | None:
        before = draft.before
        if before and before.shown == revision:
            return Content(revision, bool(before.deleted), before.body, before.attachments)
        return self._transaction.content(draft.id, revision)

    def _write(self) -> None:
        limit = self._transaction.revs_limit
        changes = []
        for draft in self._drafts.values():
            change = self._change(draft, limit)
            if change is not None:
                changes.append(change)
        if changes:
            self._transaction.apply(changes)

    def _change(self, draft: _Draft, limit: int) -> Change | None:
        before = draft.before
        if not draft.contents and (before is None or draft.tree == before.tree):
            return None
        tree = stem(draft.tree, limit)
        shown = winner(tree).leaf
        content = self._content(draft, shown)
        if content is None:
            raise CouchError(500, "internal_server_error", f"The content of {draft.id} {shown} is missing.")
        after = stored_document(draft.id, tree, content.body, content.attachments)
        aside = [kept for kept in draft.contents.values() if kept is not content]
        if before and before.shown != shown:
            aside.append(Content(before.shown, bool(before.deleted), before.body, before.attachments))
        return Change(before, after, aside, [shown])
