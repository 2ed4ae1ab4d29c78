# SPDX-License-Identifier: MIT
"""A tier whose filesystem does not answer: those who read from it wait, and nobody else."""

import mmap
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import env
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

KIB, MIB = 1 << 10, 1 << 20
READERS = 64
OTHERS = """
import os, sys
os.chdir(sys.argv[1])
assert sorted(os.listdir(".")) == ["cold", "far", "near"] and os.stat("far").st_size == 4 << 20
assert not os.path.exists("nothing") and open("near", "rb").read() == b"near"
fd = os.open("cold", os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
assert len(os.read(fd, 1 << 20)) == 1 << 20
with open("synced", "wb") as file:
    file.write(b"new")
    file.flush()
    os.fsync(file.fileno())
os.mkdir("d")
for n in range(100):
    with open(f"d/{n}", "wb") as file:
        file.write(b"new")
    os.rename(f"d/{n}", f"d/{n}.renamed")
    assert open(f"d/{n}.renamed", "rb").read() == b"new"
    os.unlink(f"d/{n}.renamed")
"""


@pytest.fixture
def mounts(new_mount):
    """A mount whose file `far` lies in a tier, and the mount that this tier is a directory of."""
    place = new_mount(name="place", mode="mediated")
    (place.dir / "far").mkdir()
    mount = new_mount(name="near", cache_size=0, gc_interval=0, tier_interval="1h")
    mount.stop()
    (mount.pool.path / "foldfs.conf").write_text(f"[tier far]\nplace = {place.dir / 'far'}\n")
    mount.start()
    (mount.dir / "far").write_bytes(noise(4 * MIB, 1))
    mount.destage()
    mount.foldfs("tier", "move", "far", mount.dir)
    (mount.dir / "near").write_bytes(b"near")
    (mount.dir / "cold").write_bytes(noise(1 * MIB, 2))
    mount.destage()
    mount.remount()
    yield mount, place
    mount.stop()


def read(fd, at):
    """What is there: each reader has a request of its own."""
    back = mmap.mmap(-1, 4096)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.preadv(fd, [back], at)
        return back[:]
    finally:
        os.close(fd)


@pytest.mark.parametrize("flags", [os.O_DIRECT, 0], ids=["direct", "cached"])
def test_readers_that_are_stuck_keep_nobody_else_waiting(mounts, flags):
    """Cached, they count as the kernel's requests in the background, of which it sends so many at once. (They are
    opened before, as an open may wait for what is read of the same file.)"""
    mount, place = mounts
    wanted, places = noise(4 * MIB, 1), [n * 64 * KIB for n in range(READERS)]
    fds = [os.open(mount.dir / "far", os.O_RDONLY | flags) for _ in places]
    with ThreadPoolExecutor(READERS) as pool:
        os.kill(place.pid, signal.SIGSTOP)
        try:
            reads = [pool.submit(read, fd, at) for fd, at in zip(fds, places)]
            env.until(lambda: mount.stats()["counters"]["reads_waited"] == READERS, "all readers wait")
            others = subprocess.Popen([sys.executable, "-c", OTHERS, mount.dir])  # run() would wait for one that is stuck
            assert others.wait(60 * env.SLOW) == 0
            assert not any(one.done() for one in reads)
        finally:
            os.kill(place.pid, signal.SIGCONT)
        assert [one.result() for one in reads] == [wanted[at:at + 4096] for at in places]
