"""What an edit does to a document: conflict or new revision, by CouchDB's rules.

Interactive edits (`new_edits` true) extend a leaf or are refused; replicated ones (`new_edits` false) are merged
into the tree whatever it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet import json_text
from couchlet.content_coding import GZIP, compressed, is_compressible
from couchlet.documents import AttachmentInput, NewDocument, content_digest
from couchlet.errors import CouchError, conflict
from couchlet.revision_ids import new_revision_id
from couchlet.revisions import (
    Branch,
    Revision,
    Tree,
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
    from collections.abc import Callable, Sequence

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


class _Draft:
    """One document while the edits of a request are applied to it."""

    def __init__(self, id_: str, before: StoredDocument | None) -> None:
        self.id = id_
        self.before = before
        self.tree: Tree = before.tree if before else ()
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
        self._looks_closer = False

    def apply(self, documents: Sequence[NewDocument], *, new_edits: bool) -> list[Outcome]:
        """Apply the edits in order; each gets its new revision or its error."""
        heads = self._transaction.heads(document.id for document in documents)
        self._drafts = {document.id: _Draft(document.id, heads.get(document.id)) for document in documents}
        self._looks_closer = self._transaction.has_rules is not False or any(map(_is_checked, documents))
        step: Callable[[NewDocument], Revision] = self._edit if new_edits else self._replicate
        outcomes: list[Outcome] = []
        for document in documents:
            try:
                outcomes.append(step(document))
            except CouchError as error:
                if error.status == 412:  # noqa: PLR2004 - a stub without its content refuses the whole request
                    raise
                outcomes.append(error)
        self._write()
        self._learn_rules()
        return outcomes

    def _learn_rules(self) -> None:
        """Know of rules what CouchDB knows behind such writes: it looks for them when it validates a document."""
        written = [id_.startswith("_design/") for id_, draft in self._drafts.items() if draft.contents]
        if any(written):
            self._transaction.has_rules = None
        elif written and self._transaction.has_rules is None:
            self._transaction.find_rules()

    def _edit(self, document: NewDocument) -> Revision:
        draft = self._drafts[document.id]
        parent, ancestors = document.revision, document.history
        # Attachments are of the generation that the request makes, even where a tombstone is what it goes on from.
        generation = document.start + 1
        revives = draft.exists and is_deleted(draft.tree)
        if draft.exists:
            if revives:
                if parent is not None or document.deleted:
                    raise conflict()
                # A deleted document made anew goes on from its tombstone, as CouchDB does it.
                branch = winner(draft.tree)
                parent, ancestors = branch.leaf, branch.ids
                document.start = branch.start
            else:
                leaf = leaf_branch(draft.tree, parent) if parent else None
                if leaf is None:
                    raise conflict()
                ancestors = leaf.ids
        elif parent is not None and self._looks_closer:
            raise conflict()
        attachments = self._attachments(document, draft, parent, generation)
        id_ = new_revision_id(
            deleted=document.deleted,
            parent=parent,
            body=json_text.decode_stored(document.body),
            attachments=attachments,
            revives=revives,
        )
        path = Branch(document.start + 1, (id_, *ancestors), document.deleted)
        revision = path.leaf
        if draft.tree and holds(draft.tree, revision):
            raise conflict()
        self._add(draft, path, document, attachments)
        return revision

    def _replicate(self, document: NewDocument) -> Revision:
        draft = self._drafts[document.id]
        revision = document.revision
        if revision is None:
            raise CouchError(400, "bad_request", "When `new_edits: false`, the document needs `_rev` or `_revisions`")
        path = Branch(document.start, document.history, document.deleted)
        if holds(draft.tree, revision):
            if draft.before and self._looks_closer:
                return revision
            draft.tree = merge(draft.tree, path)
            if self._content(draft, revision) is not None:
                return revision
            # Known as an ancestor only, so far: it may still bring its content.
        parent = next((ancestor for ancestor in path.revisions() if holds(draft.tree, ancestor)), None)
        attachments = self._attachments(document, draft, parent, None)
        self._add(draft, path, document, attachments)
        return revision

    def _add(self, draft: _Draft, path: Branch, document: NewDocument, attachments: Attachments) -> None:
        draft.tree = merge(draft.tree, path) if draft.tree else (path,)
        leaf = path.leaf
        draft.contents[leaf] = Content(leaf, path.deleted, document.body, pack_attachments(attachments))

    def _attachments(
        self, document: NewDocument, draft: _Draft, parent: Revision | None, generation: int | None
    ) -> Attachments:
        """Return the attachments of the new revision; inline contents are stored.

        What is new is of the revision's generation; a replicated revision (None) says itself of which, or it is 0.
        """
        kept = document.kept_attachments or {}
        if not (kept or document.attachments):
            return {}
        held: Attachments = {}
        if any(attachment.stub for attachment in document.attachments.values()):
            content = self._content(draft, parent) if parent else None
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
                raise CouchError(412, "missing_stub", f"Invalid attachment stub in {document.id} for {name}")
            return fields
        pack = is_compressible(attachment.content_type)
        data = compressed(attachment.data) if pack else attachment.data
        made = {
            "content_type": attachment.content_type,
            "revpos": _revpos(attachment, generation),
            "digest": content_digest(data),
            "length": len(attachment.data),
            "key": store_content(self._transaction.connection, data),
        }
        return made | {"encoding": GZIP, "stored": len(data)} if pack else made

    def _content(self, draft: _Draft, revision: Revision) -> Content | None:
        if revision in draft.contents:
            return draft.contents[revision]
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
