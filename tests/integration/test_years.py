# SPDX-License-Identifier: MIT
"""What happens to a pool in years of use: numbers grow past 32 bits, and clocks jump."""

import os
import struct

import pytest

import env
import pools
from pattern import noise, text

pytestmark = pytest.mark.foldfs

MIB = 1 << 20
YEAR = 365 * 86400


def content(number):
    """One of some small and some large files, by its number."""
    return text(3000 + number, number) if number % 8 else noise(MIB + number, number)


def fill(directory, count):
    directory.mkdir()
    for number in range(count):
        (directory / f"f{number}").write_bytes(content(number))


def check(directory, count):
    assert sorted(os.listdir(directory)) == sorted(f"f{number}" for number in range(count))
    for number in range(count):
        assert (directory / f"f{number}").read_bytes() == content(number), number


@pytest.mark.asan
@pytest.mark.parametrize("bits", [31, 32, 35])
def test_numbers_grow_past(home, bits):
    """Ids of inodes, staging files, segments, packs and chunks, and the log's numbers, all at once."""
    pool = pools.Pool(home, pack_size="4M", wal_sync_interval="100ms")
    mount = pools.Mount(pool).start()
    fill(mount.dir / "before", 16)
    mount.stop()
    env.run(env.binary("tests/integration/aged"), pool.path / "index", str((1 << bits) - 20))
    mount.start()
    check(mount.dir / "before", 16)
    fill(mount.dir / "across", 64)
    mount.destage()
    (mount.dir / "clone").write_bytes(b"")
    env.run("cp", mount.dir / "across" / "f8", mount.dir / "clone")
    assert os.stat(mount.dir / "across" / "f63").st_ino > 1 << bits
    mount.sync()
    (mount.dir / "clone").rename(mount.dir / "copy")
    mount.kill()     # the log is replayed across the border
    mount.start()
    check(mount.dir / "across", 64)
    for number in range(0, 64, 2):
        (mount.dir / "across" / f"f{number}").unlink()
    mount.gc()
    mount.foldfs("scrub", mount.dir)
    mount.remount()
    check(mount.dir / "before", 16)
    assert any((mount.dir / name).exists() for name in ("clone", "copy"))
    for number in range(1, 64, 2):
        assert (mount.dir / "across" / f"f{number}").read_bytes() == content(number)
    mount.stop()     # and fsck -n agrees


class Clock:
    """A wall clock of the daemon's own, as many seconds away from ours as it is set to."""

    def __init__(self, pool):
        self.path = pool.home / "clock"
        self.set(0)
        pool.environ["FOLDFS_TEST_CLOCK"] = str(self.path)
        pool.environ["LD_PRELOAD"] = env.binary("tests/integration/libclockshift.so")

    def set(self, seconds):
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture
def clock_and_mount(home):
    pool = pools.Pool(home, wal_sync_interval="100ms", dump_interval="1s", gc_interval="1s")
    clock, mount = Clock(pool), pools.Mount(pool)
    mount.start()
    yield clock, mount
    mount.stop()


@pytest.mark.parametrize("years", [-40, 90])
def test_a_clock_that_jumps(clock_and_mount, years):
    clock, mount = clock_and_mount
    fill(mount.dir / "before", 16)
    mount.destage()
    clock.set(years * YEAR)
    fill(mount.dir / "after", 24)
    assert abs(os.stat(mount.dir / "after" / "f1").st_ctime - (os.stat(mount.pool.path).st_ctime
                                                               + years * YEAR)) < YEAR
    mount.sync()
    mount.destage()
    mount.gc()
    mount.foldfs("scrub", mount.dir)
    mount.remount()
    clock.set(0)
    check(mount.dir / "before", 16)
    check(mount.dir / "after", 24)
    mount.kill()
    mount.start()
    check(mount.dir / "after", 24)


def test_verified_in_the_future_is_not_verified(clock_and_mount):
    """A pack that a wrong clock dated ahead is read before a duplicate relies on it, as one that nobody
    verified for long: else nobody would for decades."""
    clock, mount = clock_and_mount
    clock.set(40 * YEAR)
    (mount.dir / "first").write_bytes(noise(4 * MIB))
    mount.destage()
    mount.stop()
    pack = max((mount.pool.path / "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    with open(pack, "r+b") as file:
        file.seek(2 * MIB)
        byte, = file.read(1)
        file.seek(2 * MIB)
        file.write(bytes([byte ^ 1]))
    clock.set(0)
    mount.expect_log("checksum|damaged|rotten")
    mount.start()
    (mount.dir / "second").write_bytes(noise(4 * MIB))
    mount.destage()
    mount.remount()
    assert (mount.dir / "second").read_bytes() == noise(4 * MIB)
    assert (mount.dir / "first").read_bytes() == noise(4 * MIB)    # and is healed by it


def test_a_scrub_begun_in_the_future_is_due(clock_and_mount):
    clock, mount = clock_and_mount
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.destage()
    clock.set(40 * YEAR)
    mount.foldfs("scrub", mount.dir)
    clock.set(0)
    ahead = mount.json("scrub", "status", mount.dir)
    mount.remount(scrub_interval="1d")

    def scrubbed_again():
        now = mount.json("scrub", "status", mount.dir)
        return now["state"] == "finished" and now["began"] < ahead["began"]

    env.until(scrubbed_again, "scrubbed by the clock of today")
