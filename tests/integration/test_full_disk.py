# SPDX-License-Identifier: MIT
"""A pool on a disk without any room left: deleting gives room back, whatever else lies in the same packs."""

import errno
import os

import pytest

import env
import loops
import pools
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20
NOT_SHORT = (16 + 32) * MIB     # the reserve and what is to be free beside it


class Filled:
    """A pool whose disk was filled with files of SIZE bytes, in turns KEEP that stay and GO that do not,
    then with somebody else's bytes to the last block."""

    def __init__(self, loop, home, size, keep, go, others=0):
        self.loop, self.size, self.keep, self.go = loop, size, [], []
        self.mount = pools.Mount(loop.pool(home), gc_interval=0, gc_rate=0)
        self.mount.expect_log("[Nn]o space|ENOSPC|full")
        self.mount.start()
        number = 0
        loop.fill(others)
        while loop.avail() > 40 * MIB:
            for _ in range(8 * MIB // size):
                self.path(number).write_bytes(noise(size, number))
                (self.keep if number % (keep + go) < keep else self.go).append(number)
                number += 1
            self.mount.destage()
        loop.fill()

    def path(self, number):
        return self.mount.dir / f"f{number}"

    def room(self):
        found = os.statvfs(self.mount.dir)
        return found.f_bavail * found.f_frsize

    def free(self):
        """What is free below, and what the daemon holds back for itself."""
        reserve = self.mount.pool.path / "reserve"
        while True:
            try:
                return self.loop.avail() + reserve.stat().st_blocks * 512
            except FileNotFoundError:
                before = self.loop.avail()
                if not reserve.exists():
                    return before

    def delete(self):
        """Returns how many bytes went."""
        for number in self.go:
            self.path(number).unlink()
        return len(self.go) * self.size

    def check_kept(self):
        for number in self.keep:
            assert self.path(number).read_bytes() == noise(self.size, number), number

    def write_again(self, count):
        """New files go in, and some that were deleted, whose bytes must not be taken for stored ones."""
        numbers = self.go[:count // 2] + [10 ** 6 + n for n in range(count - count // 2)]
        for number in numbers:
            def write():
                try:
                    self.path(number).write_bytes(noise(self.size, number))
                    return True
                except OSError as exc:
                    assert exc.errno == errno.ENOSPC
                    return False
            env.until(write, "there is room for new files", timeout=60)
        self.keep += numbers


@pytest.fixture
def filled(loop, home):
    made = []

    def fill(*args):
        made.append(Filled(loop, home, *args))
        return made[0]

    yield fill
    for pool in made:
        pool.mount.stop()


@pytest.mark.parametrize("size, keep, go, others", [(MIB, 1, 1, 120 * MIB), (60_000, 1, 1, 120 * MIB), (200_000, 4, 1, 0)],
                         ids=["frames", "parts-of-frames", "a-fifth"])
def test_gc_needs_no_room(filled, size, keep, go, others):
    """Every pack is live in part, and there is not one block to rewrite it to."""
    pool = filled(size, keep, go, others)
    before = pool.free()
    gone = pool.delete()
    pool.mount.gc()
    free = pool.free()
    won = free - before
    # packs with four fifths alive are rewritten only as long as the disk is short of room
    assert won > gone * 0.75 or free >= NOT_SHORT, f"{gone >> 20} MiB were deleted, {won >> 20} MiB came back"
    pool.check_kept()
    room = pool.room()
    assert won * 0.6 < room + 64 * MIB and room < won + 64 * MIB
    pool.write_again(min(room, gone) // 2 // size)
    pool.mount.destage()
    pool.check_kept()
    pool.mount.remount()
    pool.check_kept()
    pool.mount.foldfs("scrub", pool.mount.dir)


def test_space_comes_back_by_itself(filled):
    """Nobody calls gc; what df shows is what can be written."""
    pool = filled(MIB, 1, 1, 100 * MIB)
    env.until(lambda: pool.room() == 0, "df says that it is full")
    with pytest.raises(OSError) as refused:
        pool.path("new").write_bytes(b"x")
    assert refused.value.errno == errno.ENOSPC
    gone = pool.delete()
    # gc ends when the disk is no longer short of room
    env.until(lambda: pool.room() > gone * 0.6 or (pool.room() and pool.free() >= NOT_SHORT),
              "df shows the space", timeout=60)
    pool.write_again(gone // 2 // MIB)
    pool.check_kept()


def test_umount_right_after_the_disk_got_full(loop, home):
    """Nobody has looked at the disk since: the last checkpoint needs what is held back for it."""
    mount = pools.Mount(loop.pool(home), wal_sync_interval="60s", destage_delay="1h")
    mount.start()
    for number in range(3000):
        (mount.dir / f"f{number}").write_bytes(noise(300, number))
    loop.fill()
    mount.stop()
    assert (mount.pool.path / "reserve").stat().st_blocks * 512 >= 16 * MIB, "it is held back again"
    os.truncate(loop.dir / "filler", 0)
    mount.start()
    for number in range(3000):
        assert (mount.dir / f"f{number}").read_bytes() == noise(300, number)
    mount.stop()


NUMBERS = range(32 * MIB // 60_000)


@pytest.fixture
def halves(loop, home):
    """Makes a mount in which every other file of each frame can be deleted. With a reserve of 96M something
    is left of it when the log has taken four pieces."""
    made = []

    def make(**options):
        mount = pools.Mount(loop.pool(home, **options), gc_interval=0)
        mount.expect_log("[Nn]o space")
        made.append(mount)
        mount.start()
        for number in NUMBERS:
            (mount.dir / f"f{number}").write_bytes(noise(60_000, number))
        mount.destage()
        return mount

    yield make
    for mount in made:
        mount.stop()


def delete_half(mount):
    for number in NUMBERS[::2]:
        (mount.dir / f"f{number}").unlink()


def check_half(mount):
    assert len(os.listdir(mount.dir)) == len(NUMBERS) // 2
    for number in NUMBERS[1::2]:
        assert (mount.dir / f"f{number}").read_bytes() == noise(60_000, number)


def test_mount_on_a_full_disk(halves, loop):
    """Who has no room left has to be able to delete."""
    mount = halves(reserve_size="64M")
    mount.stop()
    loop.fill()
    mount.start()
    delete_half(mount)
    env.until(lambda: loop.avail() > 8 * MIB, "space comes back", timeout=60)
    check_half(mount)


def test_gc_of_an_unmounted_pool_on_a_full_disk(halves, loop):
    """What is held back is for this, too."""
    mount = halves(reserve_size="64M")
    before = mount.pool.stored_bytes()
    delete_half(mount)
    mount.stop()
    loop.fill()
    mount.foldfs("gc", mount.pool.path)
    assert before - mount.pool.stored_bytes() > 12 * MIB
    mount.start()
    check_half(mount)


def test_gc_with_nothing_held_back(halves, loop):
    """Every frame is live in part, and there is less room than is left to the log and the index."""
    mount = halves(reserve_size=0, workers=1)
    loop.fill()
    delete_half(mount)
    os.truncate(loop.dir / "filler", os.stat(loop.dir / "filler").st_size - 500_000)
    before = mount.pool.stored_bytes()
    mount.gc()
    assert before - mount.pool.stored_bytes() > 12 * MIB
    check_half(mount)


def test_a_disk_too_small_for_the_reserve(home):
    """Nothing is held back then, and what there is can be used."""
    loop = loops.Loop(home, 200 * MIB)
    mount = pools.Mount(loop.pool(home, reserve_size=0), reserve_size="1G")
    mount.start()
    (mount.dir / "file").write_bytes(noise(MIB, 1))
    mount.destage()
    assert (mount.dir / "file").read_bytes() == noise(MIB, 1)
    mount.stop()
    loop.close()
