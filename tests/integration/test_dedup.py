# SPDX-License-Identifier: MIT
"""Every byte is stored once, holes cost nothing, deleted bytes come back, and df says so."""

import os
import random
import subprocess
import sys

import pytest

import env
import superblock
from pattern import Shadow, noise, text

pytestmark = pytest.mark.foldfs

MIB = 1 << 20


def stored(mount):
    mount.destage()
    return mount.pool.stored_bytes()


@pytest.mark.asan
def test_the_same_data_twice_costs_almost_nothing(mount):
    (mount.dir / "one").write_bytes(noise(16 * MIB))
    first = stored(mount)
    assert 16 * MIB <= first < 17 * MIB
    (mount.dir / "two").write_bytes(noise(16 * MIB))
    assert stored(mount) - first < 16 * MIB // 50
    assert (mount.dir / "two").read_bytes() == noise(16 * MIB)
    mount.remount()
    assert (mount.dir / "one").read_bytes() == (mount.dir / "two").read_bytes() == noise(16 * MIB)


@pytest.mark.asan
def test_shifted_data_is_found_again(mount):
    """Content-defined cuts: an insertion at the front moves all bytes and costs a chunk or two."""
    (mount.dir / "one").write_bytes(noise(8 * MIB))
    first = stored(mount)
    (mount.dir / "two").write_bytes(b"inserted" + noise(8 * MIB))
    assert stored(mount) - first < MIB
    assert (mount.dir / "two").read_bytes() == b"inserted" + noise(8 * MIB)


@pytest.mark.asan
@pytest.mark.parametrize("chunker, number", [("fastcdc", 1), ("mincdc", 2)])
def test_a_pool_keeps_to_its_chunker(new_mount, chunker, number):
    """What mkfs.foldfs was told holds over remounts: data stored before is found again after."""
    mount = new_mount(mkfs={"chunker": chunker})
    (mount.dir / "one").write_bytes(noise(8 * MIB) + bytes(MIB) + noise(3000, 1))
    first = stored(mount)
    mount.remount()
    (mount.dir / "two").write_bytes(b"inserted" + noise(8 * MIB))
    assert stored(mount) - first < MIB
    mount.remount()
    assert (mount.dir / "one").read_bytes() == noise(8 * MIB) + bytes(MIB) + noise(3000, 1)
    assert (mount.dir / "two").read_bytes() == b"inserted" + noise(8 * MIB)
    assert superblock.get((mount.pool.path / "super").read_bytes(), "chunker") == number


@pytest.mark.asan
def test_a_small_change_costs_little(mount):
    shadow = Shadow(noise(16 * MIB))
    (mount.dir / "f").write_bytes(shadow.data)
    first = stored(mount)
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"changed", 5 * MIB)
    shadow.write(5 * MIB, b"changed")
    assert stored(mount) - first < MIB
    assert (mount.dir / "f").read_bytes() == shadow.data


def test_destage_gives_way_to_who_waits_for_the_disk(new_mount):
    """As long as somebody syncs; all is stored in the end."""
    mount = new_mount(destage_delay=0)
    files = []
    with open(mount.dir / "log", "wb", buffering=0) as log:
        def gives_way():
            files.append(mount.dir / f"large{len(files)}")
            files[-1].write_bytes(noise(16 * MIB, len(files)))
            for _ in range(20):
                log.write(b"a line\n")
                os.fsync(log.fileno())
            return mount.stats()["destage"]["gave_way"] > 0
        env.until(gives_way, "destage gave way")
    assert stored(mount) >= len(files) * 16 * MIB
    assert [f.read_bytes() == noise(16 * MIB, n + 1) for n, f in enumerate(files)] == [True] * len(files)


WRITE_WITHOUT_PAUSE = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
while True:
    os.pwrite(fd, b"anything", 0)
