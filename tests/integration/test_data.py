# SPDX-License-Identifier: MIT
"""Bytes written are the bytes read, however they were written and wherever they lie by now."""

import errno
import mmap
import os
import random
import threading

import pytest

import people
from pattern import Shadow, noise, text

pytestmark = pytest.mark.asan

KIB, MIB = 1 << 10, 1 << 20
SIZES = [0, 1, 511, 4095, 4096, 4097, 65536, 128 * KIB, 128 * KIB + 1, 262144 + 13, 3 * MIB + 5]


@pytest.mark.parametrize("make", [noise, text])
def test_every_size(work, settle, make):
    for size in SIZES:
        (work / str(size)).write_bytes(make(size, size))
    settle()
    for size in SIZES:
        assert (work / str(size)).stat().st_size == size
        assert (work / str(size)).read_bytes() == make(size, size), f"{size} bytes"


def test_reads_at_any_offset(work, settle):
    data = noise(2 * MIB + 777)
    (work / "f").write_bytes(data)
    settle()
    rng = random.Random(3)
    with open(work / "f", "rb", buffering=0) as file:
        for _ in range(300):
            at = rng.randrange(len(data) + 5000)
            length = rng.choice([1, 100, 4096, 10000, 300000])
            assert os.pread(file.fileno(), length, at) == data[at:at + length]


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY], ids=["rdwr", "wronly"])
def test_overwrites_at_random(work, settle, flags):
    """The overlay of new bytes over destaged ones, in pieces of every alignment."""
    shadow = Shadow(noise(MIB))
    path = work / "f"
    path.write_bytes(shadow.data)
    rng = random.Random(5)
    for round_number in range(3):
        settle()
        fd = os.open(path, flags)
        for number in range(60):
            at = rng.randrange(len(shadow.data) + 20000)
            piece = noise(rng.choice([1, 10, 4096, 5000, 70000]), round_number * 1000 + number)
            assert os.pwrite(fd, piece, at) == len(piece)
            shadow.write(at, piece)
        if flags == os.O_RDWR:
            assert os.pread(fd, len(shadow.data), 0) == shadow.data
        os.close(fd)
        assert path.read_bytes() == shadow.data, f"round {round_number}"
    settle()
    assert path.read_bytes() == shadow.data


def test_a_reader_sees_each_write_at_once(work, settle):
    path = work / "f"
    path.write_bytes(b"0" * 10000)
    settle()
    reader = os.open(path, os.O_RDONLY)
    writer = os.open(path, os.O_WRONLY)
    for number in range(50):
        piece = b"%05d" % number
        os.pwrite(writer, piece, number * 101)
        assert os.pread(reader, 5, number * 101) == piece
        assert people.in_child(lambda: os.pread(reader, 5, number * 101)) == piece
    os.pwrite(writer, b"end", 20000)
    assert os.pread(reader, 10, 20000) == b"end"
    os.close(reader)
    os.close(writer)


def test_append(work, settle):
    path = work / "f"
    path.write_bytes(b"start")
    settle()
    one = os.open(path, os.O_WRONLY | os.O_APPEND)
    two = os.open(path, os.O_WRONLY | os.O_APPEND)
    expected = b"start"
    for number in range(200):
        piece = b"<%d>" % number
        os.write(one if number % 3 else two, piece)
        expected += piece
    os.pwrite(one, b"(positioned)", 2)     # Linux appends even so
    expected += b"(positioned)"
    os.close(one)
    os.close(two)
    assert path.read_bytes() == expected


def test_appends_of_many_processes_lose_nothing(work):
    path = work / "log"
    path.touch()

    def write(who):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        for number in range(300):
            os.write(fd, b"%d %d %s\n" % (who, number, b"x" * (number % 90)))
        os.close(fd)

    pids = []
    for who in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                write(who)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    lines = path.read_bytes().splitlines()
    for who in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % who)]
        assert mine == [b"%d %d %s" % (who, n, b"x" * (n % 90)) for n in range(300)]
    assert len(lines) == 1200


@pytest.mark.parametrize("how", ["O_TRUNC", "truncate"])
def test_truncate_and_rewrite(work, settle, how):
    path = work / "f"
    path.write_bytes(noise(500_000, 1))
    settle()
    if how == "truncate":
        os.truncate(path, 0)
    path.write_bytes(noise(1000, 2))
    settle()
    assert path.read_bytes() == noise(1000, 2)
    with open(path, "r+b") as file:
        file.truncate(3000)
    settle()
    assert path.read_bytes() == noise(1000, 2) + bytes(2000), "old bytes must not come back"


def test_shrink_and_grow_shows_zeros(work, settle):
    path = work / "f"
    path.write_bytes(noise(300_000))
    settle()
    os.truncate(path, 100_001)
    settle()
    os.truncate(path, 300_000)
    settle()
    assert path.read_bytes() == noise(300_000)[:100_001] + bytes(199_999)


def aligned(data):
    """A page-aligned buffer with DATA, as O_DIRECT wants it."""
    buffer = mmap.mmap(-1, max(len(data), 4096))
    buffer.write(data)
    return buffer


