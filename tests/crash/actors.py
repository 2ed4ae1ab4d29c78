# SPDX-License-Identifier: MIT
"""Actors: what is done to a mount while it is being recorded. Each has a directory of its own, is
driven step by step (so that several take turns in one thread, in an order that the seed decides),
and writes down every operation before and after it happens, in its history and as a mark.
"""

import contextlib
import ctypes
import errno
import os
import random
import sqlite3
import subprocess
import time
from pathlib import Path

import env

from history import History, Op, Violation, apply_names


LIBC = ctypes.CDLL(None, use_errno=True)
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2


class File:
    """An open file of an actor."""

    def __init__(self, actor, number, fd):
        self.actor, self.number, self.fd = actor, number, fd
        self.length = os.fstat(fd).st_size
        actor.handles.add(self)

    def write(self, data, at=None):
        at = self.length if at is None else at
        self.actor.do(Op("write", self.number, at=at, data=data), lambda: self.write_all(data, at))
        self.length = max(self.length, at + len(data))

    def write_all(self, data, at):
        while data:
            n = os.pwrite(self.fd, data, at)
            data, at = data[n:], at + n
            self.actor.shortened = self.actor.shortened or bool(data)

    def truncate(self, size):
        self.actor.do(Op("truncate", self.number, at=size), lambda: os.ftruncate(self.fd, size))
        self.length = size

    def punch(self, at, length):
        """Makes a hole: like writing zeros."""
        def run():
            mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
            if LIBC.fallocate(self.fd, mode, ctypes.c_long(at), ctypes.c_long(length)):
                raise OSError(ctypes.get_errno(), "fallocate")

        self.actor.do(Op("write", self.number, at=at, data=bytes(length)), run)

    def copy_from(self, source):
        """The whole of another open file, to our beginning: the same chunks, if it is destaged."""
        data = read_all(source.fd)
        self.actor.do(Op("write", self.number, data=data), lambda: copy_all(source.fd, self.fd, len(data)))
        self.length = max(self.length, len(data))

    def fsync(self, how=os.fsync):
        self.actor.do(Op("fsync", self.number, files=self.actor.names(self.number)),
                      lambda: how(self.fd))

    def close(self):
        self.actor.do(Op("close", self.number), self.let_go)

    def let_go(self):
        self.actor.handles.discard(self)
        os.close(self.fd)


def copy_all(source, target, length):
    at = 0
    while at < length:
        at += os.copy_file_range(source, target, length - at, at, at)


