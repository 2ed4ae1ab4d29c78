# SPDX-License-Identifier: MIT
"""What was refused has not happened: no name is left of a file that could not be made."""

import errno
import os
import stat

import pytest

import env
import syscalls

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

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