"""


def test_destage_gives_way_to_who_writes_natively(new_mount):
    """Though the daemon sees none of these writes; but not to who writes now and then."""
    mount = new_mount(destage_delay=0, mode="native")
    data = {}

    def gave_way():
        new = {f"large{len(data) + n}": random.randbytes(8 * MIB).hex().encode() for n in range(10)}
        for name, content in new.items():
            (mount.dir / name).write_bytes(content)
        data.update(new)
        return mount.stats()["destage"]["gave_way"]

    with open(mount.dir / "log", "wb", buffering=0) as log:
        for _ in range(3):
            log.write(b"a line\n")
            gave_way()
            mount.destage()
        assert gave_way() == 0
    writer = subprocess.Popen([sys.executable, "-c", WRITE_WITHOUT_PAUSE, mount.dir / "busy"])
    try:
        env.until(gave_way, "destage gave way")
    finally:
        writer.kill()
        writer.wait()
    mount.destage()
    for name, content in data.items():
        assert (mount.dir / name).read_bytes() == content


@pytest.mark.asan
def test_text_is_compressed(mount):
    (mount.dir / "f").write_bytes(b"".join(text(20_000, seed) for seed in range(400)))
    assert stored(mount) < 8_000_000 * 0.6


@pytest.mark.asan
def test_duplicate_small_files(mount):
    for copy in range(4):
        for number in range(200):
            (mount.dir / f"{copy}-{number}").write_bytes(noise(3000, number))
    assert stored(mount) < 200 * 3000 * 1.4
    for copy in range(4):
        for number in range(200):
            assert (mount.dir / f"{copy}-{number}").read_bytes() == noise(3000, number)


@pytest.mark.asan
def test_zeros_are_holes(mount):
    data = noise(MIB, 1) + bytes(30 * MIB) + noise(MIB, 2)
    (mount.dir / "f").write_bytes(data)
    assert stored(mount) < 3 * MIB
    assert (mount.dir / "f").read_bytes() == data
    (mount.dir / "zeros").write_bytes(bytes(20 * MIB))
    assert stored(mount) < 3 * MIB
    assert (mount.dir / "zeros").read_bytes() == bytes(20 * MIB)


@pytest.mark.asan
def test_repeats_are_one_run(mount):
    piece = noise(4096)
    (mount.dir / "f").write_bytes(piece * 5000)
    assert stored(mount) < 3 * MIB
    assert (mount.dir / "f").read_bytes() == piece * 5000


@pytest.mark.asan
def test_unlink_and_gc_give_the_space_back(mount):
    (mount.dir / "keep").write_bytes(noise(4 * MIB, 1))
    (mount.dir / "drop").write_bytes(noise(32 * MIB, 2))
    full = stored(mount)
    os.unlink(mount.dir / "drop")
    mount.sync()
    mount.gc()
    assert full > 36 * MIB and mount.pool.stored_bytes() < 8 * MIB
    assert (mount.dir / "keep").read_bytes() == noise(4 * MIB, 1)
    mount.remount()
    assert (mount.dir / "keep").read_bytes() == noise(4 * MIB, 1)
    mount.stop()
    mount.pool.fsck()
    mount.start()


@pytest.mark.asan
def test_gc_spares_what_another_file_shares(mount):
    common = noise(8 * MIB, 3)
    (mount.dir / "a").write_bytes(common + noise(8 * MIB, 4))
    (mount.dir / "b").write_bytes(common + noise(8 * MIB, 5))
    mount.destage()
    os.unlink(mount.dir / "a")
    mount.sync()
    mount.gc()
    assert mount.pool.stored_bytes() < 18 * MIB
    assert (mount.dir / "b").read_bytes() == common + noise(8 * MIB, 5)


@pytest.mark.asan
def test_overwriting_and_truncating_release_chunks(mount):
    (mount.dir / "f").write_bytes(noise(16 * MIB, 1))
    (mount.dir / "g").write_bytes(noise(16 * MIB, 2))
    mount.destage()
    (mount.dir / "f").write_bytes(noise(MIB, 3))
    os.truncate(mount.dir / "g", MIB)
    mount.destage()
    mount.gc()
    assert mount.pool.stored_bytes() < 6 * MIB
    assert (mount.dir / "f").read_bytes() == noise(MIB, 3)
    assert (mount.dir / "g").read_bytes() == noise(16 * MIB, 2)[:MIB]


@pytest.mark.asan
def test_gc_runs_while_files_are_read_and_written(mount):
    import threading
    for number in range(12):
        (mount.dir / str(number)).write_bytes(noise(3 * MIB, number))
    mount.destage()
    for number in range(0, 12, 2):
        os.unlink(mount.dir / str(number))
    mount.sync()
    problems, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            for number in range(1, 12, 2):
                if (mount.dir / str(number)).read_bytes() != noise(3 * MIB, number):
                    problems.append(number)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        for round_number in range(3):
            (mount.dir / f"new{round_number}").write_bytes(noise(2 * MIB, 100 + round_number))
            mount.gc()
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert not problems
    for round_number in range(3):
        assert (mount.dir / f"new{round_number}").read_bytes() == noise(2 * MIB, 100 + round_number)
    mount.destage()
    mount.gc()
    assert mount.pool.stored_bytes() < 34 * MIB


def test_statfs_tells_the_truth(new_mount):
    """Free space is the backing filesystem's, and what is stored counts once."""
    mount = new_mount(mode="mediated")
    backing, shown = os.statvfs(mount.pool.path), os.statvfs(mount.dir)
    assert abs(shown.f_bavail * shown.f_frsize - backing.f_bavail * backing.f_frsize) < 512 * MIB
    assert shown.f_blocks * shown.f_frsize <= backing.f_blocks * backing.f_frsize
    assert shown.f_namemax == 255 and shown.f_files >= shown.f_ffree > 0

    def used():
        mount.destage()
        st = os.statvfs(mount.dir)
        return (st.f_blocks - st.f_bfree) * st.f_frsize

    empty = used()
    (mount.dir / "one").write_bytes(noise(64 * MIB))
    one = used()
    (mount.dir / "two").write_bytes(noise(64 * MIB))
    two = used()
    assert one - empty > 60 * MIB and two - one < 16 * MIB, (empty, one, two)
    files = os.statvfs(mount.dir)
    for number in range(50):
        (mount.dir / f"f{number}").touch()
    after = os.statvfs(mount.dir)
    assert (after.f_files - after.f_ffree) - (files.f_files - files.f_ffree) == 50


