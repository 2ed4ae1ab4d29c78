# SPDX-License-Identifier: MIT
"""Requests over io_uring instead of /dev/fuse: the same filesystem, also for what has to wait.

The kernel offers it when a switch of its module says so, which belongs to the whole machine: it is set
while these tests run, and put back by the last process that runs them."""

import errno
import fcntl
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import env
import pools
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20
SWITCH = Path("/sys/module/fuse/parameters/enable_uring")
USERS = Path("/run/foldfs-test-transport")


@pytest.fixture(scope="module", autouse=True)
def offered():
    env.need_root()
    if not SWITCH.exists():
        pytest.skip("the kernel's FUSE is older than io_uring (Linux 6.14)")
    with open(USERS, "a+", encoding="ascii") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            users.truncate(0)
            users.write(SWITCH.read_text())
            users.flush()
        except BlockingIOError:
            pass
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            SWITCH.write_text("Y")
        except OSError as exc:
            pytest.skip(f"{SWITCH} cannot be set: {exc.strerror}")
        yield
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            users.seek(0)
            SWITCH.write_text(users.read().strip() or "N")
        except BlockingIOError:
            pass


@pytest.fixture
def ring(new_mount):
    """Function that mounts a pool so."""

    def make(**options):
        mount = new_mount(**{"transport": "io_uring", **options})
        assert transport(mount) == "io_uring"
        return mount

    return make


def transport(mount):
    return mount.stats()["modes"]["transport"]


def in_parallel(work, items, threads=16):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_files_of_all_lengths_from_many_threads(ring, mode):
    mount = ring(mode=mode)
    lengths = [0, 1, 4096, 8191, 100_000, MIB - 1, MIB, 3 * MIB + 5]

    def write(number):
        path = mount.dir / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise(lengths[number % len(lengths)], number))
        if number % 3 == 0:
            path.rename(path.with_name(f"renamed{number}"))

    def check(number):
        name = f"renamed{number}" if number % 3 == 0 else f"f{number}"
        path = mount.dir / f"d{number % 7}" / name
        assert path.read_bytes() == noise(lengths[number % len(lengths)], number)
        return path

    in_parallel(write, range(120))
    assert sorted(in_parallel(check, range(120))) == sorted(p for p in mount.dir.rglob("*") if p.is_file())
    mount.destage()
    mount.remount()
    assert transport(mount) == "io_uring"
    in_parallel(check, range(120))
    env.run("rm", "-r", *mount.dir.iterdir())
    assert not list(mount.dir.iterdir())


def test_names_and_attributes_as_long_as_there_are(ring):
    """What is copied before it is handled, and what is not."""
    mount = ring()
    path = mount.dir / ("n" * 255)
    path.write_bytes(b"x")
    os.symlink("t" * 4095, mount.dir / "link")
    assert os.readlink(mount.dir / "link") == "t" * 4095
    for length in [0, 1, 4000, 8000, 8192, 9000, 65536]:
        os.setxattr(path, "user.long", noise(length, length))
        assert os.getxattr(path, "user.long") == noise(length, length)
    with pytest.raises(OSError) as refused:
        os.mkdir(mount.dir / ("n" * 256))
    assert refused.value.errno == errno.ENAMETOOLONG


def test_what_another_thread_answers(ring):
    """fsync and reads of packs wait, beside everything else, and more of them than a queue has entries."""
    mount = ring(mode="mediated", cache_size=0, wal_sync_interval="20ms")
    data = {mount.dir / f"cold{n}": noise(2 * MIB, n) for n in range(8)}
    for path, content in data.items():
        path.write_bytes(content)
    mount.destage()
    mount.stop()
    for pack in (mount.pool.path / "packs").rglob("*.pack"):
        with open(pack, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    mount.start()

    def read(number):
        path = list(data)[number % len(data)]
        at = number * 7919 * 4096 % (2 * MIB)
        with open(path, "rb", buffering=0) as file:
            assert os.pread(file.fileno(), 4096, at) == data[path][at:at + 4096]

    def write(number):
        with open(mount.dir / f"new{number}", "wb", buffering=0) as file:
            for part in range(4):
                file.write(noise(5000, number + part))
                os.fsync(file.fileno())

    in_parallel(lambda n: (read if n % 3 else write)(n), range(600), threads=200)
    for number in range(0, 600, 3):
        assert (mount.dir / f"new{number}").read_bytes() == b"".join(noise(5000, number + n) for n in range(4))
    assert mount.stats()["counters"]["reads_waited"]


def test_answers_still_come_when_the_daemon_is_asked_to_end(ring):
    mount = ring(wal_sync_interval="1h")
    path = mount.dir / "f"
    path.write_bytes(noise(3 * MIB))
    outcomes = []

    def sync():
        try:
            with open(path, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), b"later", 17)
                os.fsync(file.fileno())
                outcomes.append(0)
        except OSError as exc:
            outcomes.append(exc.errno)

    threads = [threading.Thread(target=sync) for _ in range(20)]
    for thread in threads:
        thread.start()
    pid, mount.pid = mount.pid, None
    os.kill(pid, signal.SIGTERM)
    env.until(lambda: not pools.alive(pid), "the daemon has ended")
    assert pools.reap(pid) in (0, None)
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {0, errno.ENOTCONN, errno.ECONNABORTED, errno.EIO}
    env.run("umount", "-l", mount.dir, code=None)
    mount.start()
    if 0 in outcomes:
        assert path.read_bytes()[17:22] == b"later"


def test_it_is_the_choice_where_it_is_offered(new_mount):
    mount = new_mount(transport="auto")
    (mount.dir / "f").write_bytes(noise(MIB))
    assert transport(mount) == "io_uring"
    assert (mount.dir / "f").read_bytes() == noise(MIB)
    mount.remount(transport="dev")
    assert transport(mount) == "dev"


def test_killed_and_mounted_again(ring):
    mount = ring()
    with open(mount.dir / "f", "wb") as file:
        file.write(noise(MIB))
        file.flush()
        os.fsync(file.fileno())
    for _ in range(3):
        mount.kill()
        mount.start()
        assert transport(mount) == "io_uring"
        assert (mount.dir / "f").read_bytes() == noise(MIB)


def test_a_dead_mount_point_recovers(ring):
    mount = ring()
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.sync()
    mount.die()
    with pytest.raises(OSError) as caught:
        os.listdir(mount.dir)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    mount.start()
    assert (mount.dir / "f").read_bytes() == noise(MIB)
    assert Path("/proc/self/mounts").read_text().count(f" {mount.dir} ") == 1


@pytest.mark.parametrize("point, reason", [
    ("rings_offer", "the kernel does not offer io_uring"),
    ("rings_start", "io_uring cannot be had for them: Cannot allocate memory"),
])
def test_without_it_the_mount_goes_on_and_says_why(new_mount, point, reason):
    mount = new_mount()
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = f"{point}:1=ENOMEM"
    mount.start(transport="io_uring")
    (mount.dir / "f").write_bytes(noise(MIB))
    assert (mount.dir / "f").read_bytes() == noise(MIB)
    assert transport(mount) == "dev"
    assert f"requests come over /dev/fuse: {reason}" in mount.log.read_text()
    mount.stop()
    mount.start(transport="auto")
    assert transport(mount) == "dev"
