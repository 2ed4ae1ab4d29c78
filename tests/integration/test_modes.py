# SPDX-License-Identifier: MIT
"""The two I/O modes: which one an open gets, what switches it, and that no switch loses a byte.

Native mode has marks of its own: a native file's staging copy is written while the daemon sleeps.
`is_native` looks for exactly that, at the staging file, so it does not take anybody's word for it.
"""

import contextlib
import errno
import mmap
import os
import signal
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import env
import people
import pools
from mapping import Mapping
from pattern import Shadow, noise
from syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, O_TMPFILE,
                      AsyncWriter, fallocate, link_fd)

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

SIZE = 400_000


@pytest.fixture
def native(new_mount):
    """A mount that must be able to pass I/O through, with destage out of the way."""
    return new_mount(mode="native", destage_delay=600)


def staging_files(mount):
    """What lies in staging; what is destaged meanwhile may be missing."""
    files = {}
    for path in (mount.pool.path / "staging").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                files[path] = path.read_bytes()
    return files


def is_native(mount, fd, timeout=60):
    """Whether bytes written through FD lie in a staging file with the daemon stopped. (Where they should
    not, nobody waits for long: they never would.)"""
    mark = os.urandom(16)
    os.pwrite(fd, mark[::-1], 0)     # the first write asks once whether there are capabilities to clear
    os.kill(mount.pid, signal.SIGSTOP)
    pid = os.fork()
    if pid == 0:
        os.pwrite(fd, mark, 0)
        os._exit(0)
    try:
        try:
            env.until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, "written", timeout)
            done = True
        except AssertionError:
            done = False
        return done and any(mark in data for data in staging_files(mount).values())
    finally:
        os.kill(mount.pid, signal.SIGCONT)
        if not done:
            os.waitpid(pid, 0)


def test_create_rdwr_is_native(native):
    with open(native.dir / "f", "w+b", buffering=0) as file:
        assert is_native(native, file.fileno())


def test_create_wronly_is_mediated_unless_native_is_wanted(new_mount):
    for mode in ("auto", "native"):
        mount = new_mount(mode=mode, destage_delay=600, name=mode)
        with open(mount.dir / "f", "wb", buffering=0) as file:
            if mode == "native":
                assert is_native(mount, file.fileno())
            else:
                assert not is_native(mount, file.fileno(), timeout=1 / env.SLOW)


def test_reopen_of_a_staged_file_is_native(native):
    with open(native.dir / "f", "w+b", buffering=0) as file:
        file.write(noise(SIZE))
    with open(native.dir / "f", "r+b", buffering=0) as file:
        assert is_native(native, file.fileno())


def test_mode_mediated_means_it(new_mount):
    mount = new_mount(mode="mediated", destage_delay=600)
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDWR):
        fd = os.open(mount.dir / "f", flags)
        assert not is_native(mount, fd, timeout=1 / env.SLOW)
        os.close(fd)


def test_destaged_file_opens_mediated_and_stays_right(native):
    (native.dir / "f").write_bytes(noise(SIZE))
    native.destage()
    shadow = Shadow(noise(SIZE))
    with open(native.dir / "f", "r+b", buffering=0) as file:
        file.seek(1000)
        file.write(b"overlay")
    shadow.write(1000, b"overlay")
    assert (native.dir / "f").read_bytes() == shadow.data


def test_without_the_capability_it_falls_back(new_mount):
    """mode=auto where the backing filesystem cannot be passed through to: mediated, and it works.

    A pool on overlayfs with a stack beneath it exceeds the stacking depth that passthrough allows."""
    mount = new_mount(mode="mediated")
    (mount.dir / "f").write_bytes(noise(SIZE))
    with open(mount.dir / "g", "w+b", buffering=0) as file:
        file.write(noise(SIZE, 2))
        assert os.pread(file.fileno(), SIZE, 0) == noise(SIZE, 2)
    mount.destage()
    assert (mount.dir / "f").read_bytes() == noise(SIZE)
    assert (mount.dir / "g").read_bytes() == noise(SIZE, 2)


