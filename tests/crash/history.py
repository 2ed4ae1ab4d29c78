# SPDX-License-Identifier: MIT
"""The oracle: what a directory may look like after a crash.

An actor works in a directory of its own, one operation after the other, and its History remembers
each. A crash cuts the history: the first `done` operations had returned, the first `begun` (one
more at most) had started. What is found afterwards must be explained by

  names     the tree after some first k operations. k is not smaller than what fsync, fsync of a
            directory, or a sync of everything had acknowledged, nor larger than `begun`. (The log is one
            sequence, so names are lost from the end only.)
  contents  for each file its bytes as they were acknowledged, where nothing touched them since;
            elsewhere, sector by sector, what some later version had there, or zeros beyond the
            acknowledged length. Never another file's bytes: every sector of test data names its file.
  promises  a file that replaced another by rename, and a nameless file that was linked, has at least
            what it had at that moment. A file that was emptied and written anew shows the old
            content or the new one, whole, and nothing in between.

Files: numbers, as one file may have several names and a name several files.
"""

import bisect
from dataclasses import dataclass, field

SECTOR = 512
NAME_OPS = {"create", "tmpfile", "mkdir", "rmdir", "unlink", "link", "rename", "symlink"}


class Violation(AssertionError):
    """A promise that a crash state breaks."""


@dataclass
class Op:
    kind: str
    file: int = -1          # what it concerns, if a file
    paths: tuple = ()       # names in question, relative to the actor's directory
    at: int = 0             # offset of a write, size of a truncation
    data: bytes = b""
    files: tuple = ()       # paths of `file` at that time, for fsync; replaced file for rename


@dataclass
class Version:
    op: int                 # made by this operation
    data: bytes
    epoch: int              # counts how often the file was emptied to be written anew


@dataclass
class Life:
    """All contents one file ever had."""

    versions: list = field(default_factory=list)
    anew: dict = field(default_factory=dict)    # epoch -> number of the version at its close, or None
    synced: list = field(default_factory=list)  # (op, version): fsync, data first, sync of everything
    ordered: list = field(default_factory=list)  # (op, version): promised once the op's names are there

    def current(self):
        return len(self.versions) - 1

    def sync(self, op, worked=True):
        """An fsync, or a sync of everything. In the midst of a rewrite it asks for the new content as far
        as it goes, which nobody can hold back any longer, even if it fails; what is written later is not
        whole at once."""
        if worked:
            self.synced.append((op, self.current()))
        epoch = self.versions[-1].epoch if self.versions else 0
        if epoch in self.anew and self.anew[epoch] is None:
            self.anew[epoch] = self.current()


