# SPDX-License-Identifier: MIT
"""The golden pools: where they lie, how they are packed and unpacked, what their files must be."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import env
import sparse
import trees

HERE = Path(__file__).resolve().parent
POOLS = HERE / "pools"
CURRENT = ("empty", "files", "killed", "packs", "fine", "films")
FORMER = ("killed_1",)  # of a format that is read, and no longer written
NAMES = CURRENT + FORMER

# What a mount needs to show a golden pool as it is, and to leave it so.
MOUNT_OPTIONS = "noatime,destage_delay=1h,gc_interval=0,dump_interval=30d,log_level=warning"


def need_tools():
    env.need_fuse()
    env.need_tool("tar", "xz")


def pack(pool, name):
    """Holes and nanoseconds stay: a staging file's say something."""
    env.run("tar", "--create", "--sparse", "--format=posix", "--sort=name", "--numeric-owner",
            "--exclude=pool/control", "--exclude=pool/foldfs.log", "--exclude=lock.mdb",
            "--pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f.x",
            f"--file={POOLS / name}.tar", "-C", pool.parent, "pool")
    env.run("xz", "-9e", "--force", f"{POOLS / name}.tar")


def unpack(name, place):
    """Returns the pool's path, a directory `pool` in PLACE."""
    place.mkdir(parents=True, exist_ok=True)
    env.run("tar", "--extract", "--numeric-owner", f"--file={POOLS / name}.tar.xz", "-C", place)
    return place / "pool"


def copy(pool, place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    env.run("cp", "--archive", "--sparse=always", pool, place)
    return place / pool.name


def plain(value):
    """As JSON has it: bytes as text, tuples as lists."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def describe(path):
    """What there is to know of an object; of a damaged one, the error that says so."""
    st = None
    try:
        st = os.lstat(path)
        return describe_whole(path, st)
    except OSError as exc:
        if exc.errno not in (errno.EIO, errno.EUCLEAN):
            raise
        about = {"mode": oct(st.st_mode), "size": st.st_size} if st else {}
        return {**about, "error": exc.strerror}


def describe_whole(path, st):
    facts = trees.describe(path, st, True)
    facts["xattrs"] = {name: value.hex() for name, value in facts["xattrs"].items()}
    facts["ctime"] = st.st_ctime_ns
    facts["ino"] = st.st_ino
    if stat.S_ISDIR(st.st_mode):
        facts["nlink"] = st.st_nlink
        facts["order"] = os.listdir(path)   # by cookie, which programs may remember
    elif stat.S_ISREG(st.st_mode) and st.st_size > 1 << 20:
        fd = os.open(path, os.O_RDONLY)
        facts["data-ranges"] = len(sparse.data_ranges(fd))
        os.close(fd)
    return facts


def manifest(root):
    """{path: facts} of everything below ROOT, by JSON's means: contents as digests."""
    root, found = os.fsencode(root), {}

    def visit(path, name):
        facts = found[plain(name or b".")] = plain(describe(path))
        if "order" in facts:
            for child in sorted(os.listdir(path)):
                visit(path + b"/" + child, name + b"/" + child if name else child)

    visit(root, b"")
    return found


def expected(name):
    return json.loads((POOLS / f"{name}.json").read_text())


def write_manifest(name, found):
    rows = (f"{json.dumps(path)}: {json.dumps(found[path], sort_keys=True)}"
            for path in sorted(found))
    (POOLS / f"{name}.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def differences(wanted, found):
    """A line for each object that is not as it was, with what of it is not."""
    lines = []
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found or path not in wanted:
            lines.append(f"{path} is {'new' if path in found else 'missing'}")
        elif wanted[path] != found[path]:
            was, now = wanted[path], found[path]
            if "error" in now and "error" not in was:
                lines.append(f"{path} cannot be read: {now['error']}")
                continue
            keys = (key for key in was.keys() | now.keys() if was.get(key) != now.get(key))
            lines.append(f"{path} has other {', '.join(sorted(keys))}")
    return lines