def test_auto_on_a_stacked_backing_falls_back(home):
    """A pool inside another foldfs mount: whichever mode comes out, the bytes are right."""
    outer = pools.Mount(pools.Pool(mkdir(home / "outer"))).start()
    try:
        inner = pools.Mount(pools.Pool(mkdir(outer.dir / "inner")), mkdir(home / "mnt")).start()
        try:
            inner.dir.stat()
            stats = inner.stats()   # known before any file is opened
            assert bool(stats["modes"]["native_why_not"]) == (stats["mode"] == "mediated")
            assert outer.stats()["mode"] == "mediated" or stats["mode"] == "mediated"
            with open(inner.dir / "f", "w+b", buffering=0) as file:
                file.write(noise(SIZE))
            inner.destage()
            assert (inner.dir / "f").read_bytes() == noise(SIZE)
            inner.remount()
            assert (inner.dir / "f").read_bytes() == noise(SIZE)
        finally:
            inner.stop()
    finally:
        outer.stop()


def mkdir(path):
    path.mkdir()
    return path


# Every way to hold a file open: (name, flags). Pairs of them meet on one inode below.
HOLDS = [("reader", os.O_RDONLY), ("writer", os.O_WRONLY), ("both", os.O_RDWR),
         ("append", os.O_WRONLY | os.O_APPEND), ("sync", os.O_RDWR | os.O_SYNC),
         ("direct", os.O_RDWR | os.O_DIRECT)]


def birth(path, how):
    """Creates PATH with SIZE bytes, in the manner that fixes its first mode."""
    fd = os.open(path, os.O_CREAT | (os.O_RDWR if how == "rdwr" else os.O_WRONLY))
    os.write(fd, noise(SIZE))
    return fd


@pytest.mark.parametrize("how", ["rdwr", "wronly", "destaged"])
@pytest.mark.parametrize("second", HOLDS, ids=lambda hold: hold[0])
def test_a_second_open_beside_the_first(native, how, second):
    """Mixed opens on one inode never fail with EIO, and both see the same bytes."""
    path = native.dir / "f"
    first = birth(path, "wronly" if how == "destaged" else how)
    if how == "destaged":
        os.close(first)
        native.destage()
        first = os.open(path, os.O_RDWR)
    shadow = Shadow(noise(SIZE))
    other = os.open(path, second[1])
    os.pwrite(first, b"by the first", 5000)
    shadow.write(5000, b"by the first")
    if second[0] in ("writer", "both", "sync"):
        os.pwrite(other, b"by the second", 9000)
        shadow.write(9000, b"by the second")
    elif second[0] == "append":
        os.write(other, b"appended")
        shadow.write(SIZE, b"appended")
    if second[0] in ("reader", "both", "sync"):
        assert os.pread(other, 2 * SIZE, 0) == shadow.data
    assert path.read_bytes() == shadow.data
    os.close(first)
    third = os.open(path, os.O_RDWR)
    os.pwrite(third, b"by the third", 100)
    shadow.write(100, b"by the third")
    os.close(other)
    assert os.pread(third, 2 * SIZE, 0) == shadow.data
    os.close(third)
    native.destage()
    assert path.read_bytes() == shadow.data
    native.remount()
    assert path.read_bytes() == shadow.data


def test_a_direct_writer_beside_a_native_reader(native):
    """The writer's bytes pass the daemon and the reader's don't: what it says of the size is right."""
    path = native.dir / "f"
    writer = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(writer, noise(SIZE))
    reader = os.open(path, os.O_RDONLY)
    os.write(writer, b"more")
    os.posix_fallocate(writer, 0, SIZE + 5000)
    os.pwrite(writer, b"end", SIZE + 5000)
    os.fchmod(writer, 0o600)     # the kernel asks for the attributes again
    assert os.fstat(reader).st_size == SIZE + 5003
    assert os.pread(reader, 5003, SIZE) == b"more" + bytes(4996) + b"end"
    os.close(writer)
    os.close(reader)
    native.remount()
    assert path.read_bytes() == noise(SIZE) + b"more" + bytes(4996) + b"end"


