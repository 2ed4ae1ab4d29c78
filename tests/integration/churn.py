# SPDX-License-Identifier: MIT
"""A tree in which everything changes at random, and readers who look at a copy of it meanwhile."""

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
import threading

from pattern import noise, text

KIB, MIB = 1 << 10, 1 << 20
FICLONE = 0x40049409
RENAME_EXCHANGE, PUNCH, KEEP_SIZE = 2, 2, 1
NAMES = [f"name{i}" for i in range(14)]
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 0xffffffff, 2, 4, 1234, 4, 4, 0xffffffff, 16, 4, 0xffffffff,
                  32, 4, 0xffffffff)
libc = ctypes.CDLL(None, use_errno=True)


class Churn:
    """What is refused (the name is taken, a directory is not empty) is as good a step as any."""

    def __init__(self, root, rng):
        self.root, self.rng, self.open = root, rng, []
        self.steps = [getattr(self, name) for name in dir(Churn) if name.startswith("do_")]

    def directory(self):
        path = self.root
        while self.rng.random() < 0.6:
            below = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
            if not below:
                break
            path = self.rng.choice(below)
        return path

    def path(self):
        return os.path.join(self.directory(), self.rng.choice(NAMES))

    def bytes(self):
        size = self.rng.choice([0, 1, 100, 3 * KIB, 70 * KIB, 300 * KIB, 1500 * KIB])
        return self.rng.choice([noise, text])(size + self.rng.randrange(50), self.rng.randrange(12))

    def at(self, size):
        return self.rng.randrange(size + 1) if self.rng.random() < 0.7 else size // 4096 * 4096

    def step(self, n=1):
        for _ in range(n):
            try:
                self.rng.choice(self.steps)()
            except OSError as exc:
                if exc.errno in (errno.EIO, errno.EUCLEAN, errno.ENOSPC, errno.EROFS):
                    raise

    def close(self):
        while self.open:
            os.close(self.open.pop())

    def do_write(self):
        with open(self.path(), "wb") as file:
            file.write(self.bytes())

    do_write_too = do_write

    def do_change(self):
        with open(self.path(), "r+b") as file:
            file.seek(self.at(os.fstat(file.fileno()).st_size))
            file.write(self.bytes())

    def do_append(self):
        with open(self.path(), "ab") as file:
            file.write(self.bytes())

    def do_truncate(self):
        path = self.path()
        os.truncate(path, self.at(min(2 * os.stat(path).st_size, 4 * MIB)))

    def do_punch(self):
        with open(self.path(), "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            libc.fallocate(file.fileno(), PUNCH | KEEP_SIZE, ctypes.c_long(self.at(size)),
                           ctypes.c_long(self.at(size) + 1))

    def do_database(self):
        if len(self.open) > 3:
            os.close(self.open.pop(self.rng.randrange(len(self.open))))
        self.open.append(os.open(self.path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW))

    def do_page(self):
        for file in self.open:
            os.pwrite(file, noise(4 * KIB, self.rng.randrange(99)), self.rng.randrange(64) * 4 * KIB)
        if self.open and self.rng.random() < 0.5:
            os.fsync(self.open[-1])

    do_more_pages = do_page

    def do_mkdir(self):
        os.mkdir(self.path())

    do_mkdir_too = do_mkdir

    def do_unlink(self):
        os.unlink(self.path())

    def do_rmtree(self):
        if self.rng.random() < 0.3:
            shutil.rmtree(self.path())

    def do_rename(self):
        os.rename(self.path(), self.path())

    def do_rename_directory(self):
        below = [entry.path for entry in os.scandir(self.directory()) if entry.is_dir(follow_symlinks=False)]
        if below:
            os.rename(self.rng.choice(below), self.path())

    def do_exchange(self):
        libc.renameat2(-100, os.fsencode(self.path()), -100, os.fsencode(self.path()), RENAME_EXCHANGE)

    def do_link(self):
        os.link(self.path(), self.path(), follow_symlinks=False)

    def do_symlink(self):
        os.symlink(self.rng.choice(NAMES), self.path())

    def do_xattr(self):
        name = f"user.a{self.rng.randrange(3)}"
        if self.rng.random() < 0.3:
            os.removexattr(self.path(), name)
        else:
            os.setxattr(self.path(), name, text(self.rng.choice([1, 200, 3000]), self.rng.randrange(9)))

    def do_acl(self):
        os.setxattr(self.path(), "system.posix_acl_access", ACL)

    def do_chmod(self):
        os.chmod(self.path(), self.rng.choice([0o600, 0o755, 0o4711, 0o640]))

    def do_chown(self):
        os.chown(self.path(), self.rng.randrange(3), self.rng.randrange(3), follow_symlinks=False)

    def do_utime(self):
        when = self.rng.randrange(1 << 60)
        os.utime(self.path(), ns=(when, when), follow_symlinks=False)

    def do_clone(self):
        with open(self.path(), "rb") as source, open(self.path(), "wb") as target:
            fcntl.ioctl(target, FICLONE, source.fileno())

    def do_copy(self):
        with open(self.path(), "rb") as source, open(self.path(), "r+b") as target:
            size = os.fstat(source.fileno()).st_size
            os.copy_file_range(source.fileno(), target.fileno(), size, self.at(size), self.at(size))

    def do_socket(self):
        os.mknod(self.path(), 0o644 | stat.S_IFSOCK)


class Readers:
    """Threads that walk about in ROOT. What vanishes is no error, and all else is."""

    GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP, errno.ENODATA, errno.ENXIO, errno.EISDIR}

    def __init__(self, root, rngs):
        self.root, self.wrong, self.rounds = root, [], 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.read, args=[rng]) for rng in rngs]

    @staticmethod
    def follow_link(path):
        try:
            os.readlink(path)
        except OSError as exc:
            if exc.errno != errno.EINVAL:   # it is none any more
                raise

    def visit(self, rng):
        path = os.fspath(self.root)
        while True:
            entries = list(os.scandir(path))
            if not entries:
                return
            entry = rng.choice(entries)
            st = os.lstat(entry.path)
            os.listxattr(entry.path, follow_symlinks=False)
            if stat.S_ISLNK(st.st_mode):
                self.follow_link(entry.path)
            if stat.S_ISREG(st.st_mode):
                file = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    for _ in range(3 if stat.S_ISREG(os.fstat(file).st_mode) else 0):
                        os.pread(file, rng.choice([100, 128 * KIB, MIB]), rng.randrange(st.st_size + 1))
                        os.lseek(file, 0, os.SEEK_HOLE)
                finally:
                    os.close(file)
            if not stat.S_ISDIR(st.st_mode):
                return
            path = entry.path

    def read(self, rng):
        while not self.stop.is_set():
            self.rounds += 1
            try:
                self.visit(rng)
            except OSError as exc:
                if exc.errno not in self.GONE:
                    self.wrong.append(exc)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