def test_df_command_agrees(mount):
    (mount.dir / "f").write_bytes(noise(8 * MIB))
    mount.destage()
    out = env.run("df", "--output=fstype,target", mount.dir).stdout
    assert "fuse.foldfs" in out and str(mount.dir) in out
    assert mount.json("df")


def test_du_shows_apparent_and_shared(mount):
    (mount.dir / "one").write_bytes(noise(8 * MIB))
    mount.destage()
    env.run("cp", mount.dir / "one", mount.dir / "two")
    mount.destage()
    assert mount.json("du", mount.dir / "one")


def test_destage_happens_by_itself(new_mount):
    """A short while after the last close, without anybody asking."""
    mount = new_mount(destage_delay=0.1)
    (mount.dir / "f").write_bytes(noise(4 * MIB))
    env.until(lambda: mount.pool.stored_bytes() >= 4 * MIB, "the file is in a pack", timeout=20)
    assert (mount.dir / "f").read_bytes() == noise(4 * MIB)


def test_a_temporary_file_costs_no_pack(new_mount):
    mount = new_mount(destage_delay=1)
    for number in range(20):
        (mount.dir / "tmp").write_bytes(noise(2 * MIB, number))
        os.unlink(mount.dir / "tmp")
    (mount.dir / "last").write_bytes(b"x")
    mount.destage()
    assert mount.pool.stored_bytes() < 4 * MIB


def test_a_chunk_over_two_packs_goes_as_a_whole(new_mount):
    """gc that took one pack of the two left the others' parts: fsck complained, and the same bytes, written
    again, could have been taken for the chunk that was not whole any more."""
    mount = new_mount(mkfs={"pack_size": "16M", "gc_interval": 0, "chunk_min": "2M", "chunk_avg": "4M",
                            "chunk_max": "8M"}, workers=1, gc_min_live=10)
    for first, second in (("doomed", "kept"), ("kept", "doomed")):
        data = {"doomed": noise(20 * MIB + 77, 11), "kept": noise(21 * MIB, 12)}
        for name in (first, second):
            (mount.dir / name).write_bytes(data[name])
            mount.destage()
        (mount.dir / "doomed").unlink()
        mount.gc()
        mount.stop()
        assert mount.pool.fsck("-n", "-f").stdout.count("does not follow") == 0
        mount.start()
        (mount.dir / "again").write_bytes(data["doomed"])
        mount.destage()
        mount.remount()
        assert (mount.dir / "again").read_bytes() == data["doomed"]
        assert (mount.dir / "kept").read_bytes() == data["kept"]
        for name in ("again", "kept"):
            (mount.dir / name).unlink()
        mount.gc()