def test_a_hole_at_the_end_stays_when_the_file_goes_native(native):
    """All of it is in the staging file: its length, too, when nothing was ever written there."""
    path = native.dir / "f"
    os.mknod(path)
    os.truncate(path, 1 << 20)
    native.destage()
    with open(path, "rb") as reader:        # keeps the writer from going native
        reader.read(1)
        with open(path, "r+b", buffering=0) as file:
            file.seek(5000)
            file.write(b"x")
    with open(path, "r+b", buffering=0) as file:
        assert os.fstat(file.fileno()).st_size == 1 << 20
    shadow = Shadow()
    shadow.write(5000, b"x")
    shadow.truncate(1 << 20)
    assert path.read_bytes() == shadow.data
    native.destage()
    assert path.read_bytes() == shadow.data


def test_unmounting_right_after_an_unlink(native):
    """Destage had been asked for what is gone by then: nothing is to be said or done about it."""
    for number in range(20):
        with open(native.dir / str(number), "w+b", buffering=0) as file:
            file.write(noise(200_000, number))
        os.unlink(native.dir / str(number))
    native.remount()
    assert os.listdir(native.dir) == [] and not staging_files(native)


def test_switching_back_and_forth(native):
    """native, destaged, overlaid, destaged, truncated and native again: cached pages never lie."""
    path = native.dir / "f"
    shadow = Shadow()
    for turn in range(6):
        with open(path, "r+b" if turn else "w+b", buffering=0) as file:
            for at in (0, 4096 * turn, 100_000 + 7 * turn):
                piece = noise(3000, 10 * turn + at % 7)
                os.pwrite(file.fileno(), piece, at)
                shadow.write(at, piece)
        assert path.read_bytes() == shadow.data
        if turn % 2:
            native.destage()
            assert path.read_bytes() == shadow.data
        if turn == 3:
            path.write_bytes(b"")
            shadow = Shadow()


def test_stale_pages_after_a_native_write_with_restored_mtime(native):
    """The one way that a kept page cache could lie: equal mtime, changed content."""
    path = native.dir / "f"
    with open(path, "w+b", buffering=0) as file:
        file.write(b"A" * SIZE)
        os.posix_fadvise(file.fileno(), 0, SIZE, os.POSIX_FADV_WILLNEED)
        os.utime(file.fileno(), ns=(1, 1))
        os.pwrite(file.fileno(), b"B" * SIZE, 0)
        os.utime(file.fileno(), ns=(1, 1))
    native.destage()
    assert path.read_bytes() == b"B" * SIZE
    with open(path, "r+b", buffering=0) as file:
        file.write(b"C" * 5000)
        os.utime(file.fileno(), ns=(1, 1))
    assert path.read_bytes() == b"C" * 5000 + b"B" * (SIZE - 5000)


@pytest.mark.parametrize("bit", [stat.S_ISUID, stat.S_ISGID | stat.S_IXGRP])
@pytest.mark.parametrize("state", ["staged", "destaged"])
def test_setuid_files_lose_the_bit_to_a_strangers_write(native, bit, state):
    path = native.dir / "f"
    with open(path, "w+b", buffering=0) as file:
        file.write(b"x" * SIZE)
    if state == "destaged":
        native.destage()
    os.chmod(path, 0o777 | bit)
    fd = people.as_user(people.ALICE, write_as_stranger, path)
    assert fd == 5
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777
    assert path.read_bytes() == b"alice" + b"x" * (SIZE - 5)


def write_as_stranger(path, at=0):
    fd = os.open(path, os.O_WRONLY)
    try:
        return os.pwrite(fd, b"alice", at)
    finally:
        os.close(fd)