def test_direct_io(work, settle):
    path = work / "f"
    shadow = Shadow(noise(MIB))
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    assert os.pwrite(fd, aligned(shadow.data), 0) == MIB
    os.close(fd)
    settle()
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    back = mmap.mmap(-1, MIB)
    assert os.preadv(fd, [back], 0) == MIB and back[:] == shadow.data
    for number in range(20):
        at = number * 12345 // 4096 * 4096
        piece = noise(8192, 100 + number)
        os.pwrite(fd, aligned(piece), at)
        shadow.write(at, piece)
    assert path.read_bytes() == shadow.data, "a buffered reader sees direct writes"
    with open(path, "r+b", buffering=0) as file:
        file.seek(40960)
        file.write(b"buffered")
    shadow.write(40960, b"buffered")
    assert os.preadv(fd, [back], 0) == MIB and back[:] == shadow.data
    os.close(fd)
    settle()
    assert path.read_bytes() == shadow.data


def test_vectored_io_and_sendfile(work, settle):
    path = work / "f"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    assert os.pwritev(fd, [b"one", noise(5000), b"three"], 7) == 5008
    assert os.pwritev(fd, [b"appended"], 0, os.RWF_APPEND) == 8
    os.close(fd)
    settle()
    expected = bytes(7) + b"one" + noise(5000) + b"three" + b"appended"
    fd = os.open(path, os.O_RDONLY)
    parts = [bytearray(10), bytearray(4000), bytearray(5000)]
    assert os.preadv(fd, parts, 0) == len(expected)
    assert b"".join(parts)[:len(expected)] == expected
    out = os.open(work / "copy", os.O_CREAT | os.O_WRONLY)
    assert os.sendfile(out, fd, 0, 1 << 20) == len(expected)
    os.close(out)
    os.close(fd)
    assert (work / "copy").read_bytes() == expected


def test_splice_through_a_pipe(work, settle):
    (work / "f").write_bytes(noise(50_000))
    settle()
    source = os.open(work / "f", os.O_RDONLY)
    target = os.open(work / "g", os.O_CREAT | os.O_WRONLY)
    reader, writer = os.pipe()
    moved = 0
    while moved < 50_000:
        got = os.splice(source, writer, 30_000)
        assert got > 0
        while got:
            put = os.splice(reader, target, got)
            got -= put
            moved += put
    for fd in (source, target, reader, writer):
        os.close(fd)
    settle()
    assert (work / "g").read_bytes() == noise(50_000)


def test_errors_of_descriptors(work):
    path = work / "f"
    path.write_bytes(b"data")
    reader = os.open(path, os.O_RDONLY)
    writer = os.open(path, os.O_WRONLY)
    for code, function, args in [
            (errno.EBADF, os.write, (reader, b"x")), (errno.EBADF, os.read, (writer, 1)),
            (errno.EINVAL, os.ftruncate, (reader, 0)), (errno.EINVAL, os.ftruncate, (writer, -1)),
            (errno.EINVAL, os.pread, (reader, 1, -1)), (errno.EINVAL, os.lseek, (reader, -1, 0))]:
        with pytest.raises(OSError) as caught:
            function(*args)
        assert caught.value.errno == code, f"{function.__name__}{args}: {caught.value}"
    assert os.read(reader, 10) == b"data" and os.read(reader, 10) == b""
    os.close(reader)
    os.close(writer)


def test_file_size_limit(work):
    """RLIMIT_FSIZE: a short write, then EFBIG; foldfs itself must not die of the signal."""
    import resource
    import signal

    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        fd = os.open(work / "f", os.O_CREAT | os.O_WRONLY)
        first = os.write(fd, b"x" * 20_000)
        try:
            os.write(fd, b"y")
        except OSError as exc:
            return first, exc.errno
        return first, 0

    assert people.in_child(child) == (10_000, errno.EFBIG)
    assert (work / "f").stat().st_size == 10_000


def test_threads_write_their_own_parts(work, settle):
    path = work / "f"
    path.write_bytes(bytes(8 * 200_000))
    settle()
    fd = os.open(path, os.O_RDWR)

    def fill(part):
        piece = noise(200_000, part)
        for at in range(0, 200_000, 1999):
            os.pwrite(fd, piece[at:at + 1999], part * 200_000 + at)

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    settle()
    assert path.read_bytes() == b"".join(noise(200_000, part) for part in range(8))


def test_many_small_files(work, settle):
    for number in range(200):
        (work / f"f{number}").write_bytes(text(number * 17, number))
    settle()
    for number in range(200):
        assert (work / f"f{number}").read_bytes() == text(number * 17, number)


def test_fsync_of_file_and_directory(work):
    fd = os.open(work / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * 10000)
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    here = os.open(work, os.O_RDONLY)
    os.fsync(here)
    os.close(here)
    assert (work / "f").stat().st_size == 10000


@pytest.mark.full
def test_a_gigabyte_stream(work, settle):
    """More than any cache in the way: written, destaged behind the writer, read back."""
    import hashlib
    block = noise(16 * MIB)
    wrote, read = hashlib.blake2b(), hashlib.blake2b()
    with open(work / "big", "wb", buffering=0) as file:
        for number in range(64):
            piece = number.to_bytes(8, "little") + block[8:]
            assert file.write(piece) == len(piece)
            wrote.update(piece)
    settle()
    with open(work / "big", "rb", buffering=0) as file:
        while piece := file.read(MIB):
            read.update(piece)
    assert read.digest() == wrote.digest()
    os.unlink(work / "big")
