# SPDX-License-Identifier: MIT
"""Describes a directory tree completely, so that two trees, or one before and after, can be compared."""

import hashlib
import os
import stat

import sparse


def xattrs_of(path):
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}


def digest_of(path):
    """Digest of the data and where it lies, so a huge hole costs nothing."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 64 << 20:
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
        for offset, block in sparse.nonzero_blocks(file.fileno(), size):
            digest.update(offset.to_bytes(8, "little") + block)
    return digest.hexdigest()


def describe(path, st, times):
    facts = {"mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "xattrs": xattrs_of(path)}
    if not stat.S_ISDIR(st.st_mode):
        facts["nlink"] = st.st_nlink
        facts["size"] = st.st_size
    if times:
        facts["mtime"] = st.st_mtime_ns
    if stat.S_ISREG(st.st_mode):
        facts["data"] = digest_of(path)
    elif stat.S_ISLNK(st.st_mode):
        facts["target"] = os.readlink(path)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        facts["device"] = (os.major(st.st_rdev), os.minor(st.st_rdev))
    return facts


def snapshot(root, times=True, inodes=False):
    """{relative path: facts} of everything below ROOT and of ROOT itself.

    Files that are the same inode name the first path of the group as "same-as"."""
    root = os.fsencode(root)
    found, first = {}, {}

    def visit(path, name):
        st = os.lstat(path)
        facts = describe(path, st, times)
        if inodes:
            facts["ino"] = st.st_ino
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            facts["same-as"] = first.setdefault((st.st_dev, st.st_ino), name)
        found[name] = facts
        if stat.S_ISDIR(st.st_mode):
            for child in sorted(os.listdir(path)):
                visit(path + b"/" + child, name + b"/" + child if name else child)

    visit(root, b"")
    return found


def differences(left, right, limit=20):
    """Lines that say where two snapshots differ; none when they are equal."""
    lines = []
    for name in sorted(set(left) | set(right)):
        if left.get(name) == right.get(name):
            continue
        if name not in left or name not in right:
            lines.append(f"{name!r}: only in the {'second' if name in right else 'first'} tree")
            continue
        for key in left[name].keys() | right[name].keys():
            a, b = left[name].get(key), right[name].get(key)
            if a != b:
                lines.append(f"{name!r}: {key} is {a!r} and {b!r}")
    return lines[:limit] + ([f"… {len(lines) - limit} more"] if len(lines) > limit else [])


def assert_same(left, right):
    lines = differences(left, right)
    assert not lines, "trees differ:\n" + "\n".join(lines)