def test_setuid_files_lose_the_bit_to_a_write_far_away(mount):
    """Where staging files end, a write takes another way."""
    (mount.dir / "f").write_bytes(b"x")
    os.chmod(mount.dir / "f", 0o4777)
    assert people.as_user(people.ALICE, write_as_stranger, mount.dir / "f", 1 << 50) == 5
    assert stat.S_IMODE(os.stat(mount.dir / "f").st_mode) == 0o777


def test_setuid_bit_set_while_a_native_writer_is_open(native):
    """The descriptor was opened native before the bit came: its next write still clears it."""
    path = native.dir / "f"
    path.touch()
    os.chmod(path, 0o666)

    def alice():
        fd = os.open(path, os.O_RDWR)
        os.write(fd, b"one")
        reader, writer = gate
        os.write(ready[1], b"x")
        os.read(reader, 1)
        os.write(fd, b"two")
        os.close(fd)
        return True

    gate, ready = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(12001, 12001, 12001)
            os.setresuid(12001, 12001, 12001)
            os._exit(0 if alice() else 1)
        finally:
            os._exit(2)
    os.close(ready[1])
    os.read(ready[0], 1)
    os.chmod(path, 0o4777)
    os.write(gate[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777
    assert path.read_bytes() == b"onetwo"


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC], ids=["O_SYNC", "O_DSYNC"])
@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR], ids=["wronly", "rdwr"])
def test_o_sync_survives_a_crash(new_mount, flag, access):
    mount = new_mount(destage_delay=600, wal_sync_interval=600)
    fd = os.open(mount.dir / "f", os.O_CREAT | access | flag)
    os.write(fd, noise(50_000))
    crash(mount, fd)
    assert (mount.dir / "f").read_bytes() == noise(50_000)


@pytest.mark.parametrize("mode", ["auto", "native", "mediated"])
@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR], ids=["wronly", "rdwr"])
@pytest.mark.parametrize("size", [3, 300_000])
def test_fsync_survives_a_crash(new_mount, mode, access, size):
    mount = new_mount(mode=mode, destage_delay=600, wal_sync_interval=600)
    fd = os.open(mount.dir / "f", os.O_CREAT | access)
    os.write(fd, noise(size))
    os.fsync(fd)
    crash(mount, fd)
    assert (mount.dir / "f").read_bytes() == noise(size)


def test_fsync_of_a_file_that_the_daemon_has_forgotten(new_mount):
    """So many others were used since that what it knows of the file is what the index says."""
    mount = new_mount(wal_sync_interval=600)
    (mount.dir / "old").write_bytes(noise(100))
    mount.destage()
    os.rename(mount.dir / "old", mount.dir / "new")
    for number in range(12_000):
        os.mkdir(mount.dir / f"{number}")
    fd = os.open(mount.dir / "new", os.O_RDONLY)
    os.fsync(fd)
    crash(mount, fd)
    assert (mount.dir / "new").read_bytes() == noise(100)
    assert not (mount.dir / "old").exists()


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_readers_see_what_was_written_asynchronously_past_the_page_cache(new_mount, mode):
    """The kernel does not look after pages that are read into its cache while such a write goes on."""
    mount = new_mount(mode=mode)
    path = mount.dir / "f"
    path.write_bytes(bytes(SIZE))
    stop = threading.Event()

    def read_on():
        with open(path, "rb", buffering=0) as file:
            while not stop.is_set():
                os.pread(file.fileno(), SIZE, 0)

    reader = threading.Thread(target=read_on)
    fd, writer = os.open(path, os.O_RDWR | os.O_DIRECT), AsyncWriter()
    data = mmap.mmap(-1, 64 << 10)   # aligned as O_DIRECT wants it
    reader.start()
    try:
        with open(path, "rb", buffering=0) as file:
            for turn in range(300):
                data[:] = bytes([turn % 255 + 1]) * len(data)
                assert writer.write(fd, data, 0) == len(data)
                assert os.pread(file.fileno(), len(data), 0) == data[:], turn
    finally:
        stop.set()
        reader.join()
        writer.close()
        os.close(fd)


