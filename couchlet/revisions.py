"""Revisions and revision trees, as pure values.

A revision is `<generation>-<id>`; the id is 32 hexadecimal digits when a server made it, but replication may bring
any text. A document's tree is kept as its branches: for each leaf the path from the leaf back to the oldest known
ancestor. Branches share ancestors; nothing else is needed to merge, to find the winner and to cut off old history.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from couchlet.errors import CouchError, bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HEX_LENGTH: Final = 32
RAW_LENGTH: Final = 16
"""The bytes of a revision id that a server made, as stored."""

_HEX_ID: Final = re.compile(f"[0-9a-fA-F]{{{_HEX_LENGTH}}}")
MAX_GENERATION: Final = 2**62
"""The greatest that a revision may have which is written; one may ask for others, which are not there."""

_MOST_DIGITS: Final = 1000


class Revision(NamedTuple):
    """One revision: how many edits led to it (its generation, from 1), and which of that generation it is."""

    generation: int
    id: str

    def __str__(self) -> str:
        """Return the form in which clients see it."""
        return f"{self.generation}-{self.id}"

    @property
    def rank(self) -> tuple[int, bytes]:
        """What revisions are compared by: the higher one wins."""
        return self.generation, raw_id(self.id)


class Branch(NamedTuple):
    """One leaf and its ancestors: `ids` runs from the leaf (of generation `start`) to the oldest known one."""

    start: int
    ids: tuple[str, ...]
    deleted: bool

    @property
    def leaf(self) -> Revision:
        """The newest revision of this branch."""
        return Revision(self.start, self.ids[0])

    def holds(self, revision: Revision) -> bool:
        """Whether the revision is on this branch, as leaf or ancestor."""
        place = self.start - revision.generation
        return 0 <= place < len(self.ids) and self.ids[place] == revision.id

    def revisions(self) -> Iterator[Revision]:
        """Yield all revisions of this branch, newest first."""
        return (Revision(self.start - place, id_) for place, id_ in enumerate(self.ids))


Tree = tuple[Branch, ...]
"""The branches of one document; empty for a document that does not exist."""

_read_tree: Final = msgspec.msgpack.Decoder(Tree).decode
"""Made here, because msgspec must not work out a type in several threads at once: that ends the process."""


def is_hex_id(text: str) -> bool:
    """Whether a revision id is one that a server made."""
    return _HEX_ID.fullmatch(text) is not None


def raw_id(text: str) -> bytes:
    """Return the bytes by which revision ids of one generation are compared."""
    return bytes.fromhex(text) if is_hex_id(text) else text.encode("utf-8", "surrogateescape")


def parse_revision_id(text: object) -> str:
    """Check a revision id and bring it into the form in which it is kept.

    Raises:
        CouchError: 400 `doc_validation` for what is no text, or has 32 characters that are not all hexadecimal.
    """
    if not isinstance(text, str):
        raise CouchError(400, "doc_validation", "RevId isn't a string")
    if len(text.encode()) == _HEX_LENGTH:
        if not is_hex_id(text):
            raise CouchError(400, "doc_validation", "RevId isn't a valid hexadecimal")
        return text.lower()
    return text


def refuse_generation(revision: Revision) -> None:
    """Refuse to write what follows a revision that nobody can have come to.

    Raises:
        CouchError: 400.
    """
    if revision.generation > MAX_GENERATION:
        raise bad_request("Invalid rev format")


def parse_revision(text: object) -> Revision:
    """Parse `<generation>-<id>`.

    Raises:
        CouchError: 400 `bad_request` for anything else.
    """
    if isinstance(text, str):
        generation, dash, id_ = text.partition("-")
        if dash and generation.isascii() and generation.isdigit() and len(generation) < _MOST_DIGITS:
            if len(id_) == _HEX_LENGTH and not is_hex_id(id_):
                raise bad_request("Invalid rev format")
            return Revision(int(generation), id_.lower() if is_hex_id(id_) else id_)
    raise bad_request("Invalid rev format")


def parse_revisions(texts: object) -> list[Revision]:
    """Parse a list of revisions.

    Raises:
        CouchError: 400 `bad_request` if it is no list, or one of them is no revision.
    """
    if not isinstance(texts, list):
        raise bad_request("Invalid list of revisions")
    return [parse_revision(text) for text in texts]


def winner(tree: Tree) -> Branch:
    """Return the branch whose leaf is shown: a living one before a deleted one, then the longer, then the higher id."""
    if len(tree) == 1:
        return tree[0]
    return max(tree, key=lambda branch: (not branch.deleted, branch.leaf.rank))


def is_deleted(tree: Tree) -> bool:
    """Whether every leaf is deleted, and so the document."""
    return all(branch.deleted for branch in tree)


def branches_by_rank(tree: Tree) -> list[Branch]:
    """Return the branches, winner first."""
    return sorted(tree, key=lambda branch: (not branch.deleted, branch.leaf.rank), reverse=True)


def branches_by_root(tree: Tree) -> list[Branch]:
    """Return the branches as a walk through CouchDB's trees meets them.

    Of several roots the newest, or of one generation the highest, comes first; below a root, the lower id.
    """
    paths = sorted(tree, key=lambda branch: [raw_id(id_) for id_ in reversed(branch.ids)])
    return sorted(paths, key=_root_rank, reverse=True)


def _root_rank(branch: Branch) -> tuple[int, bytes]:
    return Revision(branch.start - len(branch.ids) + 1, branch.ids[-1]).rank


def holds(tree: Tree, revision: Revision) -> bool:
    """Whether the tree has the revision, as leaf or ancestor."""
    return any(branch.holds(revision) for branch in tree)


def leaf_branch(tree: Tree, revision: Revision) -> Branch | None:
    """Return the branch that ends in this revision, if one does."""
    for branch in tree:
        if branch.start == revision.generation and branch.ids[0] == revision.id:
            return branch
    return None


def extends_leaf(tree: Tree, ancestors: Branch) -> bool:
    """Whether a revision with these ancestors lengthens a branch: whether the newest that the tree has is a leaf."""
    known = next((revision for revision in ancestors.revisions() if holds(tree, revision)), None)
    return known is not None and leaf_branch(tree, known) is not None


def merge(tree: Tree, path: Branch) -> Tree:
    """Return the tree with a path added; the same tree if it holds the path's leaf already.

    The path is joined at its newest revision that the tree knows. Older history that only one side knows is kept.
    """
    if holds(tree, path.leaf):
        completed = _complete_history(tree, path)
        return tree if completed == tree else _joined(completed)
    for depth, revision in enumerate(path.revisions()):
        known = next((branch for branch in tree if branch.holds(revision)), None)
        if known is None:
            continue
        tail = known.ids[known.start - revision.generation :]
        if len(tail) > len(path.ids) - depth:
            path = path._replace(ids=path.ids[:depth] + tail)
        kept = tuple(branch for branch in tree if branch.leaf != revision)
        grown = (*_complete_history(kept, path), path)
        return grown if len(tail) >= len(path.ids) - depth else _joined(grown)
    return (*tree, path)


def _joined(tree: Tree) -> Tree:
    """Return the tree after history was learned: with leaves that are ancestors of others now taken into those."""
    leaves = tuple(branch for branch in tree if not any(branch != other and other.holds(branch.leaf) for other in tree))
    for branch in tree:
        leaves = _complete_history(leaves, branch)
    return leaves


def _complete_history(tree: Tree, path: Branch) -> Tree:
    """Lengthen branches that were cut off inside the path by the path's older revisions."""
    return tuple(_lengthened(branch, path) for branch in tree)