class Actor:
    """Base of all; a subclass gives steps(), a generator that yields where others may go on."""

    reads_only = True       # check() does
    tolerant = False        # the first error ends the work: what failed had begun, and no more is known
    refusal = None
    shortened = False       # a write took less than it was given
    retried = False         # an fsync that failed succeeded the second time

    def __init__(self, name, mark, seed):
        self.name = name
        self.mark = mark
        self.random = random.Random(f"{seed} {name}")
        self.history = History(name)
        self.tree = {}
        self.files = 0
        self.handles = set()
        self.stamp = 0
        self.round = 0
        self.root = None

    def start(self, mount, steps):
        """Begins a round, as there is one per mount; the caller runs the generator returned."""
        if self.refusal:
            return
        self.root = Path(mount) / self.name
        self.round += 1
        try:
            self.root.mkdir(exist_ok=True)
            yield from self.steps(steps)
        except (OSError, sqlite3.Error) as exc:
            if not self.tolerant:
                raise
            self.refusal = exc.with_traceback(None)  # which would hold on to open files
            self.retry()
        for file in list(self.handles):
            with contextlib.suppress(OSError):
                file.let_go()

    def retry(self):
        """An fsync that has failed must go on failing."""
        last = self.history.ops[-1] if self.history.ops else None
        file = next((f for f in self.handles if last and last.kind == "fsync" and f.number == last.file), None)
        if file:
            with contextlib.suppress(OSError):
                os.fsync(file.fd)
                self.retried = True

    # ---- operations

    def do(self, op, action):
        number = len(self.history.ops)
        self.history.ops.append(op)
        self.mark(f"{self.name} b {number}")
        result = action()
        self.mark(f"{self.name} d {number}")
        return result

    def name_op(self, op, action):
        result = self.do(op, action)
        self.tree = apply_names(self.tree, op)
        return result

    def names(self, file):
        return tuple(path for path, what in self.tree.items() if what == ("f", file))

    def path(self, name):
        return os.path.join(self.root, name)

    def create(self, name, flags=os.O_WRONLY):
        self.files += 1
        file = self.files
        fd = self.name_op(Op("create", file, (name,)),
                          lambda: os.open(self.path(name), flags | os.O_CREAT | os.O_EXCL, 0o644))
        return File(self, file, fd)

    def nameless(self, directory="."):
        self.files += 1
        fd = self.name_op(Op("tmpfile", self.files),
                          lambda: os.open(self.path(directory), os.O_TMPFILE | os.O_RDWR, 0o644))
        return File(self, self.files, fd)

    def open(self, name, flags=os.O_WRONLY):
        return File(self, self.tree[name][1], os.open(self.path(name), flags))

    def open_anew(self, name, flags=os.O_WRONLY):
        """With O_TRUNC."""
        file = self.tree[name][1]
        kind = "empty" if os.stat(self.path(name)).st_size else "touch"
        fd = self.do(Op(kind, file), lambda: os.open(self.path(name), flags | os.O_TRUNC))
        return File(self, file, fd)

    def mkdir(self, name):
        self.name_op(Op("mkdir", paths=(name,)), lambda: os.mkdir(self.path(name)))

    def rmdir(self, name):
        self.name_op(Op("rmdir", paths=(name,)), lambda: os.rmdir(self.path(name)))

    def unlink(self, name):
        self.name_op(Op("unlink", paths=(name,)), lambda: os.unlink(self.path(name)))

    def symlink(self, target, name):
        self.name_op(Op("symlink", paths=(name,), data=target.encode()),
                     lambda: os.symlink(target, self.path(name)))

    def link(self, old, new):
        self.name_op(Op("link", self.tree[old][1], (old, new)),
                     lambda: os.link(self.path(old), self.path(new)))

    def link_nameless(self, file, new):
        self.name_op(Op("link", file.number, ("", new)),
                     lambda: os.link(f"/proc/self/fd/{file.fd}", self.path(new), src_dir_fd=0))

    def rename(self, old, new):
        kind, file = self.tree[old]
        replaced = (new,) if kind == "f" and new in self.tree else ()
        self.name_op(Op("rename", file if kind == "f" else -1, (old, new), files=replaced),
                     lambda: os.rename(self.path(old), self.path(new)))

    def fsyncdir(self, name="."):
        def run():
            fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

        prefix = "" if name == "." else name + "/"
        inside = tuple(path for path in self.tree
                       if path.startswith(prefix) and "/" not in path[len(prefix):])
        gone = tuple(path for op in self.history.ops for path in op.paths
                     if path.startswith(prefix) and "/" not in path[len(prefix):])
        self.do(Op("fsyncdir", files=inside + gone + ((name,) if prefix else ())), run)

    def sync_begins(self):
        """Something that makes everything durable has begun: an unmount, a sync."""
        self.mark(f"{self.name} b {len(self.history.ops)}")
        self.history.ops.append(Op("sync"))

    def sync_ends(self, worked=True):
        """One that failed is over too, but nothing may be relied on."""
        if not worked:
            self.history.ops[-1].kind = "failed sync"
        self.mark(f"{self.name} d {len(self.history.ops) - 1}")

    # ---- test data: every sector says whose it is

    def bytes(self, length, tag=None):
        if tag is None:
            self.stamp += 1
            tag = f"{self.name}#{self.stamp}"
        return pattern(tag, length)

    @staticmethod
    def wait(seconds):
        """Time for destage."""
        time.sleep(seconds)

    def chance(self, share):
        return self.random.random() < share

    # ---- afterwards

    def look(self, mount):
        """What there is, in the form that History.check wants."""
        found, root = {}, os.path.join(mount, self.name)
        for directory, dirs, names in os.walk(root):
            for name in dirs + names:
                path = os.path.join(directory, name)
                rel = os.path.relpath(path, root)
                if os.path.islink(path):
                    found[rel] = ("l", os.readlink(path), None)
                elif os.path.isdir(path):
                    found[rel] = ("d", None, None)
                else:
                    fd = os.open(path, os.O_RDONLY)
                    st = os.fstat(fd)
                    found[rel] = ("f", st.st_ino, read_all(fd))
                    os.close(fd)
                    if st.st_size != len(found[rel][2]):
                        raise Violation(f"{path}: stat says {st.st_size} bytes, "
                                        f"reading gives {len(found[rel][2])}")
        return found

    def check(self, mount, done, begun, least=0):
        if not os.path.isdir(os.path.join(mount, self.name)):
            if self.history.least(done) > 0:
                raise Violation(f"{self.name}: its directory is missing")
            return
        self.history.check(self.look(mount), done, begun, least)