@pytest.mark.parametrize("mode", ["native", "mediated", "auto"])
def test_the_first_read_after_a_write_moves_the_access_time(new_mount, mode):
    """As relatime has it, also where the page cache has the bytes already, or the kernel reads the staging
    file by itself; the second one does not. Nothing is destaged, which would count its next opening."""
    mount = new_mount(mode=mode, destage_delay=600)
    for n in range(60):
        path = mount.dir / f"f{n % 20}"
        path.write_bytes(b"written")
        written = os.stat(path)
        times = written.st_atime_ns, written.st_mtime_ns
        env.until(lambda: path.read_bytes() and os.stat(path).st_atime_ns > max(times),
                  "the access time is later than it was, and than the modification", timeout=60)
        first = os.stat(path)
        assert first.st_mtime_ns == written.st_mtime_ns
        path.read_bytes()
        assert os.stat(path).st_atime_ns == first.st_atime_ns


def crash(mount, fd):
    mount.kill()
    try:
        os.close(fd)
    except OSError as exc:
        assert exc.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)
    mount.start()


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_o_tmpfile_in_every_mode(new_mount, mode):
    mount = new_mount(mode=mode)
    fd = os.open(mount.dir, O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, noise(SIZE))
    assert os.pread(fd, SIZE, 0) == noise(SIZE)
    link_fd(fd, mount.dir / "named")
    os.pwrite(fd, b"after the link", 10)
    os.close(fd)
    shadow = Shadow(noise(SIZE))
    shadow.write(10, b"after the link")
    mount.destage()
    mount.remount()
    assert (mount.dir / "named").read_bytes() == shadow.data


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_o_tmpfile_that_is_closed_before_it_gets_a_name(new_mount, mode):
    """A descriptor with O_PATH keeps it; from the name on it is destaged as any other file."""
    mount = new_mount(mode=mode)
    fd = os.open(mount.dir, O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, noise(SIZE))
    place = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    os.close(fd)
    env.until(lambda: mount.stats()["requests"]["release"], "the daemon has been told")
    link_fd(place, mount.dir / "named")
    os.close(place)
    mount.destage()
    env.until(lambda: not staging_files(mount), "staging is empty")
    assert mount.stats()["destage"]["files"] == 1
    assert (mount.dir / "named").read_bytes() == noise(SIZE)


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_nameless_files_leave_nothing_behind(new_mount, mode):
    """O_TMPFILE never linked, and unlinked while open: no space is kept after the last close."""
    mount = new_mount(mode=mode)
    nameless = os.open(mount.dir, O_TMPFILE | os.O_RDWR, 0o640)
    unlinked = os.open(mount.dir / "f", os.O_CREAT | os.O_RDWR)
    for fd in (nameless, unlinked):
        os.write(fd, noise(4 << 20))
        os.fsync(fd)
    os.unlink(mount.dir / "f")
    os.close(nameless)
    os.close(unlinked)
    mount.destage()
    env.until(lambda: sum(map(len, staging_files(mount).values())) == 0, "staging is empty")
    assert mount.pool.stored_bytes() < 1 << 20
    mount.stop()
    mount.pool.fsck()
    mount.start()


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_unlinked_open_file_across_a_crash_is_gone(new_mount, mode):
    mount = new_mount(mode=mode)
    fd = os.open(mount.dir / "f", os.O_CREAT | os.O_RDWR)
    os.write(fd, noise(1 << 20))
    os.fsync(fd)
    os.unlink(mount.dir / "f")
    mount.sync()
    mount.kill()
    try:
        os.close(fd)
    except OSError:
        pass
    mount.start()
    assert os.listdir(mount.dir) == []
    env.until(lambda: not staging_files(mount), "the orphan's staging file is gone")


