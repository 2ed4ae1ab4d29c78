# SPDX-License-Identifier: MIT
"""One promise at a time, each as short as it can be said, cut at every flush and some other places."""

import json
import os
import random
import tempfile
from pathlib import Path

import pytest

import actors
import env
import power
from disks import Backing, copy_sparse
from syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate

STATES = 12


def native_create_and_fsync(a):
    file = a.create("f", os.O_RDWR)
    file.write(a.bytes(5000))
    file.fsync()
    yield
    file.write(a.bytes(5000))
    file.fsync(os.fdatasync)
    file.close()
    yield


def native_growth_without_fsync(a):
    for i in range(4):
        file = a.create(f"f{i}", os.O_RDWR)
        file.write(a.bytes(3000))
        file.close()
    yield


def unmount_syncs_staged_files(a):
    file = a.create("f", os.O_RDWR)
    file.write(a.bytes(200000))
    file.close()
    yield


def large_unsynced_beside_small_synced(a):
    for i in range(3):
        file = a.create(f"large{a.round}.{i}")
        file.write(a.bytes(200000))
        file.close()
        file = a.create(f"small{a.round}.{i}")
        file.write(a.bytes(100))
        file.fsync()
        file.close()
        yield


def fsync_through_renamed_directory(a):
    a.mkdir("d")
    file = a.create("d/f")
    file.write(a.bytes(100))
    file.fsync()
    a.rename("d", "e")
    yield
    file.fsync()
    file.close()
    yield


def fsync_after_link_and_unlink(a):
    file = a.create("f")
    file.write(a.bytes(100))
    a.link("f", "g")
    file.fsync()
    a.unlink("f")
    file.fsync()
    file.close()
    yield


