"""Merkle trees as in RFC 6962, over hashes that arrive one by one. Pure, no Django.

A leaf is SHA-256 over a zero byte and the entry, a node is SHA-256 over a one byte and its two
children. All hashes here are the 32 raw bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
BLOCK_LEVEL = 10
BLOCK = 1 << BLOCK_LEVEL  # leaves under one remembered node


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Tree:
    """The right edge of a growing tree: one hash per whole subtree, the largest first.

    That is all it takes to go on and to name the root, so a tree of a million leaves keeps at most
    twenty hashes. `blocks` collects the roots of the aligned subtrees of `BLOCK` leaves that became
    whole: with them an audit path reads at most two blocks of leaves.
    """

    size: int = 0
    edge: list[bytes] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)

    def append(self, entry: bytes) -> None:
        """Add the next leaf."""
        self._push(hashlib.sha256(b"\0" + entry).digest(), 0)

    def append_block(self, root: bytes) -> None:
        """Add a whole block of leaves by its root; the size is a multiple of `BLOCK`."""
        if self.size % BLOCK:
            raise ValueError("a block starts where a block ended")
        self.blocks.append(root)
        self._push(root, BLOCK_LEVEL)

    def _push(self, node: bytes, level: int) -> None:
        position = self.size >> level
        self.size += 1 << level
        edge = self.edge
        while position & 1:
            node = hashlib.sha256(b"\1" + edge.pop() + node).digest()
            position >>= 1
            level += 1
            if level == BLOCK_LEVEL:
                self.blocks.append(node)
        edge.append(node)

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of everything appended so far."""
        return root_of(self.edge)


def block_root(entries: Sequence[bytes]) -> bytes:
    """Return the root over a whole block of `BLOCK` leaves, level by level."""
    if len(entries) != BLOCK:
        raise ValueError(f"a block has {BLOCK} leaves, not {len(entries)}")
    sha256 = hashlib.sha256
    level = [sha256(b"\0" + entry).digest() for entry in entries]
    while len(level) > 1:
        level = [
            sha256(b"\1" + left + right).digest()
            for left, right in zip(level[::2], level[1::2], strict=True)
        ]
    return level[0]


def root_of(edge: Sequence[bytes]) -> bytes:
    """Return the root of a tree from its right edge."""
    if not edge:
        return hashlib.sha256().digest()
    node = edge[-1]
    for left in reversed(edge[:-1]):
        node = node_hash(left, node)
    return node


def root(entries: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of these entries in this order."""
    tree = Tree()
    for entry in entries:
        tree.append(entry)
    return tree.root


def audit_path(nodes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path from node `index` up to the root over `nodes`, siblings from the bottom.

    Args:
        nodes: roots of neighbouring subtrees of one size, or leaf hashes; the last may be smaller.
        index: 0 to len(nodes) - 1.
    """
    if not 0 <= index < len(nodes):
        raise ValueError(f"there is no leaf {index} among {len(nodes)}")
    path = []
    level = list(nodes)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = [
            node_hash(level[at], level[at + 1]) if at + 1 < len(level) else level[at]
            for at in range(0, len(level), 2)
        ]
        index >>= 1
    return path


def verify_inclusion(
    entry: bytes, index: int, size: int, path: Sequence[bytes], expected_root: bytes
) -> bool:
    """Say whether `entry` is leaf `index` of the tree of `size` leaves with this root.

    The algorithm is that of RFC 9162 §2.1.3.2, which gives the same answers as RFC 6962.
    """
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    computed = leaf_hash(entry)
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and computed == expected_root
