# SPDX-License-Identifier: MIT
"""Copies share what they copy, and stay independent afterwards."""

import errno
import os
import time

import pytest

import env
from pattern import Shadow, noise

MIB = 1 << 20
BIG = (1 << 31) - 1


def copy_range(source, target, count, src_at=0, dst_at=0):
    """copy_file_range until COUNT bytes or the source's end; the bytes copied."""
    done = 0
    while done < count:
        step = os.copy_file_range(source, target, min(count - done, BIG), src_at + done,
                                  dst_at + done)
        if step == 0:
            break
        done += step
    return done


def copy(source, target):
    with open(source, "rb") as src, open(target, "wb") as dst:
        assert copy_range(src.fileno(), dst.fileno(), BIG) == os.path.getsize(source)


@pytest.mark.asan
def test_a_copy_equals_its_source(work, settle):
    (work / "f").write_bytes(noise(3 * MIB + 100))
    settle()
    copy(work / "f", work / "g")
    assert (work / "g").read_bytes() == noise(3 * MIB + 100)
    settle()
    assert (work / "g").read_bytes() == (work / "f").read_bytes() == noise(3 * MIB + 100)


@pytest.mark.asan
@pytest.mark.parametrize("changed, other", [("f", "g"), ("g", "f")])
def test_changing_one_leaves_the_other(work, settle, changed, other):
    original = noise(2 * MIB)
    (work / "f").write_bytes(original)
    settle()
    copy(work / "f", work / "g")
    settle()
    shadow = Shadow(original)
    with open(work / changed, "r+b", buffering=0) as file:
        for at in (0, 12345, MIB - 1, 2 * MIB - 10):
            os.pwrite(file.fileno(), b"CHANGED!!!", at)
            shadow.write(at, b"CHANGED!!!")
    assert (work / other).read_bytes() == original
    settle()
    assert (work / changed).read_bytes() == shadow.data
    assert (work / other).read_bytes() == original
    os.unlink(work / changed)
    settle()
    assert (work / other).read_bytes() == original
    os.truncate(work / other, 1000)
    settle()
    assert (work / other).read_bytes() == original[:1000]


@pytest.mark.asan
@pytest.mark.parametrize("src_at, dst_at, count", [
    (0, 0, 4096), (4096, 8192, 65536), (100, 7, 300_000), (0, 5 * MIB, MIB), (1, 0, 3 * MIB),
    (2 * MIB - 5, 0, 100), (3 * MIB, 0, 10)])
def test_ranges_of_any_alignment(work, settle, src_at, dst_at, count):
    source, shadow = noise(2 * MIB, 1), Shadow(noise(MIB, 2))
    (work / "f").write_bytes(source)
    (work / "g").write_bytes(shadow.data)
    settle()
    piece = source[src_at:src_at + count]
    with open(work / "f", "rb") as src, open(work / "g", "r+b") as dst:
        assert copy_range(src.fileno(), dst.fileno(), count, src_at, dst_at) == len(piece)
        if piece:
            shadow.write(dst_at, piece)
        assert os.pread(dst.fileno(), 16 * MIB, 0) == shadow.data
    settle()
    assert (work / "g").read_bytes() == shadow.data
    assert (work / "f").read_bytes() == source


@pytest.mark.asan
def test_within_one_file(work, settle):
    shadow = Shadow(noise(MIB))
    (work / "f").write_bytes(shadow.data)
    settle()
    with open(work / "f", "r+b", buffering=0) as file:
        fd = file.fileno()
        assert copy_range(fd, fd, 300_000, 100_000, MIB + 50) == 300_000
        with pytest.raises(OSError) as caught:
            os.copy_file_range(fd, fd, 1000, 0, 500)
        assert caught.value.errno == errno.EINVAL
    shadow.write(MIB + 50, shadow.data[100_000:400_000])
    settle()
    assert (work / "f").read_bytes() == shadow.data


