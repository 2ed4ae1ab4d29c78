# SPDX-License-Identifier: MIT
"""Holes: found, punched, zeroed, preallocated, and files far larger than any disk."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import env
from mapping import mapped
from pattern import Shadow, noise
from sparse import covers, data_ranges, touches
from syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE,
                      FALLOC_ZERO_RANGE, fallocate)

pytestmark = pytest.mark.asan

MIB, GIB, EIB = 1 << 20, 1 << 30, 1 << 60
NEAR, FAR = 8 << 40, 9 << 40       # where the daemon ceases to stage, though the backing could
PUNCH = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE


def ranges_of(path):
    with open(path, "rb") as file:
        return data_ranges(file.fileno())


def sparse_file(path, size, **pieces):
    """A file of SIZE with PIECES at{offset}=data, the rest holes."""
    with open(path, "wb") as file:
        file.truncate(size)
        for where, data in pieces.items():
            os.pwrite(file.fileno(), data, int(where[2:]))


def test_holes_read_as_zeros(work, settle):
    sparse_file(work / "f", 3 * MIB, at0=b"head", at1500000=b"middle", at3145724=b"tail")
    settle()
    shadow = Shadow()
    shadow.truncate(3 * MIB)
    for at, data in ((0, b"head"), (1500000, b"middle"), (3145724, b"tail")):
        shadow.write(at, data)
    assert (work / "f").read_bytes() == shadow.data


def test_seek_finds_data_and_holes(work, settle):
    sparse_file(work / "f", 8 * MIB, at1048576=noise(MIB), at5242880=noise(65536))
    settle()
    ranges = ranges_of(work / "f")
    assert covers(ranges, MIB, 2 * MIB) and covers(ranges, 5 * MIB, 5 * MIB + 65536)
    for start, end in ((0, MIB // 2), (3 * MIB, 4 * MIB), (6 * MIB, 8 * MIB)):
        assert not touches(ranges, start, end), f"{start}–{end} is a hole, not {ranges}"


def test_seek_sees_dirty_data(work, settle):
    """Data written over a destaged hole is data before it is synced."""
    sparse_file(work / "f", 8 * MIB, at0=noise(65536))
    settle()
    fd = os.open(work / "f", os.O_RDWR)
    os.pwrite(fd, noise(65536, 2), 4 * MIB)
    assert covers(data_ranges(fd), 4 * MIB, 4 * MIB + 65536)
    assert os.lseek(fd, MIB, os.SEEK_DATA) <= 4 * MIB
    os.pwrite(fd, b"x", 8 * MIB - 1)
    assert os.lseek(fd, 8 * MIB - 1, os.SEEK_DATA) == 8 * MIB - 1
    os.close(fd)
    assert covers(ranges_of(work / "f"), 4 * MIB, 4 * MIB + 65536)


def test_seek_sees_what_was_stored_in_a_mapping(work, settle):
    sparse_file(work / "f", 8 * MIB, at0=b"x")
    settle()
    with mapped(work / "f") as view:
        view.write(5 * MIB, b"stored")
        with open(work / "f", "r+b") as file:
            assert touches(data_ranges(file.fileno()), 5 * MIB, 5 * MIB + 6)
    assert touches(ranges_of(work / "f"), 5 * MIB, 5 * MIB + 6)


@pytest.mark.foldfs
def test_seek_leaves_data_in_the_page_cache(new_mount):
    """A file open for writing and cached: asking where its data is costs no second read of it."""
    mount = new_mount(mode="mediated")
    sparse_file(mount.dir / "f", 12 * MIB, at0=noise(4 * MIB), at6291456=noise(4 * MIB))
    mount.destage()
    mount.remount()
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        before = os.pread(file.fileno(), 12 * MIB, 0)
        read = mount.stats()["counters"]["read_bytes"]
        assert read >= 8 * MIB
        for _ in range(3):
            assert data_ranges(file.fileno()) == [(0, 4 * MIB), (6 * MIB, 10 * MIB)]
            assert os.lseek(file.fileno(), MIB, os.SEEK_DATA) == MIB
            assert os.lseek(file.fileno(), MIB, os.SEEK_HOLE) == 4 * MIB
            assert os.pread(file.fileno(), 4 * MIB, 0) == before[:4 * MIB]
            assert os.pread(file.fileno(), 4 * MIB, 6 * MIB) == before[6 * MIB:10 * MIB]
        assert mount.stats()["counters"]["read_bytes"] - read < MIB
        os.pwrite(file.fileno(), b"x", 5 * MIB)
        assert touches(data_ranges(file.fileno()), 5 * MIB, 5 * MIB + 1)
        os.ftruncate(file.fileno(), 16 * MIB)
        os.pwrite(file.fileno(), b"x", 14 * MIB)
        assert touches(data_ranges(file.fileno()), 14 * MIB, 14 * MIB + 1)


def test_seek_at_the_ends(work, settle):
    (work / "f").write_bytes(b"x" * 5000)
    (work / "empty").touch()
    settle()
    fd = os.open(work / "f", os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 4999, os.SEEK_DATA) == 4999
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 5000
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        for at in (5000, 5001):
            with pytest.raises(OSError) as caught:
                os.lseek(fd, at, whence)
            assert caught.value.errno == errno.ENXIO
    os.close(fd)
    assert ranges_of(work / "empty") == []


@pytest.mark.parametrize("start, length", [
    (0, 4096), (4096, 65536), (100, 50), (4000, 200), (5000, 300_000), (0, MIB), (MIB - 10, 100),
    (2 * MIB, 100), (0, 10 * MIB)])
def test_punch_hole(work, settle, start, length):
    shadow = Shadow(noise(MIB))
    path = work / "f"
    path.write_bytes(shadow.data)
    settle()
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, PUNCH, start, length)
    shadow.clear(start, length)
    assert os.pread(fd, 2 * MIB, 0) == shadow.data
    os.close(fd)
    settle()
    assert path.read_bytes() == shadow.data
    assert path.stat().st_size == MIB


@pytest.mark.parametrize("cut", ["zero", "punch", "shorten"])
def test_nothing_left_below_new_data(work, shared_mount, cut):
    """What a file had stored is cut away while newer bytes are not destaged yet: its size stays."""
    path, size = work / "f", 600_000
    sparse_file(path, size, at500000=noise(100_000))
    if not shared_mount.reference:
        shared_mount.destage()
    with open(path, "r+b", buffering=0) as file:
        file.write(noise(16384, 2))
        if cut == "zero":
            size = 1_500_000
            fallocate(file.fileno(), FALLOC_ZERO_RANGE, 450_000, size - 450_000)
        elif cut == "punch":
            fallocate(file.fileno(), PUNCH, 450_000, size - 450_000)
        else:
            size = 450_000
            file.truncate(size)
    shadow = Shadow(noise(16384, 2))
    shadow.truncate(size)
    if not shared_mount.reference:
        shared_mount.remount()
    fd = os.open(path, os.O_WRONLY)
    assert os.fstat(fd).st_size == size
    os.close(fd)
    assert path.read_bytes() == shadow.data


def fill_log(mount):
    """Until not even a small row finds room in it; no new room may be had."""
    for change in (lambda n: os.symlink("x" * 4000, mount.dir / f"{n}"),
                   lambda n: os.chmod(mount.dir, 0o755)):
        with pytest.raises(OSError) as caught:
            for number in range(100_000):
                change(number)
        assert caught.value.errno == errno.ENOSPC


@pytest.mark.foldfs
def test_a_staging_file_that_the_log_has_no_room_for(new_mount):
    """Data must not be trusted to a name that is not in the log."""
    mount = new_mount(destage_delay=600)
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.destage()
    mount.pool.environ["FOLDFS_FAULT"] = "wal_allocate:4+=ENOSPC"
    mount.expect_log("could not be committed: No space left")
    mount.remount()
    fill_log(mount)
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                os.pwrite(file.fileno(), b"over the map", MIB // 2)
            assert caught.value.errno == errno.ENOSPC
        assert not list((mount.pool.path / "staging").iterdir())
        assert file.read() == noise(MIB)


@pytest.mark.foldfs
def test_a_hole_that_the_log_has_no_room_for(new_mount):
    """It is refused, and nothing of the file is gone."""
    mount = new_mount(destage_delay=600)
    data = noise(MIB) + bytes(MIB) + b"over the map"
    (mount.dir / "f").write_bytes(data[:MIB])
    mount.destage()
    mount.pool.environ["FOLDFS_FAULT"] = "wal_allocate:4+=ENOSPC"
    mount.expect_log("could not be committed: No space left")
    mount.remount()
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), data[2 * MIB:], 2 * MIB)
        mount.sync()
        fill_log(mount)
        with pytest.raises(OSError) as caught:
            fallocate(file.fileno(), PUNCH, 0, MIB)
        assert caught.value.errno == errno.ENOSPC
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert (mount.dir / "f").read_bytes() == data


def test_punched_holes_are_holes(work, settle):
    (work / "f").write_bytes(noise(4 * MIB))
    settle()
    fd = os.open(work / "f", os.O_RDWR)
    fallocate(fd, PUNCH, MIB, 2 * MIB)
    ranges = data_ranges(fd)
    os.close(fd)
    for ranges in (ranges, settle() or ranges_of(work / "f")):
        assert not touches(ranges, MIB + 65536, 3 * MIB - 65536), ranges
        assert covers(ranges, 0, MIB) and covers(ranges, 3 * MIB, 4 * MIB), ranges


def test_punching_gives_blocks_back(work):
    (work / "f").write_bytes(noise(4 * MIB))
    fd = os.open(work / "f", os.O_RDWR)
    os.fsync(fd)
    before = os.fstat(fd).st_blocks
    fallocate(fd, PUNCH, 0, 3 * MIB)
    os.fsync(fd)
    assert before * 512 >= 4 * MIB and os.fstat(fd).st_blocks * 512 <= MIB + 65536
    os.close(fd)


@pytest.mark.parametrize("keep", [0, FALLOC_KEEP_SIZE], ids=["grow", "keep"])
@pytest.mark.parametrize("start, length", [
    (0, 4096), (100, 50), (5000, 300_000), (MIB - 10, 100), (2 * MIB, 5000), (0, 3 * MIB)])
def test_zero_range(work, settle, start, length, keep):
    shadow = Shadow(noise(MIB))
    path = work / "f"
    path.write_bytes(shadow.data)
    settle()
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, FALLOC_ZERO_RANGE | keep, start, length)
    shadow.clear(start, length)
    if not keep and start + length > MIB:
        shadow.truncate(start + length)
    assert os.fstat(fd).st_size == len(shadow.data)
    assert os.pread(fd, 4 * MIB, 0) == shadow.data
    os.close(fd)
    settle()
    assert path.read_bytes() == shadow.data


@pytest.mark.parametrize("keep", [0, FALLOC_KEEP_SIZE], ids=["grow", "keep"])
def test_preallocate(work, settle, keep):
    path = work / "f"
    path.write_bytes(b"head")
    settle()
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, keep, 2, MIB)
    size = 4 if keep else MIB + 2
    assert os.fstat(fd).st_size == size
    assert os.pread(fd, 2 * MIB, 0) == b"head" + bytes(size - 4)
    os.pwrite(fd, b"later", MIB)
    os.close(fd)
    settle()
    size = max(size, MIB + 5)
    assert path.read_bytes() == (b"head" + bytes(MIB - 4) + b"later" + bytes(size))[:size]


def test_kept_size_never_shows_old_bytes(work, settle):
    """Preallocated past the end, then grown: zeros, whatever lay there before."""
    path = work / "f"
    path.write_bytes(noise(200_000))
    settle()
    os.truncate(path, 1000)
    fd = os.open(path, os.O_RDWR)
    fallocate(fd, FALLOC_KEEP_SIZE, 0, 200_000)
    os.ftruncate(fd, 200_000)
    assert os.pread(fd, 200_000, 0) == noise(200_000)[:1000] + bytes(199_000)
    os.close(fd)
    settle()
    assert path.read_bytes() == noise(200_000)[:1000] + bytes(199_000)


def test_fallocate_errors(work):
    path = work / "f"
    path.write_bytes(b"x" * 100)
    os.mkfifo(work / "p")
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_RDWR)
    pipe = os.open(work / "p", os.O_RDWR)
    for code, args in [
            (errno.EBADF, (reader, 0, 0, 10)), (errno.EINVAL, (writer, 0, 0, 0)),
            (errno.EINVAL, (writer, 0, -1, 10)), (errno.EINVAL, (writer, 0, 0, -10)),
            (errno.EOPNOTSUPP, (writer, FALLOC_PUNCH_HOLE, 0, 10)),
            (errno.EFBIG, (writer, 0, (1 << 63) - 10, 100)), (errno.ESPIPE, (pipe, 0, 0, 10))]:
        with pytest.raises(OSError) as caught:
            fallocate(*args)
        assert caught.value.errno == code, f"fallocate{args}: {caught.value}"
    for fd in (reader, writer, pipe):
        os.close(fd)
    assert path.read_bytes() == b"x" * 100


@pytest.mark.foldfs
def test_collapse_is_refused_and_changes_nothing(work):
    (work / "f").write_bytes(noise(65536))
    fd = os.open(work / "f", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        fallocate(fd, FALLOC_COLLAPSE_RANGE, 0, 4096)
    assert caught.value.errno == errno.EOPNOTSUPP
    os.close(fd)
    assert (work / "f").read_bytes() == noise(65536)


def test_a_hundred_gigabytes(work, settle):
    size = 100 * GIB
    sparse_file(work / "f", size, at0=noise(100_000, 1), **{f"at{size - 100_000}": noise(100_000, 2)})
    settle()
    st = os.stat(work / "f")
    assert st.st_size == size and st.st_blocks * 512 < 10 * MIB
    with open(work / "f", "rb", buffering=0) as file:
        fd = file.fileno()
        assert os.pread(fd, 100_000, 0) == noise(100_000, 1)
        assert os.pread(fd, 200_000, size - 100_000) == noise(100_000, 2)
        assert os.pread(fd, 1 << 20, size // 2) == bytes(1 << 20)
        ranges = data_ranges(fd)
        assert covers(ranges, 0, 100_000) and covers(ranges, size - 100_000, size)
        assert sum(end - start for start, end in ranges) < 10 * MIB
    os.truncate(work / "f", 50)
    settle()
    assert (work / "f").read_bytes() == noise(100_000, 1)[:50]


@pytest.mark.foldfs
@pytest.mark.parametrize("at", [16 << 40, EIB, 4 * EIB, 8 * EIB - 5 - 1])
def test_exabytes(work, settle, shared_mount, at):
    """Data anywhere below 2^63, but for files open natively, which end where the backing's end."""
    path = work / "f"
    if shared_mount.mode == "native":
        with open(path, "wb", buffering=0) as file, pytest.raises(OSError) as caught:
            os.pwrite(file.fileno(), b"final", at)
        assert caught.value.errno == errno.EFBIG
        return
    with open(path, "wb", buffering=0) as file:
        file.write(b"start")
        assert os.pwrite(file.fileno(), b"final", at) == 5
    settle()
    assert os.stat(path).st_size == at + 5
    with open(path, "r+b", buffering=0) as file:
        fd = file.fileno()
        assert os.pread(fd, 5, 0) == b"start" and os.pread(fd, 5, at) == b"final"
        assert os.pread(fd, 4096, at // 2) == bytes(4096)
        assert os.lseek(fd, 1 << 20, os.SEEK_DATA) in range(at - (1 << 20), at + 1)
        os.pwrite(fd, b"inner", at // 2)
    settle()
    with open(path, "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 5, at // 2) == b"inner"
        assert os.pread(file.fileno(), 5, at) == b"final"


@pytest.mark.foldfs
def test_near_and_far_at_once(work, shared_mount):
    """The kernel may send both at the same time; neither must fail because of the other."""
    if shared_mount.mode == "native":
        return     # a natively open file ends where the backing's does

    def write(number):
        for attempt in range(400):
            with open(work / f"{number}", "wb", buffering=0) as file:
                file.write(b"start")
                os.pwrite(file.fileno(), b"final", EIB)
                os.fsync(file.fileno())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for path in work.iterdir():
        fd = os.open(path, os.O_RDONLY)
        assert (os.pread(fd, 5, 0), os.pread(fd, 5, EIB)) == (b"start", b"final")
        os.close(fd)


@pytest.mark.foldfs
def test_far_over_what_was_written_natively(new_mount):
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "w+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"A" * 8192, FAR)
    with open(os.open(mount.dir / "f", os.O_WRONLY), "wb", buffering=0) as file:
        os.pwrite(file.fileno(), b"B" * 4096, FAR)
    for _ in range(2):
        with open(mount.dir / "f", "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 9000, FAR) == b"B" * 4096 + b"A" * 4096
        mount.destage()


@pytest.mark.foldfs
def test_a_write_that_begins_near_and_ends_far(new_mount):
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "wb", buffering=0) as file:
        os.pwrite(file.fileno(), b"A" * 8192, NEAR - 8192)
        os.pwrite(file.fileno(), b"B" * 8192, NEAR - 4096)
    for _ in range(2):
        with open(mount.dir / "f", "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 13_000, NEAR - 8192) == b"A" * 4096 + b"B" * 8192
        mount.destage()


@pytest.mark.foldfs
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR], ids=["rdonly", "rdwr"])
def test_far_beside_who_has_it_open_natively(new_mount, flags):
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "wb", buffering=0) as writer:
        writer.write(noise(MIB))
        with open(os.open(mount.dir / "f", flags), "rb", buffering=0) as other:
            os.pwrite(writer.fileno(), b"B" * 4096, FAR)
            with pytest.raises(OSError) as caught:
                os.pwrite(writer.fileno(), b"C", EIB)
            assert caught.value.errno == errno.EFBIG
            assert os.pread(other.fileno(), 4096, FAR) == b"B" * 4096
    assert os.stat(mount.dir / "f").st_size == FAR + 4096
    mount.destage()
    with open(mount.dir / "f", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 9000, FAR) == b"B" * 4096
        assert file.read(MIB) == noise(MIB)


@pytest.mark.foldfs
def test_the_largest_size(work, settle):
    os.close(os.open(work / "f", os.O_CREAT | os.O_RDWR))
    os.truncate(work / "f", 8 * EIB - 1)
    settle()
    assert os.stat(work / "f").st_size == 8 * EIB - 1
    assert ranges_of(work / "f") == []
    os.truncate(work / "f", 3)
    settle()
    assert (work / "f").read_bytes() == bytes(3)


def test_cp_sparse_and_tar_keep_holes(work, settle):
    sparse_file(work / "f", 64 * MIB, at1048576=noise(5000))
    settle()
    env.run("cp", "--sparse=auto", work / "f", work / "copy")
    env.run("tar", "-C", work, "-S", "-cf", work / "a.tar", "f")
    (work / "out").mkdir()
    env.run("tar", "-C", work / "out", "-S", "-xf", work / "a.tar")
    settle()
    assert (work / "a.tar").stat().st_size < MIB
    for copy in (work / "copy", work / "out" / "f"):
        assert copy.stat().st_size == 64 * MIB and copy.stat().st_blocks * 512 < MIB
        assert copy.read_bytes() == (work / "f").read_bytes()
