# SPDX-License-Identifier: MIT
"""File handles, as an NFS server keeps them: valid across a remount, stale after removal."""

import errno
import os

import pytest

from pattern import noise
from syscalls import file_handle, open_handle

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]


def test_a_handle_opens_its_file(mount):
    (mount.dir / "d").mkdir()
    (mount.dir / "d" / "f").write_bytes(noise(10_000))
    _, handle = file_handle(mount.dir / "d" / "f")
    fd = open_handle(mount.dir, handle, os.O_RDWR)
    assert os.read(fd, 20_000) == noise(10_000)
    os.pwrite(fd, b"by handle", 0)
    os.close(fd)
    assert (mount.dir / "d" / "f").read_bytes()[:9] == b"by handle"


def test_handles_survive_a_remount(mount):
    (mount.dir / "a" / "b").mkdir(parents=True)
    (mount.dir / "a" / "b" / "f").write_bytes(noise(10_000))
    handles = {p: file_handle(p)[1] for p in (mount.dir / "a" / "b" / "f", mount.dir / "a" / "b")}
    mount.destage()
    mount.remount()
    fd = open_handle(mount.dir, handles[mount.dir / "a" / "b" / "f"], os.O_RDONLY)
    assert os.read(fd, 20_000) == noise(10_000)
    os.close(fd)
    fd = open_handle(mount.dir, handles[mount.dir / "a" / "b"], os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == ["f"]
    assert os.readlink(f"/proc/self/fd/{fd}") == str(mount.dir / "a" / "b"), "parents are found"
    os.close(fd)
    assert file_handle(mount.dir / "a" / "b" / "f")[1] == handles[mount.dir / "a" / "b" / "f"]


def test_handles_survive_rename(mount):
    (mount.dir / "f").write_bytes(b"content")
    _, handle = file_handle(mount.dir / "f")
    (mount.dir / "d").mkdir()
    os.rename(mount.dir / "f", mount.dir / "d" / "g")
    mount.remount()
    fd = open_handle(mount.dir, handle, os.O_RDONLY)
    assert os.read(fd, 100) == b"content"
    os.close(fd)


@pytest.mark.parametrize("remounted", [False, True])
def test_a_removed_file_is_stale(mount, remounted):
    """Also when new files follow: a generation tells an inode number's owners apart."""
    (mount.dir / "f").write_bytes(b"secret of the old file")
    _, handle = file_handle(mount.dir / "f")
    os.unlink(mount.dir / "f")
    if remounted:
        mount.remount()
    for number in range(50):
        (mount.dir / str(number)).write_bytes(b"new")
    with pytest.raises(OSError) as caught:
        os.close(open_handle(mount.dir, handle, os.O_RDONLY))
    assert caught.value.errno == errno.ESTALE


def test_an_invented_handle_is_refused(mount):
    (mount.dir / "f").write_bytes(b"x")
    _, handle = file_handle(mount.dir / "f")
    for position in range(8, len(handle)):
        invented = handle[:position] + bytes([handle[position] ^ 0x5a]) + handle[position + 1:]
        try:
            fd = open_handle(mount.dir, invented, os.O_RDONLY)
        except OSError as exc:
            assert exc.errno in (errno.ESTALE, errno.ENOENT, errno.EINVAL)
        else:
            assert os.fstat(fd).st_ino != 0
            os.close(fd)
    assert (mount.dir / "f").read_bytes() == b"x"