@pytest.mark.asan
def test_source_with_dirty_and_sparse_parts(work, settle):
    """What was written a moment ago over destaged bytes is copied too, and holes stay holes."""
    shadow = Shadow(noise(MIB))
    (work / "f").write_bytes(shadow.data)
    settle()
    with open(work / "f", "r+b", buffering=0) as file:
        for at, data in ((5000, b"dirty"), (16 * MIB, b"far away")):
            os.pwrite(file.fileno(), data, at)
            shadow.write(at, data)
        copy(work / "f", work / "g")
    settle()
    assert (work / "g").read_bytes() == shadow.data
    if settle.state != "staged":
        assert os.stat(work / "g").st_blocks * 512 < 4 * MIB


@pytest.mark.asan
@pytest.mark.foldfs
@pytest.mark.parametrize("count", [100, MIB])
def test_staged_bytes_to_an_offset_that_no_staging_file_has(work, shared_mount, settle, count):
    if shared_mount.mode == "native":
        return     # a natively open file ends where the backing's does
    (work / "f").write_bytes(noise(count))
    settle()
    with open(work / "f", "rb") as source, open(work / "g", "wb") as target:
        assert copy_range(source.fileno(), target.fileno(), count, 0, 1 << 60) == count
    settle()
    with open(work / "g", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), count + 1, 1 << 60) == noise(count)


def test_errors(work):
    (work / "f").write_bytes(b"x" * 100)
    reader, writer = os.open(work / "f", os.O_RDONLY), os.open(work / "g", os.O_CREAT | os.O_WRONLY)
    appender = os.open(work / "g", os.O_WRONLY | os.O_APPEND)
    for source, target, code in ((writer, writer, errno.EBADF), (reader, reader, errno.EBADF),
                                 (reader, appender, errno.EBADF)):
        with pytest.raises(OSError) as caught:
            os.copy_file_range(source, target, 10, 0, 0)
        assert caught.value.errno == code
    assert os.copy_file_range(reader, writer, 10, 100, 0) == 0
    for fd in (reader, writer, appender):
        os.close(fd)
    assert (work / "g").read_bytes() == b""


@pytest.mark.asan
def test_copy_from_and_to_another_filesystem(work, home):
    (home / "outside").write_bytes(noise(500_000))
    env.run("cp", home / "outside", work / "inside")
    env.run("cp", work / "inside", home / "back")
    assert (home / "back").read_bytes() == noise(500_000)


@pytest.mark.asan
@pytest.mark.foldfs
def test_a_copy_stores_nothing_new(new_mount):
    mount = new_mount()
    (mount.dir / "f").write_bytes(noise(32 * MIB))
    mount.destage()
    before = mount.pool.stored_bytes()
    env.run("cp", mount.dir / "f", mount.dir / "g")
    mount.destage()
    assert mount.pool.stored_bytes() - before < MIB // 4
    env.until(lambda: not os.listdir(mount.pool.path / "staging"), "nothing is staged")
    assert (mount.dir / "g").read_bytes() == noise(32 * MIB)


@pytest.mark.foldfs
@pytest.mark.full
def test_cp_of_ten_gigabytes_is_instant(new_mount):
    """A sparse-free 10 GiB file of repeated bytes: the copy moves counters, not data."""
    mount = new_mount()
    piece = noise(16 * MIB)
    with open(mount.dir / "f", "wb", buffering=0) as file:
        for _ in range(640):
            file.write(piece)
    mount.destage()
    stored = mount.pool.stored_bytes()
    started = time.monotonic()
    env.run("cp", mount.dir / "f", mount.dir / "g")
    took = time.monotonic() - started
    assert os.stat(mount.dir / "g").st_size == 640 * 16 * MIB
    assert mount.pool.stored_bytes() == stored
    with open(mount.dir / "g", "rb", buffering=0) as file:
        for number in (0, 300, 639):
            assert os.pread(file.fileno(), 16 * MIB, number * 16 * MIB) == piece
    assert took < 2 * env.SLOW, f"{took:.2f} s: that was no shared copy (bench/ has the real figure)"