def read_all(fd):
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def pattern(tag, length):
    """Bytes that compress badly enough and tell tag and offset in every sector."""
    seed = random.Random(tag)
    filler = seed.randbytes(448)
    sectors = []
    for at in range(0, length, 512):
        head = f"<{tag} @{at}>".encode().ljust(64, b".")
        sectors.append(head[:64] + filler)
    return b"".join(sectors)[:length]


class SmallFiles(Actor):
    """Many small files, a third of them with bytes that others have too; some synced."""

    def steps(self, n):
        for i in range(n):
            name, directory = f"f{self.round}.{i}", f"d{self.round}.{i // 10}"
            if i % 10 == 0:
                self.mkdir(directory)
            if self.chance(0.5):
                name = f"{directory}/{name}"
            length = self.random.choice([0, 1, 100, 512, 4000, 4096, 9000, 40000])
            tag = self.random.choice(["twin-a", "twin-b"]) if self.chance(0.35) else None
            file = self.create(name, self.random.choice([os.O_WRONLY, os.O_RDWR]))
            yield
            data = self.bytes(length, tag)
            for part in (data[:length // 2], data[length // 2:]):
                if part:
                    file.write(part)
                    yield
            if self.chance(0.3):
                file.fsync(self.random.choice([os.fsync, os.fdatasync]))
                yield
            file.close()
            yield
            if self.chance(0.15):
                self.unlink(self.random.choice([p for p, w in self.tree.items() if w[0] == "f"]))
                yield


class RenameStorm(Actor):
    """Replaces files by rename, with and without an fsync before."""

    def steps(self, n):
        for i in range(n):
            length = self.random.choice([10, 3000, 20000, 140000, 300000])
            file = self.create(f"temp{self.round}.{i}", self.random.choice([os.O_WRONLY, os.O_RDWR]))
            data = self.bytes(length)
            for at in range(0, length, 100000):
                file.write(data[at:at + 100000])
                yield
            if self.chance(0.3):
                file.fsync()
                yield
            early = self.chance(0.8)
            if early:
                file.close()
                yield
            self.rename(f"temp{self.round}.{i}", self.random.choice("abc"))
            if not early:
                yield
                file.close()
            yield


class Writers(Actor):
    """Files that grow side by side; some are synced now and then, others never."""

    def steps(self, n):
        files = [(self.create if self.round == 1 else self.open)(
            f"w{i}", os.O_RDWR if i % 2 else os.O_WRONLY) for i in range(5)]
        for _ in range(n):
            i = self.random.randrange(5)
            if files[i].length < 1000000:
                files[i].write(self.bytes(self.random.choice([700, 4096, 30000, 65536])))
            else:
                files[i].truncate(self.random.choice([0, 5000, 500000]))
            yield
            if i < 2 and self.chance(0.5):
                files[i].fsync()
                yield
            if self.chance(0.1):
                files[i].close()
                files[i] = self.open(f"w{i}", os.O_RDWR if self.chance(0.5) else os.O_WRONLY)
                yield
        for file in files:
            file.close()


class Overwriter(Actor):
    """Random overwrites of whole sectors, through every mode, with fsync and reopening."""

    def steps(self, n):
        for name, flags in (("native", os.O_RDWR), ("mediated", os.O_WRONLY), ("small", os.O_WRONLY)):
            if self.round > 1:
                break
            file = self.create(name, flags)
            file.write(self.bytes(20480 if name == "small" else 400000))
            file.fsync()
            file.close()
            yield
        for _ in range(n):
            name = self.random.choice(["native", "mediated", "small"])
            file = self.open(name, os.O_RDWR if name == "native" else os.O_WRONLY)
            for _ in range(self.random.randrange(1, 4)):
                at = self.random.randrange(0, file.length, 512)
                length = 512 * self.random.choice([1, 3, 8, 40])
                file.write(self.bytes(min(length, file.length - at)), at)
                yield
            if self.chance(0.1):
                file.truncate(file.length - 512 * self.random.randrange(1, 8))
            if self.chance(0.1):
                file.truncate(file.length + 512 * self.random.randrange(1, 8))
            if self.chance(0.5):
                file.fsync(self.random.choice([os.fsync, os.fdatasync]))
                yield
            file.close()
            yield


class Rewriter(Actor):
    """Empties files and writes them anew, as many editors and shells do."""

    def steps(self, n):
        for i in range(n):
            name = f"r{self.random.randrange(3)}"
            if name in self.tree:
                file = self.open_anew(name, self.random.choice([os.O_WRONLY, os.O_RDWR]))
            else:
                file = self.create(name, self.random.choice([os.O_WRONLY, os.O_RDWR]))
            yield
            data = self.bytes(self.random.choice([50, 5000, 60000, 200000]))
            for at in range(0, len(data), 50000):
                file.write(data[at:at + 50000])
                yield
            if self.chance(0.25):
                file.fsync()
                yield
            file.close()
            yield


class Namer(Actor):
    """Directories, links, nameless files, renames of everything; directories are synced."""

    def steps(self, n):
        for i in range(n):
            self.step(i)
            yield
            if self.chance(0.2):
                self.fsyncdir(self.random.choice(["."] + self.of_kind("d")))
                yield

    def of_kind(self, kind):
        return [path for path, what in self.tree.items() if what[0] == kind]

    def place(self, i):
        directory = self.random.choice([""] + [path + "/" for path in self.of_kind("d")])
        return f"{directory}n{self.round}.{i}"

    def step(self, i):
        files, dirs = self.of_kind("f"), self.of_kind("d")
        what = self.random.choice(["mkdir", "create", "create", "link", "unlink", "rename", "rename",
                                   "renamedir", "rmdir", "symlink", "tmpfile", "fsync"])
        if what == "mkdir" and len(dirs) < 6:
            self.mkdir(self.place(i))
        elif what == "create":
            file = self.create(self.place(i))
            file.write(self.bytes(self.random.choice([10, 600, 5000])))
            file.close()
        elif what == "link" and files:
            self.link(self.random.choice(files), self.place(i))
        elif what == "unlink" and files:
            self.unlink(self.random.choice(files))
        elif what == "rename" and files:
            self.rename_file(files, i)
        elif what == "renamedir" and dirs:
            old = self.random.choice(dirs)
            new = self.place(i)
            if not (new + "/").startswith(old + "/"):
                self.rename(old, new)
        elif what == "rmdir":
            empty = [d for d in dirs if not any(p.startswith(d + "/") for p in self.tree)]
            if empty:
                self.rmdir(self.random.choice(empty))
        elif what == "symlink":
            self.symlink(f"to {i}", self.place(i))
        elif what == "tmpfile":
            file = self.nameless()
            file.write(self.bytes(self.random.choice([10, 5000, 150000])))
            self.link_nameless(file, self.place(i))
            file.close()
        elif what == "fsync" and files:
            file = self.open(self.random.choice(files), os.O_RDONLY)
            file.fsync()
            file.let_go()

    def rename_file(self, files, i):
        old = self.random.choice(files)
        new = self.random.choice(files) if self.chance(0.4) else self.place(i)
        if self.tree[old] != self.tree.get(new):  # two names of one file: nothing would happen
            self.rename(old, new)


class Database(Actor):
    """SQLite with synchronous=FULL: committed transactions are there, and it is sound."""

    journal, synchronous = "delete", "extra"  # full leaves the removal of the journal unsynced
    reads_only = False      # an interrupted transaction is rolled back

    def steps(self, n):
        with contextlib.closing(self.connect(self.root)) as connection:
            yield from self.transactions(connection, n)

    def transactions(self, connection, n):
        connection.execute(f"pragma journal_mode={self.journal}")
        connection.execute(f"pragma synchronous={self.synchronous}")
        connection.execute("create table if not exists t (id integer primary key, v blob)")
        yield
        for _ in range(n):
            length = self.random.choice([20, 900, 5000])
            i = len([op for op in self.history.ops if op.kind == "row"]) + 1

            def commit(i=i, length=length):
                with connection:
                    connection.execute("begin")
                    connection.execute("insert into t values (?, ?)", (i, pattern(f"row{i}", length)))
                    connection.execute("delete from t where id = ?", (i - 20,))
                if self.journal == "delete":
                    self.assert_served()

            self.do(Op("row", at=length), commit)
            yield

    def assert_served(self):
        """A commit removes the journal, opens the directory and syncs it. SQLite takes an open that fails
        for one that the system cannot do, and reports success. So a commit whose daemon is dead when
        it returns may have been synced or not: it counts as begun. While the directory can be
        opened, SQLite could open it before, and reports a sync that failed."""
        os.close(os.open(self.root, os.O_RDONLY | os.O_DIRECTORY))

    @staticmethod
    def connect(root):
        return sqlite3.connect(os.path.join(root, "base.sqlite"), isolation_level=None)

    def check(self, mount, done, begun, least=0):
        root = os.path.join(mount, self.name)
        rows = [op.at for op in self.history.ops]
        count_done = sum(op.kind == "row" for op in self.history.ops[:done])
        count_begun = sum(op.kind == "row" for op in self.history.ops[:begun])
        rows = [op.at for op in self.history.ops if op.kind == "row"]
        if count_done == 0 and not os.path.exists(os.path.join(root, "base.sqlite")):
            return
        connection = self.connect(root)
        try:
            if (sound := connection.execute("pragma integrity_check").fetchone()[0]) != "ok":
                raise Violation(f"{self.name}: integrity check: {sound}")
            if not connection.execute("select 1 from sqlite_master where name = 't'").fetchone():
                found = []
            else:
                found = connection.execute("select id, v from t order by id").fetchall()
        except sqlite3.DatabaseError as exc:
            raise Violation(f"{self.name}: {exc}") from exc
        finally:
            connection.close()
        last = found[-1][0] if found else 0
        if not count_done <= last <= count_begun:
            raise Violation(f"{self.name}: the last row is {last}, committed were {count_done}")
        want = [(i, pattern(f"row{i}", rows[i - 1])) for i in range(max(1, last - 19), last + 1)]
        if found != want:
            raise Violation(f"{self.name}: {len(found)} rows, not those that were committed")


class WalDatabase(Database):
    journal, synchronous = "wal", "full"


class Cloner(Actor):
    """Copies within the filesystem, which share chunks, then overwrites and removals."""

    def steps(self, n):
        for i in range(n):
            whole = self.tree.get("origin")
            if not whole or self.chance(0.2):
                if whole:
                    self.unlink("origin")
                file = self.create("origin", self.random.choice([os.O_WRONLY, os.O_RDWR]))
                file.write(self.bytes(self.random.choice([3000, 150000, 700000])))
                file.close()
                self.wait(0.3)  # destaged, or not yet
                yield
            source = self.open("origin", os.O_RDONLY)
            name = f"copy{self.round}.{i}"
            file = self.create(name)
            file.copy_from(source)
            source.let_go()
            yield
            if self.chance(0.4):
                file.write(self.bytes(1536), self.random.randrange(0, file.length, 512))
            if self.chance(0.3):
                file.fsync()
                yield
            file.close()
            copies = [path for path in self.tree if path.startswith("copy")]
            if len(copies) > 4:
                self.unlink(self.random.choice(copies))
            yield


def apart(command):
    """Runs it, and returns when it has none of our files open any more, as it has from fork to exec: a
    file that is open natively elsewhere is emptied in place."""
    begun = subprocess.Popen(["sh", "-c", 'echo && exec "$@" >/dev/null 2>&1', "sh", *command],
                             stdout=subprocess.PIPE)
    begun.stdout.readline()
    begun.stdout.close()
    return begun


class Collected(Actor):
    """Deletes most of what has been destaged, while garbage is collected and others go on."""

    def steps(self, n):
        running = []
        for i in range(n // 4 + 1):
            names = [f"g{self.round}.{i}.{j}" for j in range(5)]
            for j, name in enumerate(names):
                file = self.create(name)
                file.write(self.bytes(self.random.choice([20000, 140000, 300000]),
                                      "twin-c" if j == 3 else None))
                file.close()
                yield
            self.wait(0.3)  # for destage
            kept = self.random.choice(names)
            for name in names:
                if name != kept:
                    self.unlink(name)
            running.append(apart([env.binary("foldfs"), "gc", self.root.parent]))
            yield
        for command in running:
            command.wait(60 * env.SLOW)


class Glutton(Actor):
    """Fills the disk to the last block, deletes, and fills it again. What fails has not happened:
    the file in question is given up."""

    refused = 0

    def steps(self, n):
        i = 0
        while self.refused < n * self.round:
            i += 1
            try:
                self.fill(f"full{self.round}.{i}")
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
                self.refused += 1
                yield
                for path in self.random.sample(list(self.tree), (len(self.tree) + 1) // 2):
                    self.unlink(path)
            yield

    def fill(self, name):
        file = self.create(name, self.random.choice([os.O_WRONLY, os.O_RDWR]))
        try:
            length = self.random.choice([5000, 2000000, 8000000, 12000000])
            data = self.bytes(length)
            for at in range(0, length, 500000):
                file.write(data[at:at + 500000])
            if self.chance(0.5):
                file.fsync()
        except OSError:
            file.let_go()
            self.unlink(name)
            raise
        file.close()

    def do(self, op, action):
        """What fails is over too, but without effect that may be relied on."""
        try:
            return super().do(op, action)
        except OSError:
            op.kind = "failed" if op.kind != "write" else op.kind
            self.mark(f"{self.name} d {len(self.history.ops) - 1}")
            raise


KINDS = {kind.__name__.lower(): kind for kind in (
    SmallFiles, RenameStorm, Writers, Overwriter, Rewriter, Namer, Database, WalDatabase, Cloner,
    Collected)}

GENERAL = tuple(KINDS)  # these get on with each other; the rest is for tests of their own
KINDS["glutton"] = Glutton
