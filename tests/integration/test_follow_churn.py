# SPDX-License-Identifier: MIT
"""Followers whose users are unfriendly."""

import contextlib
import mmap
import os
import random
import signal
import threading
from pathlib import Path

import pytest

import env
import loops
import trees
from churn import Churn, Readers
from pattern import noise, text
from replicas import KIB, MIB, MadeOfReplica, ship
from test_follow import both, follow

pytestmark = pytest.mark.foldfs


def test_what_the_kernel_writes_by_itself(machines):
    """A database that is open at its owner: its file changes, and no row does."""
    mount = machines.first(destage_delay="1h")
    path = mount.dir / "database"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, noise(MIB, 1))
    os.fsync(file)
    ship(mount)
    other = machines.follower()
    reader = os.open(other.dir / "database", os.O_RDONLY)
    mapped = mmap.mmap(reader, MIB, prot=mmap.PROT_READ)
    assert os.pread(reader, MIB, 0) == mapped[:] == noise(MIB, 1)
    for i in range(2, 5):
        os.pwrite(file, noise(64 * KIB, i), 128 * KIB)
        os.fsync(file)
        ship(mount)
        follow(other)
        assert os.pread(reader, 64 * KIB, 128 * KIB) == noise(64 * KIB, i)
        assert mapped[128 * KIB:192 * KIB] == noise(64 * KIB, i)
        assert os.fstat(reader).st_mtime_ns == os.fstat(file).st_mtime_ns
        both(mount, other)
    os.close(file)
    both(mount, other)
    mapped.close()
    os.close(reader)


def same(mount, other, seed):
    """What is shown is what the owner has; what the kernel was answered a moment before counts for a second."""
    want = trees.snapshot(mount.dir)
    ship(mount)
    follow(other)
    try:
        env.until(lambda: trees.snapshot(other.dir) == want, "the follower shows the owner's tree", timeout=5)
    except BaseException:
        print(seed, *trees.differences(want, trees.snapshot(other.dir)), sep="\n")
        raise


def churn(machines, seed, rounds, **options):
    rng = random.Random(seed)
    mount = machines.first(destage_delay=rng.choice(["0", "1s", "1h"]), replicate_grace="10s", **options)
    work = Churn(os.fspath(mount.dir), rng)
    work.step(100)
    ship(mount)
    other = machines.follower(cache_size=rng.choice(["0", "8M"]),
                              follow_interval=rng.choice(["1h", "100ms"]))

    def leave_and(start):
        work.close()
        start()

    def crash():
        timer = threading.Timer(rng.random() / 10, lambda: os.kill(other.pid, signal.SIGKILL))
        timer.start()
        other.foldfs("replica", "sync", other.dir, code=None)
        timer.join()
        other.kill()
        other.start()

    def crash_owner():
        mount.kill()
        mount.start()

    events = [mount.destage, mount.gc, lambda: leave_and(mount.remount), lambda: leave_and(crash_owner),
              other.remount, crash, lambda: None, lambda: None, lambda: None, lambda: None]
    for _ in range(rounds):
        with Readers(other.dir, [random.Random(rng.random()) for _ in range(2)]) as readers:
            for _ in range(rng.randrange(1, 4)):
                work.step(rng.choice([1, 10, 80]))
                ship(mount)
                if rng.random() < 0.5:
                    follow(other)
            same(mount, other, seed)
        assert not readers.wrong, (seed, readers.wrong[:5])
        event = rng.choice(events)
        work.step(rng.randrange(30))
        if rng.random() < 0.7:
            ship(mount)
        event()
    work.close()
    same(mount, other, seed)


@pytest.mark.asan
def test_whatever_changes(machines):
    churn(machines, int(os.environ.get("FOLDFS_TEST_SEED", 1)), int(os.environ.get("FOLDFS_TEST_ROUNDS", 3)))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 108))
def test_whatever_changes_for_long(machines, seed):
    churn(machines, seed, 20)


class OnDisk(MadeOfReplica):
    """A pool that follows, on a disk of its own."""

    def __init__(self, disk, home, machines):
        self.disk = disk
        super().__init__(home, "--follow", machines.place, {}, reserve_size="1M")

    def mkfs(self, code=0, **options):
        self.path = Path(self.disk) / "pool"
        return super().mkfs(code, **options)


@pytest.fixture
def small_disk(home):
    made = loops.Loop(home, 100 << 20)
    yield made
    made.close()


def refused(other):
    done = other.foldfs("replica", "sync", other.dir, code=None)
    assert done.returncode and "No space left" in done.stderr, done.stderr


def test_what_could_not_be_fetched_takes_no_room(small_disk, machines, home):
    """Files that were fetched for a state that could not be reached, and that the next one does not have."""
    mount = machines.first()
    (mount.dir / "f").write_bytes(b"data")
    ship(mount)
    other = machines.mounted(OnDisk(small_disk.dir, home / "other", machines), follow_interval="1h")
    other.expect_log("it is tried on")
    with contextlib.ExitStack() as stack:       # what is being written is a file at a follower, too
        for name in "ab":
            stack.enter_context(open(mount.dir / name, "w+b")).write(noise(35 * MIB, ord(name)))
        ship(mount)
        refused(other)
    for name in "ab":
        (mount.dir / name).unlink()
    with open(mount.dir / "c", "w+b") as file:
        file.write(noise(30 * MIB, 3))
        both(mount, other)
    other.stop()
