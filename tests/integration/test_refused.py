# SPDX-License-Identifier: MIT
"""What was refused has not happened: no name is left of a file that could not be made, no bytes of a write
that failed half-way."""

import errno
import os
import resource
import stat

import pytest

import env
import syscalls
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20

MAKERS = {
    "create": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)),
    "create-native": lambda path: os.close(os.open(path, os.O_CREAT | os.O_RDWR)),
    "create-sync": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_SYNC)),
    "mkdir": os.mkdir,
    "fifo": lambda path: os.mknod(path, stat.S_IFIFO | 0o600),
    "symlink": lambda path: os.symlink("target", path),
    "tmpfile": lambda path: os.close(os.open(path.parent, syscalls.O_TMPFILE | os.O_RDWR)),
    "tmpfile-sync": lambda path: os.close(
        os.open(path.parent, syscalls.O_TMPFILE | os.O_RDWR | os.O_SYNC)),
}


def inodes(mount):
    found = os.statvfs(mount.dir)
    return found.f_files - found.f_ffree


def start_with_fault(mount, fault):
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = fault
    mount.start()
    del mount.pool.environ["FOLDFS_FAULT"]


def refused(make, path):
    with pytest.raises(OSError) as caught:
        make(path)
    assert caught.value.errno == errno.ENOMEM


def nothing_is_left(mount, names, make):
    """Not now, nor after a mount; nobody keeps the inode, and the name can be used."""
    assert sorted(os.listdir(mount.dir)) == names
    assert os.stat(mount.dir).st_nlink == 2
    env.until(lambda: inodes(mount) == 1 + len(names), "the inode is gone")
    make(mount.dir / "new")
    mount.remount()


@pytest.mark.parametrize("kind", MAKERS)
def test_no_memory_for_the_answer(mount, kind):
    start_with_fault(mount, "lookup_add:1=ENOMEM")
    refused(MAKERS[kind], mount.dir / "new")
    nothing_is_left(mount, [], MAKERS[kind])


@pytest.mark.parametrize("fault, kind", [
    ("open_file", "create"), ("open_file", "create-native"), ("open_file", "tmpfile"),
    ("open_sync", "create-sync"), ("open_sync", "tmpfile-sync")])
def test_file_that_cannot_be_opened(mount, fault, kind):
    """Made already, then its content cannot be prepared, or its path not made safe."""
    start_with_fault(mount, f"{fault}:1=ENOMEM")
    refused(MAKERS[kind], mount.dir / "new")
    nothing_is_left(mount, [], MAKERS[kind])


@pytest.mark.parametrize("nameless", [False, True], ids=["file", "tmpfile"])
def test_link_without_memory_for_the_answer(mount, nameless):
    start_with_fault(mount, "lookup_add:2=ENOMEM")
    if nameless:
        fd = os.open(mount.dir, syscalls.O_TMPFILE | os.O_RDWR)
    else:
        fd = os.open(mount.dir / "old", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"content")
    refused(lambda path: syscalls.link_fd(fd, path), mount.dir / "new")
    assert os.pread(fd, 100, 0) == b"content"
    os.close(fd)
    nothing_is_left(mount, [] if nameless else ["old"], MAKERS["create"])
    if not nameless:
        assert (mount.dir / "old").read_bytes() == b"content"


class Limited:
    """No file of the pool gets longer than LIMIT, so that a write is refused half-way, as by a quota."""

    def __init__(self, mount, limit):
        self.pid, self.limit = mount.pid, limit
        self.before = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)

    def __enter__(self):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (self.limit, self.before[1]))

    def __exit__(self, *exc):
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, self.before)


LIMIT = 24 * MIB + 100_000  # above the log's segments


def write_too_far(fd, at):
    """Returns how much went in: the kernel may have cut the call into several requests."""
    try:
        done = os.pwrite(fd, b"x" * MIB, at)
    except OSError as exc:
        assert exc.errno == errno.EFBIG
        return 0
    assert done < LIMIT - at, "nothing of the request that failed"
    return done


def grow(path, how, size):
    if how == "truncate":
        os.truncate(path, size)
    else:
        with open(path, "r+b") as file:
            file.seek(size - 1)
            file.write(b"\0")


@pytest.mark.parametrize("how", ["truncate", "write"])
@pytest.mark.parametrize("under", ["new", "mapped"])
def test_write_that_fails_half_way(new_mount, under, how):
    """The part that was written is beyond the end, and is not shown when the file gets longer."""
    mount = new_mount(destage_delay="1h")
    path = mount.dir / "file"
    content = noise(LIMIT - 50_000, 1)
    if under == "mapped":
        path.write_bytes(content)
        mount.destage()
    with open(path, "ab", buffering=0) as file:  # write-only: the daemon gets the requests at once
        if under == "new":
            file.write(content)
        with Limited(mount, LIMIT):
            content += b"x" * write_too_far(file.fileno(), len(content))
        assert path.stat().st_size == len(content)
        grow(path, how, len(content) + 2 * MIB)
        wanted = content + bytes(2 * MIB)
        assert path.read_bytes() == wanted
    mount.remount()
    assert path.read_bytes() == wanted


def test_write_that_fails_half_way_before_a_crash(new_mount):
    """The length of a staging file is the file's after a crash."""
    mount = new_mount(destage_delay="1h")
    path = mount.dir / "file"
    content = noise(LIMIT - 50_000, 1)
    with open(path, "wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())
        with Limited(mount, LIMIT):
            content += b"x" * write_too_far(file.fileno(), len(content))
        mount.kill()
    mount.start()
    assert path.read_bytes() == content
