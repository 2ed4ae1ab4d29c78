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
assert sorted(os.listdir(".")) == ["far", "near"] and os.stat("far").st_size == 4 << 20
assert not os.path.exists("nothing") and open("near", "rb").read() == b"near"
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
    mount.remount()
    yield mount, place
    mount.stop()


def read(mount, at):
    """What is there, past the page cache: each reader has a request of its own."""
    fd, back = os.open(mount.dir / "far", os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)
    try:
        os.preadv(fd, [back], at)
        return back[:]
    finally:
        os.close(fd)


def test_readers_that_are_stuck_keep_nobody_else_waiting(mounts):
    mount, place = mounts
    wanted, places = noise(4 * MIB, 1), [n * 64 * KIB for n in range(READERS)]
    with ThreadPoolExecutor(READERS) as pool:
        os.kill(place.pid, signal.SIGSTOP)
        try:
            reads = [pool.submit(read, mount, at) for at in places]
            env.until(lambda: mount.stats()["counters"]["reads_waited"] == READERS, "all readers wait")
            subprocess.run([sys.executable, "-c", OTHERS, mount.dir], check=True, timeout=60 * env.SLOW)
            assert not any(one.done() for one in reads)
        finally:
            os.kill(place.pid, signal.SIGCONT)
        assert [one.result() for one in reads] == [wanted[at:at + 4096] for at in places]