def test_small_files_need_no_staging_file(new_mount):
    """Up to small_file bytes stay in memory until close or the next tick: no native create."""
    mount = new_mount(destage_delay=600)
    for number in range(100):
        (mount.dir / str(number)).write_bytes(noise(1000, number))
    assert not staging_files(mount)
    mount.destage()
    assert all((mount.dir / str(n)).read_bytes() == noise(1000, n) for n in range(100))


def test_staging_limit_makes_writers_wait_not_fail(new_mount):
    mount = new_mount(staging_limit="8M", destage_delay=0.1)
    for number in range(8):
        (mount.dir / str(number)).write_bytes(noise(4 << 20, number))
    for number in range(8):
        assert (mount.dir / str(number)).read_bytes() == noise(4 << 20, number)
    env.until(lambda: sum(len(data) for data in staging_files(mount).values()) <= 8 << 20,
              "staging is within its limit")


def test_writers_do_not_wait_for_what_is_mapped(new_mount):
    """Staging is used up by files that cannot be destaged: it helps nobody to try them again and again."""
    mount = new_mount(staging_limit="8M", destage_delay=600)
    views = []
    for number in range(1500):
        with open(mount.dir / f"{number}", "w+b", buffering=0) as file:
            file.write(noise(8_000, number))
            views.append(Mapping(file.fileno(), 8_000))
    env.until(lambda: mount.stats()["staging_bytes"] > 8 << 20, "staging is used up")

    def write():
        with open(mount.dir / "f", "wb", buffering=0) as file:
            for number in range(100):
                file.write(noise(1 << 20, number))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    env.until(lambda: not writer.is_alive(), "everything is written")
    for view in views:
        view.close()


def test_more_writers_wait_for_destage_than_there_are_threads(new_mount):
    """Staging is used up by files that stay open, so they all wait for one in packs that was written to in
    many places; what is to be done for it must not queue up behind them."""
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "wb", buffering=0) as file:
        file.write(noise(20 << 20))
    mount.destage()
    mount.remount(staging_limit="8M")    # of which nothing is used yet, or else it would not wait for the others
    before = mount.stats()["destage"]["files"]
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        for place in range(100):
            os.pwrite(file.fileno(), b"x", place * 200_000)
    done = threading.Event()

    def write(number):
        fd = os.open(mount.dir / f"{number}", os.O_CREAT | os.O_WRONLY)
        try:
            while not done.is_set():
                os.pwrite(fd, bytes(1 << 20), 0)
        finally:
            os.close(fd)

    with ThreadPoolExecutor(100) as writers:
        try:
            found = [writers.submit(write, number) for number in range(100)]
            env.until(lambda: mount.stats()["destage"]["files"] > before, "it is in packs again")
        except AssertionError:
            mount.kill()     # or else the writers would wait for ever
            raise
        finally:
            done.set()
    for one in found:
        one.result()


def test_more_files_open_than_the_daemon_has_descriptors(home):
    """Native opens keep a descriptor each; they leave enough for other files and for packs."""
    env.need_tool("prlimit")
    pool = pools.Pool(home)
    pool.run = lambda name, *args, **more: env.run(
        "prlimit", "--nofile=240:240", env.binary(name), *args, env=pool.environ, **more)
    mount = pools.Mount(pool, mode="native", destage_delay=600).start()
    (mount.dir / "old").write_bytes(noise(SIZE))
    mount.destage()
    mount.remount()
    files = [open(mount.dir / str(n), "w+b", buffering=0) for n in range(400)]
    for number, file in enumerate(files):
        file.write(noise(1000, number))
    modes = mount.stats()["modes"]
    assert 0 < modes["opens_native"] <= 240 and modes["opens_cached"] >= 160
    assert (mount.dir / "old").read_bytes() == noise(SIZE)
    (mount.dir / "new").write_bytes(noise(SIZE, 2))
    for number, file in enumerate(files):
        assert os.pread(file.fileno(), 2000, 0) == noise(1000, number)
        file.close()
    mount.remount()
    assert all((mount.dir / str(n)).read_bytes() == noise(1000, n) for n in range(400))
    assert (mount.dir / "new").read_bytes() == noise(SIZE, 2)
    mount.stop()


