# SPDX-License-Identifier: MIT
"""Mode, owner, times, size: set, seen at once, and still there after destage and remount."""

import fcntl
import mmap
import os
import stat
import time

import pytest

import env

pytestmark = pytest.mark.asan


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def later_tick():
    """Returns when stamps will differ from those of before."""
    before = time.clock_gettime_ns(5)
    env.until(lambda: time.clock_gettime_ns(5) > before, "the next tick of the clock")


def ticks(function):
    """Calls FUNCTION; (earliest, latest) time a filesystem may have stamped meanwhile."""
    start = time.clock_gettime_ns(5)    # CLOCK_REALTIME_COARSE: what is stamped with lags by a tick or more
    function()
    return start, now_ns()


@pytest.mark.parametrize("mode", [0o000, 0o644, 0o755, 0o1777, 0o2755, 0o4711, 0o6777, 0o7777])
@pytest.mark.parametrize("kind", ["file", "directory"])
def test_chmod(work, settle, kind, mode):
    path = work / "x"
    path.mkdir() if kind == "directory" else path.write_text("x")
    os.chmod(path, mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    settle()
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("owner", [(0, 0), (1, 2), (65534, 65534), (2**32 - 2, 2**32 - 2)])
def test_chown(work, settle, owner):
    (work / "f").write_text("x")
    os.symlink("f", work / "link")
    os.chown(work / "f", *owner)
    os.chown(work / "link", 7, 8, follow_symlinks=False)
    settle()
    st = os.stat(work / "f")
    assert (st.st_uid, st.st_gid) == owner
    st = os.lstat(work / "link")
    assert (st.st_uid, st.st_gid) == (7, 8)


def test_chown_of_one_half(work):
    (work / "f").write_text("x")
    os.chown(work / "f", 11, 22)
    os.chown(work / "f", 33, -1)
    assert (os.stat(work / "f").st_uid, os.stat(work / "f").st_gid) == (33, 22)
    os.chown(work / "f", -1, 44)
    assert (os.stat(work / "f").st_uid, os.stat(work / "f").st_gid) == (33, 44)


# ext4 has times from 1901 to 2446, foldfs (64 bits of nanoseconds) from 1677 to 2262.
TIMES = [0, 1, -1, 999_999_999, 1_234_567_890_123_456_789, -2_000_000_000 * 10**9 + 5,
         2**31 * 10**9 + 1, 2**32 * 10**9 + 123, 9_000_000_000 * 10**9 + 42]


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "fifo"])
def test_times_to_the_nanosecond(work, settle, kind):
    wanted = {}
    for number, when in enumerate(TIMES):
        path = work / str(number)
        {"file": lambda p: p.write_text("x"), "directory": os.mkdir, "fifo": os.mkfifo,
         "symlink": lambda p: os.symlink("t", p)}[kind](path)
        os.utime(path, ns=(when // 3, when), follow_symlinks=False)
        wanted[path] = (when // 3, when)
    for _ in range(2):
        found = {p: (os.lstat(p).st_atime_ns, os.lstat(p).st_mtime_ns) for p in wanted}
        assert found == wanted
        settle()


@pytest.mark.foldfs
def test_a_time_that_does_not_fit_becomes_the_last_that_does(work, shared_mount):
    path = work / "f"
    path.touch()
    os.utime(path, (15_000_000_000, 15_000_000_000))
    shared_mount.remount()
    assert path.stat().st_mtime_ns == 2**63 - 1


def test_times_survive_a_write_before_them(work, settle):
    """cp -p: write, then utimens through the open descriptor, then close."""
    with open(work / "f", "wb") as file:
        file.write(b"x" * 300000)
        file.flush()
        os.utime(file.fileno(), ns=(111, 222))
    settle()
    st = os.stat(work / "f")
    assert st.st_mtime_ns == 222 and st.st_size == 300000


def test_write_moves_mtime_and_ctime(work, settle):
    path = work / "f"
    path.write_bytes(b"x" * 5000)
    settle()
    os.utime(path, ns=(111, 222))
    fd = os.open(path, os.O_WRONLY)
    low, high = ticks(lambda: os.write(fd, b"y"))
    st = os.fstat(fd)
    assert low <= st.st_mtime_ns <= high and low <= st.st_ctime_ns <= high
    os.close(fd)
    after = os.stat(path)
    assert low <= after.st_mtime_ns <= now_ns()
    settle()
    assert os.stat(path).st_mtime_ns == after.st_mtime_ns
    assert os.stat(path).st_size == 5000


def test_reading_moves_nothing(work, settle):
    path = work / "f"
    path.write_bytes(b"x" * 5000)
    settle()
    before = os.stat(path)
    path.read_bytes()
    after = os.stat(path)
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_destage_and_remount_leave_times_alone(work, settle):
    (work / "d").mkdir()
    (work / "d" / "f").write_bytes(os.urandom(200000))
    os.symlink("f", work / "d" / "link")

    def times():
        return {p: (os.lstat(p).st_mtime_ns, os.lstat(p).st_ctime_ns)
                for p in (work / "d", work / "d" / "f", work / "d" / "link")}

    before = times()
    settle()
    assert times() == before


def grown(work, fd):
    os.ftruncate(fd, 1_000_000)
    os.pwrite(fd, b"x", 999_999)


def changed_between(work, fd):
    os.write(fd, b"x" * 5000)
    os.fchmod(fd, 0o600)
    os.write(fd, b"y" * 200_000)


def written_directly(work, fd):
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_DIRECT)
    os.pwritev(fd, [mmap.mmap(-1, 8192)], 4096)


def written_in_a_mapping(work, fd):
    os.ftruncate(fd, 50_000)
    with mmap.mmap(fd, 50_000) as view:
        view[4000:5000] = b"z" * 1000


def copied(work, fd):
    with open(work / "f", "rb") as source:
        os.copy_file_range(source.fileno(), fd, 300_000)


@pytest.mark.parametrize("write", [grown, changed_between, written_directly, written_in_a_mapping,
                                   copied])
def test_times_of_a_closed_file_stay(work, shared_mount, write):
    """What stat said once is what it says when the kernel has forgotten the inode."""
    (work / "f").write_bytes(os.urandom(300_000))
    before = {}
    for number in range(10):
        path = work / str(number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        write(work, fd)
        os.close(fd)
        before[path] = (path.stat().st_mtime_ns, path.stat().st_ctime_ns)
    if not shared_mount.reference:
        shared_mount.remount()
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ctime_ns) for p in before} == before


@pytest.mark.foldfs
@pytest.mark.parametrize("when", [-2_208_988_799_876_543_211, 2**62 + 1, -1, 0])
def test_times_beyond_the_backing_filesystems(work, shared_mount, when):
    """ext4 knows neither 1900 nor 2116 to the nanosecond where it holds them for us."""
    path = work / "f"
    with open(path, "w+b") as file:
        file.write(b"x" * 200_000)
        file.flush()
        os.utime(file.fileno(), ns=(when, when))
        assert os.fstat(file.fileno()).st_mtime_ns == when
    assert path.stat().st_mtime_ns == when
    if not shared_mount.reference:
        shared_mount.remount()
    assert path.stat().st_mtime_ns == when


CHANGES = {
    "create": lambda w: (w / "d" / "new").write_text("x"),
    "mkdir": lambda w: (w / "d" / "new").mkdir(),
    "symlink": lambda w: os.symlink("t", w / "d" / "new"),
    "mknod": lambda w: os.mkfifo(w / "d" / "new"),
    "link": lambda w: os.link(w / "f", w / "d" / "new"),
    "unlink": lambda w: os.unlink(w / "d" / "old"),
    "rename in": lambda w: os.rename(w / "f", w / "d" / "new"),
    "rename out": lambda w: os.rename(w / "d" / "old", w / "out"),
    "rename within": lambda w: os.rename(w / "d" / "old", w / "d" / "new"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_directory_times_follow_its_entries(work, change):
    (work / "d").mkdir()
    (work / "d" / "old").write_text("x")
    (work / "f").write_text("x")
    os.utime(work / "d", ns=(1, 1))
    low, high = ticks(lambda: CHANGES[change](work))
    st = os.stat(work / "d")
    assert low <= st.st_mtime_ns <= high and low <= st.st_ctime_ns <= high


INODE_CHANGES = {
    "chmod": lambda p: os.chmod(p, 0o700),
    "chown": lambda p: os.chown(p, 5, 5),
    "link": lambda p: os.link(p, p.parent / "second"),
    "rename": lambda p: os.rename(p, p.parent / "second") or os.rename(p.parent / "second", p),
    "setxattr": lambda p: os.setxattr(p, "user.a", b"1"),
    "utimens": lambda p: os.utime(p, ns=(3, 4)),
}


@pytest.mark.parametrize("change", INODE_CHANGES)
def test_ctime_follows_the_inode(work, change):
    path = work / "f"
    path.write_text("x")
    mtime = os.stat(path).st_mtime_ns
    later_tick()
    low, high = ticks(lambda: INODE_CHANGES[change](path))
    st = os.stat(path)
    assert low <= st.st_ctime_ns <= high
    assert st.st_mtime_ns == (4 if change == "utimens" else mtime)


def test_unlink_of_one_link_moves_ctime_of_the_other(work):
    (work / "a").write_text("x")
    os.link(work / "a", work / "b")
    later_tick()
    low, high = ticks(lambda: os.unlink(work / "a"))
    assert low <= os.stat(work / "b").st_ctime_ns <= high


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 200000])
def test_truncate_sets_size_and_mtime(work, settle, size):
    path = work / "f"
    path.write_bytes(b"x" * 100_000)
    settle()
    os.utime(path, ns=(1, 1))
    low, high = ticks(lambda: os.truncate(path, size))
    st = os.stat(path)
    assert st.st_size == size and low <= st.st_mtime_ns <= high
    settle()
    content = path.read_bytes()
    assert content == b"x" * min(size, 100_000) + bytes(max(0, size - 100_000))


def test_blocks_look_full_when_the_file_is_full(work, settle):
    """cp asks copy_file_range only of files that do not look sparse."""
    path = work / "f"
    path.write_bytes(os.urandom(1 << 20))
    settle()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    assert os.stat(path).st_blocks * 512 >= 1 << 20


def test_stat_of_the_open_file_and_of_its_path_agree(work, settle):
    path = work / "f"
    path.write_bytes(b"x" * 1000)
    settle()
    fd = os.open(path, os.O_RDWR)
    for size in (5000, 70000, 300000):
        os.pwrite(fd, b"y", size - 1)
        assert os.stat(path).st_size == os.fstat(fd).st_size == size
    os.close(fd)
    assert os.stat(path).st_size == 300000