def replace_by_rename(a):
    for i, flags in enumerate([os.O_WRONLY, os.O_RDWR] * 3):
        file = a.create(f"t{i}", flags)
        file.write(a.bytes([100, 200000, 300000][i // 2]))
        yield
        file.close()
        a.rename(f"t{i}", "f")
        yield


def replace_by_rename_while_open(a):
    for i, flags in enumerate([os.O_WRONLY, os.O_RDWR] * 2):
        file = a.create(f"t{i}", flags)
        file.write(a.bytes(150000))
        a.rename(f"t{i}", "f")
        yield
        file.close()


def rewrite(first, second):
    def run(a):
        for length in (100, 200000):
            name = f"f{length}"
            file = a.create(name, first)
            file.write(a.bytes(length))
            file.fsync()
            file.close()
            yield
            file = a.open_anew(name, second)
            a.wait(0.2)  # the log is synced meanwhile, and with it the backing filesystem's own
            file.write(a.bytes(length))
            a.wait(0.2)
            file.close()
            yield

    return run


def nameless_is_linked_whole(a):
    for i, length in enumerate([100, 200000]):
        file = a.nameless()
        file.write(a.bytes(length))
        a.link_nameless(file, f"f{i}")
        file.close()
        yield


def mapped_overwrite(a):
    """Overwrites of destaged content, synced and not."""
    file = a.create("f")
    file.write(a.bytes(600000))
    file.fsync()
    file.close()
    a.wait(0.5)
    yield
    file = a.open("f")
    for at in (4096, 100352, 300032):
        file.write(a.bytes(1024), at)
        file.fsync()
        yield
    file.write(a.bytes(20480), 400384)
    file.truncate(500000)
    yield
    file.close()


def laid_over_a_map(a, name, at=0):
    """A destaged file of 600000 bytes, those before AT a hole, opened again."""
    file = a.create(name)
    file.write(a.bytes(600000 - at), at)
    file.fsync()
    file.close()
    a.wait(0.5)
    return a.open(name)


def shrink_over_a_map(a):
    """What is cut off lies in the staging file, over other bytes in the map or beyond it."""
    append, apart, only = (450048, 0, 40960), (250368, 100352, 5120), (120320, 0, 0)
    for name, hole, cuts in (("f", 0, (append, only)), ("g", 300032, (apart,))):
        file = laid_over_a_map(a, name, hole)
        yield
        for size, gap, more in cuts:
            file.write(a.bytes(122880), size - 40960)
            file.write(a.bytes(2048), size + 100352)
            file.fsync()
            yield
            file.truncate(size)
            yield
            if gap:
                file.truncate(size + gap)
            if more:
                file.write(a.bytes(more), size + gap)
            yield
            file.fsync()
            yield
        file.close()
        yield


def punch_over_a_map(a):
    """A hole made where the staging file hides other bytes of the map."""
    file = laid_over_a_map(a, "f")
    yield
    for at, length in ((204800, 65536), (400384, 3072)):
        file.write(a.bytes(81920), at - 4096)
        file.fsync()
        yield
        file.punch(at, length)
        yield
        file.fsync()
        yield
    file.close()


def read_until_hot(a, name):
    """Until there is a copy that the kernel reads itself."""
    def is_hot():
        with open(a.path(name), "rb", buffering=0) as file:
            file.read()
        shown = env.run(env.binary("foldfs"), "stats", "--json", a.root).stdout
        return json.loads(shown)["hot"]["files"] > 0

    env.until(is_hot, f"{name} has a copy")


def writer_takes_a_hot_copy(a):
    """What was stored becomes a file of the kernel's because it is read while it is opened for writing."""
    file = a.create("f")
    file.write(a.bytes(600000))
    file.fsync()
    file.close()
    read_until_hot(a, "f")
    yield
    with open(a.path("f"), "rb", buffering=0):
        file = a.open("f", os.O_RDWR)
        a.wait(0.3)  # the row that names the copy is durable, and nobody has asked for the copy's bytes
        yield
        for at in (4096, 100352, 300032):
            file.write(a.bytes(20480), at)
            yield
            file.fsync()
            yield
        file.write(a.bytes(20480), 400384)
        file.truncate(500000)
        yield
        file.fsync()
        file.truncate(520000)
        file.punch(204800, 65536)
        file.write(a.bytes(2048), 599000)
        yield
        file.close()


def grow_over_a_map(a):
    """What is stored ends within a block; the file grows by its size alone, and by a write behind a gap."""
    for change in (lambda file: file.truncate(file.length + 2048),
                   lambda file: file.write(a.bytes(512), file.length + 20480)):
        name = f"f{a.stamp}"
        file = a.create(name)
        file.write(a.bytes(395904))
        file.fsync()
        file.close()
        a.wait(0.5)  # it is destaged
        file = a.open(name, os.O_WRONLY)
        file.write(a.bytes(512), 4096)
        change(file)
        yield
        file.fsync()
        yield
        file.close()


def shrink_and_grow_native(a):
    file = a.create("f", os.O_RDWR)
    file.write(a.bytes(100000))
    file.fsync()
    for size in (50000, 70000, 0, 3000):
        file.truncate(size)
        yield
        file.fsync()
        yield
    file.close()


SCENARIOS = {
    "native_create_and_fsync": native_create_and_fsync,
    "native_growth_without_fsync": native_growth_without_fsync,
    "unmount_syncs_staged_files": unmount_syncs_staged_files,
    "large_unsynced_beside_small_synced": large_unsynced_beside_small_synced,
    "fsync_through_renamed_directory": fsync_through_renamed_directory,
    "fsync_after_link_and_unlink": fsync_after_link_and_unlink,
    "replace_by_rename": replace_by_rename,
    "replace_by_rename_while_open": replace_by_rename_while_open,
    "rewrite_mediated": rewrite(os.O_WRONLY, os.O_WRONLY),
    "rewrite_native": rewrite(os.O_RDWR, os.O_RDWR),
    "rewrite_native_by_mediated": rewrite(os.O_RDWR, os.O_WRONLY),
    "nameless_is_linked_whole": nameless_is_linked_whole,
    "mapped_overwrite": mapped_overwrite,
    "shrink_over_a_map": shrink_over_a_map,
    "punch_over_a_map": punch_over_a_map,
    "grow_over_a_map": grow_over_a_map,
    "writer_takes_a_hot_copy": writer_takes_a_hot_copy,
    "shrink_and_grow_native": shrink_and_grow_native,
}


class Scripted(actors.Actor):
    def steps(self, n):
        yield from SCENARIOS[self.name.rstrip("0")](self)


OVER_A_MAP = ("mapped_overwrite", "shrink_over_a_map", "punch_over_a_map")
DESTAGED = OVER_A_MAP + ("grow_over_a_map", "writer_takes_a_hot_copy",)
WHOLE = DESTAGED[1:]

actors.KINDS.update((name, Scripted) for name in SCENARIOS)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
@pytest.mark.parametrize("name", OVER_A_MAP)
def test_over_a_map_on_others(images, ram, name, kind):
    power.survive(images(kind), ram / f"{name}-{kind}", power.Workload((name,), rounds=1), 300, marked=True)


def test_growing_over_a_map(images, ram):
    """btrfs fills the block in which a file ended with zeros, even if it was a hole."""
    power.survive(images("btrfs"), ram / "grow", power.Workload(("grow_over_a_map",), rounds=1), 30, whole=False)


def write_and_punch(path, data, rng):
    """Random writes and holes, whose content DATA has too."""
    fd = os.open(path, os.O_WRONLY)
    for _ in range(12):
        what = rng.choice(["write"] * 4 + ["punch"] * 8 + ["sync"] * 2)
        at = rng.randrange(len(data) - 2)
        end = min(len(data), at + rng.randrange(1, 20000 if what == "write" else 60000))
        if what == "sync":
            os.fsync(fd)
        elif what == "write":
            data[at:end] = rng.randbytes(end - at)
            os.pwrite(fd, data[at:end], at)
        else:
            data[at:end] = bytes(end - at)
            fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, at, end - at)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what the daemon says, not the page cache
    os.close(fd)


def test_holes_beside_a_map_on_btrfs(images, ram):
    """Where a hole ends within a block, btrfs sometimes makes zeros of all of the block."""
    rng = random.Random(1)
    copy_sparse(images("btrfs"), ram / "holes.image")
    with Backing(ram / "holes.image", ram / "holes") as backing, \
            power.mounted(backing.pool, ram / "holes-home", "destage_delay=1h") as mount:
        for number in range(300):
            path, data = mount / f"f{number}", bytearray(rng.randbytes(262144))
            path.write_bytes(data)
            env.run(env.binary("foldfs"), "sync", "--destage", mount)
            write_and_punch(path, data, rng)
            assert path.read_bytes() == data, f"file {number}"


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("options", [
    pytest.param("wal_sync_interval=50ms,destage_delay=1h", id="staged"),
    pytest.param("wal_sync_interval=10s,destage_delay=1h", id="late", marks=pytest.mark.full),
    pytest.param(power.MOUNT_OPTIONS, id="destaged", marks=pytest.mark.full),
])
def test_promise(images, ram, name, options):
    if name in DESTAGED:
        options = power.MOUNT_OPTIONS
    workload = power.Workload((name,), rounds=1, options=options)
    power.survive(images("ext4"), Path(tempfile.mkdtemp(dir=ram)), workload, STATES,
                  whole=name in WHOLE, marked=True)