def clone_hole(fd, at, size):
    """Lays a destaged hole over [AT, SIZE)."""
    hole = os.open(os.path.dirname(os.readlink(f"/proc/self/fd/{fd}")) + "/hole", os.O_RDONLY)
    while at < size:
        at += os.copy_file_range(hole, fd, size - at, at, at)
    os.close(hole)


EMPTIERS = {
    "punch": lambda fd, at, size: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, size - at),
    "zero": lambda fd, at, size: fallocate(fd, FALLOC_ZERO_RANGE, at, size - at),
    "clone": clone_hole,
}


@pytest.mark.parametrize("then", ["reopen", "crash"])
@pytest.mark.parametrize("how", sorted(EMPTIERS))
def test_a_staging_file_that_is_left_alone_is_as_long_as_the_file(native, how, then):
    """New bytes beside destaged ones, and the destaged ones made a hole: the staging file, which ends
    where the last byte was written, becomes all of the content, and the size stays."""
    size = 1 << 20
    with open(native.dir / "f", "wb") as file:
        file.seek(65536)
        file.write(noise(SIZE))
    with open(native.dir / "hole", "wb") as file:
        file.truncate(size)
    native.destage()
    shadow = Shadow()
    shadow.truncate(size)
    with open(native.dir / "f", "r+b", buffering=0) as file:
        fd = file.fileno()
        os.pwrite(fd, b"beside", 100)
        shadow.write(100, b"beside")
        os.ftruncate(fd, size)
        EMPTIERS[how](fd, 65536, size)
        os.fsync(fd)
        if then == "crash":
            native.kill()
            native.start()
    for _ in range(2):
        with open(native.dir / "f", "r+b", buffering=0) as file:
            assert os.fstat(file.fileno()).st_size == size
            assert file.read() == shadow.data
        native.destage()
        native.remount()


SECOND = 49 * 4096


