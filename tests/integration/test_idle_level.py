# SPDX-License-Identifier: MIT
"""idle_level: packs are compressed anew, in the pool itself, when there is time. They have other numbers then, and read
as before; whatever happens on the way, each chunk is in the old pack or in the new one, and nothing is left of the
other. (idle_load=100%: tests do not wait until a busy machine is idle.)"""

import json
import os
import subprocess
import sys
import threading

import pytest

import env
from pattern import noise
from test_tiers import MIB, check, clear_dead, fresh, hot
from test_tiers_damage import flip
from test_tiers_level import bytes_in, prose

pytestmark = pytest.mark.foldfs

AT_ONCE = {"idle_age": 0, "idle_load": "100%"}


@pytest.fixture
def pool_of(new_mount):
    """Function that makes a pool with files in packs that are sealed; nothing is done to them yet."""

    def make(make=prose, files=3, size=4 * MIB, **options):
        mount = new_mount(mkfs={"reserve_size": "1M"}, **{"cache_size": 0, "pack_size": "4M", "gc_interval": 0,
                                                         "zstd_level": 0, **options})
        data = {f"f{i}": make(size, i + 1) for i in range(files)}
        for name, content in data.items():
            (mount.dir / name).write_bytes(content)
            mount.destage()
        mount.remount()
        return mount, data

    return make


def stored(mount):
    return bytes_in(mount.pool.path / "packs")


def begin(mount, level=3, **more):
    """Mounts with the option."""
    mount.stop()
    mount.options.update({"idle_level": level, **AT_ONCE, **more})
    mount.start()


def done(mount):
    """Waits until a pass has found nothing left; what has been done since the mount."""
    def is_done():
        idle = mount.stats()["idle"]
        return idle["passes"] and not idle["working"] and not idle["packs_left"]

    env.until(is_done, "all packs were tried", timeout=300)
    return mount.stats()["idle"]


def settled(mount, data):
    """All reads; the index knows every file, and the counters are right; scrub and fsck agree."""
    check(mount, data)
    mount.gc()
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)
    assert not result["damage"] and result["bytes_done"] == result["bytes_total"]
    assert not list((mount.pool.path / "packs").glob("*.part"))
    mount.stop()
    mount.check_pool()
    mount.options.pop("idle_level")
    mount.start()
    check(mount, data)


@pytest.mark.asan
def test_packs_get_smaller_and_read_as_before(pool_of):
    mount, data = pool_of()
    before, size = hot(mount), stored(mount)
    begin(mount)
    idle = done(mount)
    after = hot(mount)
    assert idle["packs_made"] == idle["packs_tried"] == len(before) == len(after)
    assert not set(before) & set(after)
    assert stored(mount) < size * 0.93
    assert idle["bytes_before"] - idle["bytes_after"] == size - stored(mount)
    assert mount.json("df")["packs"] < size * 0.95
    mount.remount()
    assert done(mount)["packs_tried"] == 0, "what was tried is remembered"
    assert hot(mount) == after
    settled(mount, data)


@pytest.mark.asan
def test_what_is_incompressible_or_young_stays(pool_of):
    mount, data = pool_of(make=noise)
    before = hot(mount)
    begin(mount)
    idle = done(mount)
    assert idle["packs_tried"] == len(before) and not idle["packs_made"] and hot(mount) == before
    begin(mount, level=4, idle_age="1d")
    assert not done(mount)["packs_tried"]
    begin(mount, level=4)
    assert done(mount)["packs_tried"] == len(before), "it was another level"
    settled(mount, data)


def test_it_waits_while_others_want_the_processors(pool_of):
    mount, data = pool_of(files=1, size=MIB)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
               for _ in range(1 + os.cpu_count() // 20)]
    try:
        begin(mount, idle_load="1%")
        env.until(lambda: mount.stats()["idle"]["looks"] > 2, "it has looked", timeout=120)
        assert not mount.stats()["idle"]["passes"]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    settled(mount, data)


@pytest.mark.parametrize("point", ["move_recoded", "place_write", "place_copied", "move_read_back", "move_compared",
                                   "move_switched", "move_removed"])
@pytest.mark.parametrize("end", ["crash", "EIO"])
def test_ended_on_the_way(pool_of, point, end):
    """Nothing of the new pack is left unless it has taken the old one's place."""
    mount, data = pool_of()
    before = hot(mount)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = f"{point}:2={end}"
    if end == "EIO":
        mount.expect_log("does not read back")
        begin(mount)
        done(mount)
    else:
        mount.options.update({"idle_level": 3, **AT_ONCE})
        mount.start()
        clear_dead(mount)
    del mount.pool.environ["FOLDFS_FAULT"]
    if end == "crash":
        assert mount.pool.fsck("-n", code=None).returncode == 0
        mount.options.pop("idle_level")
        mount.start()
        assert len(hot(mount)) == len(before)
        begin(mount)
        done(mount)
    settled(mount, data)


@pytest.mark.asan
def test_unmounted_at_work(pool_of):
    mount, data = pool_of(files=4)
    begin(mount, level=19)
    env.until(lambda: mount.stats()["idle"]["working"], "it is at work")
    settled(mount, data)


@pytest.mark.asan
def test_others_at_work_meanwhile(pool_of):
    """Files are read and deleted, and garbage is collected, while their packs are made anew."""
    mount, data = pool_of(files=6)
    over, errors = threading.Event(), []

    def read():
        while not over.is_set():
            for name in list(data):
                try:
                    if fresh(mount.dir / name) != data[name]:
                        errors.append(name)
                except OSError as exc:
                    errors.append(exc)

    def collect():
        while not over.is_set():
            mount.foldfs("gc", mount.dir)

    begin(mount, gc_min_live="100")
    for name in ["f1", "f4"]:
        (mount.dir / name).unlink()
        del data[name]
    threads = [threading.Thread(target=work) for work in (read, read, collect)]
    for thread in threads:
        thread.start()
    done(mount)
    over.set()
    for thread in threads:
        thread.join()
    assert not errors
    settled(mount, data)


@pytest.mark.asan
def test_damage_stays_as_it_is(pool_of):
    """Nobody gives a fresh checksum to what did not prove itself by the old one."""
    mount, data = pool_of()
    mount.stop()
    path = mount.pool.path / "packs" / hot(mount)[0]
    flip(path, path.stat().st_size // 2)
    damaged = path.read_bytes()
    mount.expect_log("frame at|chunk|damage")
    begin(mount)
    assert done(mount)["packs_made"] >= 2
    assert path.read_bytes() == damaged
    mount.stop()
    flip(path, path.stat().st_size // 2)
    mount.start()
    check(mount, data)