class History:
    def __init__(self, name):
        self.name = name
        self.ops = []
        self._lives = None
        self._trees = None

    # ---- what happened, worked out once

    def trees(self):
        """trees()[k]: path -> ('d', None), ('l', target) or ('f', file) after k operations."""
        if self._trees is None or len(self._trees) != len(self.ops) + 1:
            tree, self._trees = {}, [{}]
            for op in self.ops:
                if op.kind in NAME_OPS:
                    tree = apply_names(tree, op)
                self._trees.append(tree)
        return self._trees

    def lives(self):
        if self._lives is None:
            self._lives = {}
            for number, op in enumerate(self.ops):
                self._note(number, op)
        return self._lives

    def _note(self, number, op):
        if op.kind in ("sync", "failed sync"):
            for life in self._lives.values():
                life.sync(number, op.kind == "sync")
            return
        if op.file < 0:
            return
        life = self._lives.setdefault(op.file, Life())
        last = life.versions[-1] if life.versions else Version(number, b"", 0)
        if op.kind in ("create", "tmpfile") and not life.versions:
            life.versions.append(last)
        elif op.kind == "write":
            data = last.data.ljust(op.at, b"\0")
            data = data[:op.at] + op.data + data[op.at + len(op.data):]
            life.versions.append(Version(number, data, last.epoch))
        elif op.kind == "truncate":
            data = last.data[:op.at].ljust(op.at, b"\0")
            life.versions.append(Version(number, data, last.epoch))
        elif op.kind == "empty":
            life.versions.append(Version(number, b"", last.epoch + 1))
            life.anew[last.epoch + 1] = None
        elif op.kind == "close" and last.epoch in life.anew and life.anew[last.epoch] is None:
            life.anew[last.epoch] = life.current()
        elif op.kind == "fsync":
            life.sync(number)
        elif op.kind == "rename" and op.files or op.kind == "link" and not op.paths[0]:
            life.ordered.append((number, life.current()))

    # ---- what must be there

    def least(self, done):
        """Number of leading operations whose effect on names was acknowledged."""
        least = 0
        for number, op in enumerate(self.ops[:done]):
            if op.kind == "sync":
                least = number
            elif op.kind in ("fsync", "fsyncdir"):
                names = op.files
                for earlier in range(number - 1, least - 1, -1):
                    if self._concerns(self.ops[earlier], op.file, names):
                        least = max(least, earlier + 1)
                        break
        return least

    @staticmethod
    def _concerns(op, file, names):
        """Does the operation decide about these names or a directory above them?"""
        if op.kind not in NAME_OPS:
            return False
        if file >= 0 and op.file == file:
            return True
        return any(name == path or name.startswith(path + "/")
                   for path in op.paths if path for name in names)

    def check(self, found, done, begun, least=0):
        """FOUND: path -> ('d', None, None), ('l', target, None) or ('f', inode number, content).
        LEAST: a stronger bound than the acknowledgements, if the caller knows one."""
        least = max(least, self.least(done))
        complaints = []
        for k in range(begun, least - 1, -1):
            try:
                self._check_names(found, self.trees()[k])
                self._check_contents(found, k, done, begun)
                return k
            except Violation as exc:
                complaints.append((k, str(exc)))
        best = max(complaints, key=lambda c: (c[1].startswith("content"), c[0]))
        raise Violation(f"{self.name}: no state between operation {least} and {begun} explains this; "
                        f"compared with {best[0]}: {best[1]}")

    @staticmethod
    def _check_names(found, tree):
        for path in sorted(set(found) | set(tree)):
            if path not in found:
                raise Violation(f"{path} is missing")
            if path not in tree:
                raise Violation(f"{path} should not be there")
            if found[path][0] != tree[path][0]:
                raise Violation(f"{path} is a {found[path][0]}, not a {tree[path][0]}")
            if found[path][0] == "l" and found[path][1] != tree[path][1]:
                raise Violation(f"{path} points to {found[path][1]}, not {tree[path][1]}")
        inode_of, file_of = {}, {}
        for path, (kind, what, _) in found.items():
            if kind == "f":
                file = tree[path][1]
                if inode_of.setdefault(file, what) != what or file_of.setdefault(what, file) != file:
                    raise Violation(f"{path} is not linked as it should be")

    def _check_contents(self, found, k, done, begun):
        tree = self.trees()[k]
        for path, (kind, _, content) in found.items():
            if kind == "f":
                why = self._content_wrong(self.lives()[tree[path][1]], content, k, done, begun)
                if why:
                    raise Violation(f"content of {path}: {why}")

    def _content_wrong(self, life, content, k, done, begun):
        base = max([0] + [version for op, version in life.synced if op < done]
                   + [version for op, version in life.ordered if op < k])
        last = bisect.bisect_left([version.op for version in life.versions], begun) - 1
        reasons = []
        for epoch in range(life.versions[base].epoch, life.versions[max(last, base)].epoch + 1):
            first = base
            if epoch != life.versions[base].epoch:
                first = life.anew.get(epoch)
                if first is None or first > last:
                    continue
            elif epoch in life.anew and life.anew[epoch] is not None:
                first = max(first, life.anew[epoch])
            versions = [v.data for v in life.versions[first:last + 1] if v.epoch == epoch]
            why = mixture_wrong(content, versions)
            if not why:
                return None
            reasons.append(why)
        return "; or ".join(reasons) or "no version may be visible"


def apply_names(tree, op):
    tree = dict(tree)
    if op.kind == "create":
        tree[op.paths[0]] = ("f", op.file)
    elif op.kind == "mkdir":
        tree[op.paths[0]] = ("d", None)
    elif op.kind == "symlink":
        tree[op.paths[0]] = ("l", op.data.decode())
    elif op.kind in ("unlink", "rmdir"):
        del tree[op.paths[0]]
    elif op.kind == "link":
        tree[op.paths[1]] = ("f", op.file)
    elif op.kind == "rename":
        old, new = op.paths
        moved = {path: tree.pop(path) for path in list(tree)
                 if path == old or path.startswith(old + "/")}
        tree.update((new + path[len(old):], what) for path, what in moved.items())
    return tree


def mixture_wrong(content, versions):
    """None, or why the content is no mixture of these versions, the first of which is surely there."""
    if content in versions:
        return None
    if not versions:
        return "no version may be visible"
    lengths = [len(data) for data in versions]
    if not min(lengths) <= len(content) <= max(lengths):
        return (f"{len(content)} bytes, should be between {min(lengths)} and {max(lengths)}"
                f" (begins {content[:40]!r})")
    for at in range(0, len(content), SECTOR):
        sector = content[at:at + SECTOR]
        choices = [data[at:at + SECTOR].ljust(len(sector), b"\0")[:len(sector)] for data in versions]
        if sector in choices:
            continue
        if not any(sector) and at >= lengths[0]:
            continue
        if at + len(sector) > lengths[0] and tail_explained(sector, choices, lengths[0] - at):
            continue
        return (f"{len(content)} bytes, wrong at {at}: {sector[:48]!r}, should be "
                f"{choices[0][:48]!r} or one of {len(choices) - 1} later versions")
    return None


def tail_explained(sector, choices, known):
    """A sector that is acknowledged as far as `known`: some version as far as that or farther, zeros behind it. (What
    destage has made durable of a file that nobody synced may end anywhere.)"""
    end = max(known, len(sector.rstrip(b"\0")))
    return any(sector[:end] == choice[:end] for choice in choices)