def _lengthened(branch: Branch, path: Branch) -> Branch:
    oldest = Revision(branch.start - len(branch.ids) + 1, branch.ids[-1])
    if not path.holds(oldest):
        return branch
    older = path.ids[path.start - oldest.generation + 1 :]
    return branch._replace(ids=branch.ids + older) if older else branch


def stem(tree: Tree, limit: int) -> Tree:
    """Return the tree with at most `limit` revisions a branch."""
    if all(len(branch.ids) <= limit for branch in tree):
        return tree
    return tuple(branch._replace(ids=branch.ids[:limit]) for branch in tree)


def remove_leaves(tree: Tree, revisions: Iterable[Revision]) -> tuple[Tree, list[Revision]]:
    """Return the tree without the leaves named, and those that it had, lowest first (no others are removed)."""
    wanted = set(revisions)
    removed = sorted((branch.leaf for branch in tree if branch.leaf in wanted), key=lambda leaf: leaf.rank)
    return tuple(branch for branch in tree if branch.leaf not in removed), removed


def possible_ancestors(tree: Tree, missing: Sequence[Revision]) -> list[Revision]:
    """Leaves that a missing revision might descend from, winner first: those of a generation below some missing one."""
    highest = max((revision.generation for revision in missing), default=0)
    return [branch.leaf for branch in branches_by_rank(tree) if branch.start < highest]


def pack(tree: Tree) -> tuple[bytes, bytes | None]:
    """Return the tree as stored: a lone branch of server-made ids as raw bytes, any other tree as MessagePack."""
    if len(tree) == 1:
        raw = _raw_ids(tree[0].ids)
        if raw is not None:
            return raw, None
    return b"", msgspec.msgpack.encode(tree)


def _raw_ids(ids: Sequence[str]) -> bytes | None:
    """Return ids that a server made as raw bytes; None if there are others among them."""
    joined = "".join(ids)
    try:
        raw = bytes.fromhex(joined)
    except ValueError:
        return None
    return raw if raw.hex() == joined and all(len(id_) == _HEX_LENGTH for id_ in ids) else None


def unpack(generation: int, deleted: bool, packed: bytes, branches: bytes | None) -> Tree:
    """Undo `pack`; generation and deletion of a lone branch are stored beside it."""
    if branches is None:
        text = packed.hex()
        ids = tuple(text[place : place + _HEX_LENGTH] for place in range(0, len(text), _HEX_LENGTH))
        return (Branch(generation, ids, deleted),)
    return _read_tree(branches)


def packed_leaf_id(packed: bytes) -> str:
    """Return the leaf's id of a lone branch as stored, without unpacking the rest."""
    return packed[:RAW_LENGTH].hex()