def lay_over_map(mount):
    """A destaged file with two blocks written anew, and between them, in its staging file, space that
    the backing filesystem has allocated and nobody wrote: what a power cut leaves. Path, bytes."""
    file, data = mount.dir / "f", bytearray(noise(SIZE))
    file.write_bytes(data)
    mount.destage()
    fd = os.open(file, os.O_RDWR)
    for at in (0, SECOND):
        data[at:at + 4096] = noise(4096, at + 1)
        os.pwrite(fd, data[at:at + 4096], at)
    os.fsync(fd)
    os.close(fd)
    with open(only_staging_file(mount), "r+b") as staging:
        fallocate(staging.fileno(), FALLOC_KEEP_SIZE, 4096, SECOND - 4096)
        os.fsync(staging.fileno())
        os.posix_fadvise(staging.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if os.lseek(staging.fileno(), 4096, os.SEEK_DATA) != SECOND:
            pytest.skip("to the backing filesystem, allocated space is data")
    return file, bytes(data)


def only_staging_file(mount):
    """Once that of what has been destaged is gone, too."""
    staging = mount.pool.path / "staging"
    env.until(lambda: len(os.listdir(staging)) == 1, "there is one staging file")
    path, = staging.iterdir()
    return path


def test_a_staging_file_over_a_map_grows_with_its_file(new_mount):
    """Where it ended, a power cut could tear a later overwrite in the middle of a sector."""
    mount = new_mount(mode="mediated", destage_delay=600)
    file = mount.dir / "f"
    file.write_bytes(noise(SIZE))
    mount.destage()
    with open(file, "r+b", buffering=0) as opened:
        opened.write(b"beside")
        os.fsync(opened.fileno())
        os.ftruncate(opened.fileno(), SIZE + 1000)
        os.fsync(opened.fileno())
        assert only_staging_file(mount).stat().st_size == SIZE + 1000
    mount.kill()
    mount.start()
    assert file.read_bytes() == b"beside" + noise(SIZE)[6:] + bytes(1000)


def test_emptied_again_before_the_log_is_durable(new_mount):
    """The former content stays until the new one is whole, also while the log has it still to write.
    (Another descriptor of the staging file stands for a kernel that lets go of it late.)"""
    mount = new_mount(destage_delay=600, wal_sync_interval="60s")
    file = mount.dir / "f"
    file.write_bytes(noise(SIZE))
    mount.destage()
    fd = os.open(file, os.O_RDWR | os.O_TRUNC)
    os.write(fd, noise(SIZE, 2))
    other = os.open(only_staging_file(mount), os.O_RDWR)
    os.close(fd)
    env.until(lambda: mount.stats()["destage"]["waiting_files"] == 1, "released")
    os.close(other)
    fd = os.open(file, os.O_RDWR | os.O_TRUNC)
    os.write(fd, b"begun")
    assert set(staging_files(mount).values()) == {noise(SIZE, 2), b"begun"}
    os.close(fd)


def test_emptied_again_before_its_first_content_is_committed(new_mount):
    mount = new_mount(wal_sync_interval="200ms")
    file = mount.dir / "f"
    file.write_bytes(noise(60000))
    fd = os.open(file, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"begun")
    for number in range(3):  # ticks
        (mount.dir / f"other{number}").write_bytes(noise(1000, number))
        env.until(lambda n=number: mount.stats()["destage"]["files"] > n, "destaged")
    mount.kill()
    os.close(fd)
    mount.start()
    assert file.read_bytes() == noise(60000)


@pytest.mark.parametrize("size", [5000, SIZE])
def test_a_new_name_comes_with_its_content(new_mount, size):
    """Written under another name and renamed, nothing synced: the log has both or neither."""
    mount = new_mount(wal_sync_interval="60s", destage_delay=600)
    (mount.dir / "f.tmp").write_bytes(noise(size))
    os.rename(mount.dir / "f.tmp", mount.dir / "f")
    with open(mount.dir / "other", "wb") as other:
        os.fsync(other.fileno())
    mount.kill()
    mount.start()
    assert (mount.dir / "f").read_bytes() == noise(size)


def read_uncached(path):
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def test_unwritten_space_in_a_staging_file_hides_nothing(new_mount):
    """Readahead must not turn it into data."""
    mount = new_mount(mode="mediated", destage_delay=600)
    file, data = lay_over_map(mount)
    assert read_uncached(file) == data
    mount.destage()
    assert read_uncached(file) == data


def test_a_mount_gives_unwritten_space_back(new_mount):
    """After it, others may read the staging file as they like, as backup programs do."""
    mount = new_mount(mode="mediated", destage_delay=600)
    file, data = lay_over_map(mount)
    mount.kill()
    mount.start()
    only_staging_file(mount).read_bytes()
    assert file.read_bytes() == data
    mount.destage()
    assert read_uncached(file) == data


@pytest.mark.parametrize("wanted", [64, 2048])
def test_read_ahead_is_what_the_option_says(new_mount, wanted):
    """From the first file on that is opened: one keeps what it was opened with."""
    mount = new_mount(read_ahead_kb=wanted, mode="mediated")
    assert read_ahead_kb(mount.dir) == wanted


def read_ahead_kb(where):
    device = os.stat(where).st_dev
    with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb") as file:
        return int(file.read())


def test_read_ahead_of_a_mount_over_another_and_with_a_blank(home):
    first, second = home / "first", home / "second"
    first.mkdir()
    second.mkdir()
    (home / "mount point").mkdir()
    for pool, wanted in ((pools.Pool(first), 64), (pools.Pool(second), 256)):
        pool.run("mount.foldfs", pool.path, home / "mount point", "-o", f"read_ahead_kb={wanted}")
        assert read_ahead_kb(home / "mount point") == wanted
    env.run(env.binary("umount.foldfs"), home / "mount point")
    assert read_ahead_kb(home / "mount point") == 64
    env.run(env.binary("umount.foldfs"), home / "mount point")
