# SPDX-License-Identifier: MIT
"""Packs in other places: they move there and back while everything reads, survive what crashes leave,
and a place that is not there costs its own files alone."""

import errno
import json
import os
import shutil
import signal
import threading
import time

import pytest

import env
import pools
from pattern import noise
from test_years import Clock

pytestmark = pytest.mark.foldfs

MIB = 1 << 20
MOVE_STEPS = ["place_write", "place_copied", "move_read_back", "move_compared", "move_switched", "place_remove",
              "move_removed"]


@pytest.fixture
def tiered(new_mount, home):
    """Function that makes a pool with tiers; each is a directory beside it."""

    def make(*names, age=None, conf="", **options):
        mount = new_mount(mkfs={"reserve_size": "1M"}, **{"cache_size": 0, "pack_size": "4M", "tier_interval": "1h",
                                                         "gc_interval": 0, **options})
        mount.stop()
        declare(mount, home, *names, age=age, conf=conf)
        mount.start()
        return mount

    return make


def declare(mount, home, *names, age=None, conf=""):
    lines = [conf]
    for name in names:
        (home / name).mkdir(exist_ok=True)
        lines += [f"[tier {name}]", f"place = {home / name}"]
        lines += [f"age = {age}"] if age else []
    (mount.pool.path / "foldfs.conf").write_text("\n".join(lines) + "\n")


def packs(place):
    return sorted(path.name for path in place.glob("*.pack"))


def hot(mount):
    return packs(mount.pool.path / "packs")


def fresh(path):
    """The file's bytes, asked of the daemon."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def fill(mount, files=4, size=4 * MIB):
    """Noise fills packs of 4 MiB, file by file."""
    data = {f"f{i}": noise(size, i) for i in range(files)}
    for name, content in data.items():
        (mount.dir / name).write_bytes(content)
        mount.destage()
    return data


def sealed(mount):
    """So that the pack that was being filled may move, too."""
    mount.remount()


def check(mount, data):
    for name, content in data.items():
        assert fresh(mount.dir / name) == content, f"{name} has other bytes"


def status(mount):
    return json.loads(mount.foldfs("tier", "status", "--json", mount.dir).stdout)


def tier_of(mount, name):
    return next(tier for tier in status(mount)["tiers"] if tier["name"] == name)


def move(mount, tier, *paths, **more):
    return mount.foldfs("tier", "move", tier, "--json", *paths, **more)


@pytest.mark.asan
def test_packs_move_and_come_back(tiered, home):
    mount = tiered("warm", "cold")
    data = fill(mount)
    before = hot(mount)
    result = json.loads(move(mount, "warm", mount.dir).stdout)
    assert result["packs_moved"] == len(before) and result["packs_failed"] == 0
    assert packs(home / "warm") == before and hot(mount) == []
    found = mount.json("df")
    assert found["packs"] < MIB and found["elsewhere"] == sum(
        path.stat().st_size for path in (home / "warm").glob("*.pack"))
    assert found["ratios"]["total"] <= 1.01
    check(mount, data)
    move(mount, "cold", mount.dir)
    assert packs(home / "cold") == before and packs(home / "warm") == []
    check(mount, data)
    mount.remount()
    check(mount, data)
    assert tier_of(mount, "cold")["packs"] == len(before)
    mount.foldfs("tier", "recall", mount.dir)
    assert hot(mount) == before and packs(home / "cold") == []
    check(mount, data)
    mount.remount()
    check(mount, data)


@pytest.mark.asan
def test_one_file_moves_and_the_others_stay(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=4, size=16 * MIB)
    result = json.loads(move(mount, "warm", mount.dir / "f1").stdout)
    moved = packs(home / "warm")
    assert len(moved) == result["packs_moved"] and 3 <= len(moved) <= 5
    assert len(hot(mount)) > 2 * len(moved)
    check(mount, data)
    mount.foldfs("tier", "recall", mount.dir / "f1")
    assert packs(home / "warm") == []


@pytest.mark.asan
def test_unread_packs_go_by_age(tiered, home):
    mount = tiered("warm", "cold", age="1s", tier_interval="1s", tier_rate="200M")
    data = fill(mount)
    sealed(mount)
    before = packs(home / "cold") + packs(home / "warm") + hot(mount)
    env.until(lambda: packs(home / "cold") == sorted(before) and not hot(mount), "all packs are cold")
    assert packs(home / "warm") == []
    check(mount, data)


@pytest.mark.asan
def test_what_is_read_often_comes_back(tiered, home):
    mount = tiered("warm", tier_interval="1s", tier_rate=0, low_watermark="98%", high_watermark="99%")
    data = fill(mount, files=2, size=16 * MIB)
    move(mount, "warm", mount.dir)
    passes = status(mount)["mover"]["passes"]
    env.until(lambda: status(mount)["mover"]["passes"] > passes + 1, "it has looked again")
    assert hot(mount) == []
    for _ in range(3):
        assert fresh(mount.dir / "f0") == data["f0"]
    env.until(lambda: len(hot(mount)) >= 3, "what was read is back")
    passes = status(mount)["mover"]["passes"]
    env.until(lambda: status(mount)["mover"]["passes"] > passes + 1, "it has looked again")
    assert len(packs(home / "warm")) >= 3
    check(mount, data)


def test_access_times_are_kept_over_remounts(tiered, home):
    """A day on, one of two files is read, and the pool mounted again: by the clock of their rows both are old."""
    mount = tiered("warm", age="12h", tier_interval="1s")
    mount.stop()
    clock = Clock(mount.pool)
    mount.start()
    data = fill(mount, files=2, size=16 * MIB)
    mount.stop()
    clock.set(86400)
    mount.start(tier_rate="1K")  # nothing gets anywhere
    assert fresh(mount.dir / "f1") == data["f1"]
    mount.remount(tier_rate=0)
    env.until(lambda: len(packs(home / "warm")) >= 3, "what nobody read is warm")
    passes = status(mount)["mover"]["passes"]
    env.until(lambda: status(mount)["mover"]["passes"] > passes + 1, "it has looked again")
    assert len(hot(mount)) >= 3
    check(mount, data)


def test_readers_never_notice(tiered):
    """Files are read all the time while their packs go to and fro."""
    mount = tiered("warm")
    data = fill(mount, files=3)
    done, errors = threading.Event(), []

    def read():
        while not done.is_set():
            for name, content in data.items():
                try:
                    if fresh(mount.dir / name) != content:
                        errors.append(name)
                except OSError as exc:
                    errors.append(exc)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        move(mount, "warm", mount.dir)
        mount.foldfs("tier", "recall", mount.dir)
    done.set()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.mark.asan
@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("point", MOVE_STEPS)
def test_killed_while_moving(tiered, home, point, way):
    """At any step, and whichever way: each pack is in one place after the next mount, and whole."""
    mount = tiered("warm")
    data = fill(mount)
    before = hot(mount)
    if way == "back":
        move(mount, "warm", mount.dir)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = f"{point}:2=crash"
    mount.start()
    if way == "there":
        move(mount, "warm", mount.dir, code=None)
    else:
        mount.foldfs("tier", "recall", mount.dir, code=None)
    clear_dead(mount)
    del mount.pool.environ["FOLDFS_FAULT"]
    mount.start()
    there, here = packs(home / "warm"), hot(mount)
    assert sorted(there + here) == before
    assert not list((home / "warm").glob("*.part")) + list((mount.pool.path / "packs").glob("*.part"))
    assert tier_of(mount, "warm")["packs"] == len(there)
    check(mount, data)
    move(mount, "warm", mount.dir)
    check(mount, data)


def clear_dead(mount):
    """The daemon has ended by itself."""
    pid, mount.pid = mount.pid, None
    try:
        _, end = os.waitpid(pid, 0)
        assert os.WEXITSTATUS(end) == 99, "the daemon did not come to that step"
    finally:
        env.run("umount", "-l", mount.dir, code=None)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(500))
def test_killed_at_any_moment(tiered, home, seed):
    import random
    chooser = random.Random(seed)
    mount = tiered("warm")
    data = fill(mount, files=2)
    before = hot(mount)
    timer = threading.Timer(chooser.random() * 0.3, lambda: os.kill(mount.pid, signal.SIGKILL))
    timer.start()
    for _ in range(20):
        if move(mount, "warm", mount.dir, code=None).returncode:
            break
        if mount.foldfs("tier", "recall", mount.dir, code=None).returncode:
            break
    timer.join()
    os.waitpid(mount.pid, 0)
    mount.pid = None
    env.run("umount", "-l", mount.dir, code=None)
    mount.start()
    assert sorted(packs(home / "warm") + hot(mount)) == before
    check(mount, data)


@pytest.mark.asan
def test_a_place_that_is_gone_costs_its_files_alone(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=1)
    sealed(mount)
    data["f1"] = noise(4 * MIB, 99)
    (mount.dir / "f1").write_bytes(data["f1"])
    move(mount, "warm", mount.dir / "f1")
    mount.stop()
    (home / "warm").rename(home / "elsewhere")
    (home / "warm").mkdir()  # as the mount point of a disk that is not there
    mount.expect_log("lies in tier warm, which is absent")
    mount.start()
    assert "absent" in mount.log.read_text()
    assert fresh(mount.dir / "f0") == data["f0"]
    with pytest.raises(OSError) as caught:
        (mount.dir / "f1").read_bytes()
    assert caught.value.errno == errno.EIO
    (mount.dir / "new").write_bytes(b"goes on")
    mount.destage()
    mount.gc()
    assert tier_of(mount, "warm")["absent"]
    assert os.listdir(home / "warm") == []  # nothing is made in its stead
    refused = move(mount, "warm", mount.dir / "f0", code=1)
    assert "tier warm is absent" in refused.stderr
    mount.stop()
    done = mount.pool.fsck("-n")
    assert "tier warm is absent" in done.stdout + done.stderr and "damaged" not in done.stdout
    mount.pool.fsck("-y", code=None)
    (home / "warm").rmdir()
    (home / "elsewhere").rename(home / "warm")
    mount.start()
    check(mount, data)


@pytest.mark.asan
def test_a_place_comes_back_while_mounted(tiered, home):
    mount = tiered("warm", tier_interval="1s")
    data = fill(mount, files=1)
    move(mount, "warm", mount.dir)
    mount.stop()
    (home / "warm").rename(home / "elsewhere")
    mount.expect_log("lies in tier warm, which is absent")
    mount.start()
    with pytest.raises(OSError):
        (mount.dir / "f0").read_bytes()
    (home / "elsewhere").rename(home / "warm")
    env.until(lambda: not tier_of(mount, "warm")["absent"], "the place has been found again")
    check(mount, data)


def test_deleted_while_its_place_is_gone(tiered, home):
    """Its packs are collected when the place is back."""
    mount = tiered("warm")
    fill(mount, files=1)
    move(mount, "warm", mount.dir)
    moved = packs(home / "warm")
    mount.stop()
    (home / "warm").rename(home / "elsewhere")
    mount.start()
    os.unlink(mount.dir / "f0")
    mount.gc()
    mount.stop()
    (home / "elsewhere").rename(home / "warm")
    assert packs(home / "warm") == moved
    mount.start()
    mount.gc()
    env.until(lambda: packs(home / "warm") == [], "the packs are gone")


@pytest.mark.asan
def test_gc_collects_cold_packs(tiered, home):
    mount = tiered("warm", high_watermark="100%", low_watermark="99%")
    data = fill(mount)
    move(mount, "warm", mount.dir)
    for name in ["f0", "f2"]:
        os.unlink(mount.dir / name)
        del data[name]
    stored = sum(path.stat().st_size for path in (home / "warm").glob("*.pack"))
    mount.gc()
    left = sum(path.stat().st_size for path in (home / "warm").glob("*.pack"))
    assert left < stored * 3 / 4
    check(mount, data)
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)
    assert not result["damage"] and result["bytes_done"] == result["bytes_total"]


@pytest.mark.asan
def test_gc_brings_back_no_more_than_the_low_watermark_lets(loop, home):
    """What lives in cold packs stays there while the pool's disk is fuller; what is dead as a whole goes."""
    loop.fill(40 << 20)
    mount = pools.Mount(loop.pool(home, reserve_size="1M"), cache_size=0, pack_size="4M", tier_interval="1h",
                        gc_interval=0, high_watermark="2%", low_watermark="1%")
    declare(mount, home, "warm")
    mount.start()
    try:
        data = {}
        for number in range(64):
            data[f"f{number:02}"] = noise(MIB // 4, number)
            (mount.dir / f"f{number:02}").write_bytes(data[f"f{number:02}"])
            mount.destage()
        move(mount, "warm", mount.dir)
        before = packs(home / "warm")
        for name in sorted(data)[:32] + sorted(data)[32::2]:
            os.unlink(mount.dir / name)
            del data[name]
        mount.gc()
        left = packs(home / "warm")
        assert set(left) < set(before) and hot(mount) == []
        check(mount, data)
        mount.remount(high_watermark="100%", low_watermark="99%")
        mount.gc()
        assert set(packs(home / "warm")) < set(left) and hot(mount)
        check(mount, data)
    finally:
        mount.stop()


@pytest.mark.parametrize("what, sentence", [
    ("missing", "cannot be opened: No such file"),
    ("not empty", "has other files in it"),
    ("another pool's", "belongs to another pool"),
    ("used twice", "have the same place"),
    ("in the pool", "is a part of the pool itself"),
    ("a part of the pool", "is a part of the pool itself"),
])
def test_wrong_places_are_refused(new_mount, home, what, sentence):
    mount = new_mount()
    mount.stop()
    declare(mount, home, "warm")
    if what == "missing":
        (home / "warm").rmdir()
    if what == "not empty":
        (home / "warm" / "precious").write_text("data")
    if what == "another pool's":
        other = new_mount(name="second")
        other.stop()
        declare(other, home, "warm")
        other.start()
        other.stop()
    if what == "used twice":
        (mount.pool.path / "foldfs.conf").write_text(f"[tier a]\nplace={home}/warm\n[tier b]\nplace={home}/warm\n")
    if what == "in the pool":
        (mount.pool.path / "cold").mkdir()
        (mount.pool.path / "foldfs.conf").write_text(f"[tier a]\nplace={mount.pool.path}/cold\n")
    if what == "a part of the pool":
        (mount.pool.path / "foldfs.conf").write_text(f"[tier a]\nplace={mount.pool.path}/../pool/staging\n")
    done = mount.pool.run("mount.foldfs", mount.pool.path, mount.dir, code=None)
    assert done.returncode and sentence in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_became_garbage_while_its_tier_was_absent(tiered, home):
    mount = tiered("warm", tier_interval="1s", gc_interval="1s")
    data = fill(mount)
    move(mount, "warm", mount.dir)
    mount.stop()
    (home / "warm").rename(home / "elsewhere")
    mount.expect_log("lies in tier warm, which is absent|tier warm is absent|left out")
    mount.start()
    mount.foldfs("scrub", mount.dir)
    said = mount.foldfs("scrub", "status", mount.dir).stdout
    assert ": 0 B of" in said and "lie in tiers that are absent" in said
    for name in data:
        (mount.dir / name).unlink()
    mount.foldfs("gc", mount.dir)
    (home / "elsewhere").rename(home / "warm")
    env.until(lambda: not packs(home / "warm"), "collected")


def test_what_is_written_while_its_tier_is_absent_costs_nothing(tiered, home):
    """A duplicate that cannot be compared is stored anew; what lies beside it in the tier stays."""
    mount = tiered("warm")
    content = noise(MIB)
    (mount.dir / "old").write_bytes(content)
    mount.destage()
    sealed(mount)
    move(mount, "warm", mount.dir)
    mount.stop()
    (home / "warm").rename(home / "elsewhere")
    mount.expect_log("absent|does not read back|cannot be read")
    mount.start()
    (mount.dir / "new").write_bytes(content[:100_000])
    mount.destage()
    assert fresh(mount.dir / "new") == content[:100_000]
    mount.stop()
    (home / "elsewhere").rename(home / "warm")
    mount.start()
    check(mount, {"old": content, "new": content[:100_000]})


def test_a_pack_cut_short_in_a_tier_keeps_nobody_from_writing(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=2)
    move(mount, "warm", mount.dir / "f0")
    mount.stop()
    whole = {path: path.read_bytes() for path in (home / "warm").glob("*.pack")}
    for path in whole:
        os.truncate(path, 100)
    mount.expect_log("shorter than it was|frame at|pack ")
    mount.start()
    with pytest.raises(OSError):
        fresh(mount.dir / "f0")
    assert fresh(mount.dir / "f1") == data["f1"]
    (mount.dir / "new").write_bytes(b"new")
    mount.sync()
    mount.kill()
    for path, content in whole.items():
        path.write_bytes(content)
    mount.start()
    check(mount, {**data, "new": b"new"})


@pytest.mark.asan
def test_a_tier_may_be_renamed_and_its_place_moved(tiered, home):
    mount = tiered("warm", "cold")
    data = fill(mount, files=2)
    move(mount, "warm", mount.dir)
    number = tier_of(mount, "warm")["number"]
    mount.stop()
    (home / "warm").rename(home / "moved")
    (mount.pool.path / "foldfs.conf").write_text(
        f"[tier cold]\nplace = {home / 'cold'}\n[tier warm]\nplace = {home / 'moved'}\n")
    mount.start()
    check(mount, data)
    mount.stop()
    (mount.pool.path / "foldfs.conf").write_text(
        f"[tier cold]\nplace = {home / 'cold'}\n[tier tepid]\nplace = {home / 'moved'}\n")
    mount.start()
    assert tier_of(mount, "tepid")["number"] == number
    check(mount, data)
    mount.stop()
    (mount.pool.path / "foldfs.conf").write_text("")
    mount.start()  # what is not declared any more can be read, and nothing goes there
    check(mount, data)
    assert not tier_of(mount, "tepid")["declared"]
    mount.foldfs("tier", "recall", mount.dir)
    check(mount, data)


@pytest.mark.asan
def test_pinned_files_stay_and_come_back(tiered, home):
    mount = tiered("warm", age="1s", tier_interval="1s", tier_rate=0)
    (mount.dir / "dir").mkdir()
    mount.foldfs("tier", "pin", mount.dir / "dir")
    pinned = noise(16 * MIB, 77)
    (mount.dir / "dir" / "pinned").write_bytes(pinned)
    mount.destage()
    before = hot(mount)
    data = fill(mount, files=1, size=16 * MIB)
    env.until(lambda: len(packs(home / "warm")) >= 3, "what is not pinned is warm")
    assert set(before[:-1]) <= set(hot(mount))
    move(mount, "warm", mount.dir / "dir")
    env.until(lambda: set(before[:-1]) <= set(hot(mount)), "what is pinned is back")
    mount.foldfs("tier", "unpin", mount.dir / "dir")
    env.until(lambda: not hot(mount), "all is warm")
    check(mount, {**data, "dir/pinned": pinned})
    assert "is not pinned" in mount.foldfs("tier", "unpin", mount.dir / "dir", code=1).stderr


@pytest.mark.asan
def test_a_directory_says_where_its_files_belong(tiered, home):
    """And a directory below it may say something else."""
    mount = tiered("warm", "cold", tier_interval="1s", tier_rate=0)
    data = {}
    (mount.dir / "a" / "b").mkdir(parents=True)
    os.setxattr(mount.dir / "a", "user.foldfs.tier", b"cold")
    os.setxattr(mount.dir / "a" / "b", "user.foldfs.tier", b"warm")
    for name in ["a/f", "a/b/g", "h"]:
        data[name] = noise(16 * MIB, len(data) + 7)
        (mount.dir / name).write_bytes(data[name])
        mount.destage()
    mount.remount()  # seals the last pack
    env.until(lambda: len(packs(home / "cold")) >= 3 and len(packs(home / "warm")) >= 3, "they are there")
    passes = status(mount)["mover"]["passes"]
    env.until(lambda: status(mount)["mover"]["passes"] > passes + 1, "it has looked again")
    assert len(hot(mount)) >= 3
    check(mount, data)


def test_watermarks(loop, home):
    """Beyond the high one packs leave, those not read for longest first, down to the low one."""
    import pools
    (home / "warm").mkdir()
    pool = pools.Pool(loop.dir, reserve_size="1M")
    (pool.path / "foldfs.conf").write_text(f"[tier warm]\nplace = {home / 'warm'}\n")
    mount = pools.Mount(pool, home / "mnt", cache_size=0, pack_size="4M", tier_interval="1s", tier_rate=0)

    def used():
        disk = os.statvfs(loop.dir)
        return 100 - disk.f_bavail * 100 // disk.f_blocks

    try:
        mount.start()
        data = fill(mount, files=8, size=16 * MIB)
        assert packs(home / "warm") == []
        written = time.time()  # times are kept in seconds
        env.until(lambda: time.time() >= written + 1.1, "time has passed")
        for name in ["f0", "f1"]:
            assert fresh(mount.dir / name) == data[name]
        mount.stop()
        before = hot(mount)
        mount.start()
        low = used() - 15  # with the log's segments
        mount.stop()
        mount.start(high_watermark=low + 10, low_watermark=low)
        env.until(lambda: used() <= low, "so much has left")
        gone = packs(home / "warm")
        assert 8 <= len(gone) <= 24
        assert before[5] in hot(mount) and before[12] in gone  # what was read is the last to leave
        check(mount, data)
    finally:
        mount.stop()


@pytest.mark.asan
def test_a_full_tier_is_no_trouble(tiered, home, loop):
    mount = tiered("warm")
    mount.stop()
    (loop.dir / "tier").mkdir()
    (mount.pool.path / "foldfs.conf").write_text(f"[tier small]\nplace = {loop.dir / 'tier'}\n")
    ballast = os.statvfs(loop.dir).f_bavail * os.statvfs(loop.dir).f_frsize - 40 * MIB
    with open(loop.dir / "ballast", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, ballast)
    mount.start()
    data = fill(mount)
    done = move(mount, "small", mount.dir, code=1)
    assert "could not be moved: there is no room for it" in done.stderr
    check(mount, data)
    mount.stop()


def test_a_copy_that_does_not_read_back_is_dropped(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=1)
    before = hot(mount)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = "move_read_back:1+=EIO"
    mount.expect_log("its copy does not read back")
    mount.start()
    move(mount, "warm", mount.dir, code=1)
    assert packs(home / "warm") == [] and hot(mount) == before
    check(mount, data)


def test_a_lost_pack_of_a_tier_is_damage(tiered, home):
    """The place is there and the pack is not: then its bytes are gone, which fsck says and repairs."""
    mount = tiered("warm")
    data = fill(mount, files=2, size=16 * MIB)
    move(mount, "warm", mount.dir / "f1")
    mount.stop()
    os.unlink(home / "warm" / packs(home / "warm")[1])
    mount.pool.fsck("-n", code=4)
    mount.pool.fsck("-y", code=None)
    mount.start()
    check(mount, {"f0": data["f0"]})
    with pytest.raises(OSError):
        (mount.dir / "f1").read_bytes()
    mount.expect_log("chunk .* is lost")


def test_what_is_missing_was_not_recalled(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=2)
    move(mount, "warm", mount.dir)
    lost = packs(home / "warm")[0]
    (home / "warm" / lost).rename(home / lost)
    mount.expect_log("is missing")
    done = mount.foldfs("tier", "recall", mount.dir, code=1)
    assert "1 packs could not be moved: its file is missing" in done.stderr
    assert f"pack {lost.removesuffix('.pack')} is missing" in mount.log.read_text()
    (home / lost).rename(home / "warm" / lost)
    mount.foldfs("tier", "recall", mount.dir)
    check(mount, data)


def test_a_pack_put_back_by_hand_is_found(tiered, home):
    mount = tiered("warm")
    data = fill(mount, files=1)
    move(mount, "warm", mount.dir)
    mount.stop()
    for name in packs(home / "warm"):
        shutil.move(home / "warm" / name, mount.pool.path / "packs" / name)
    mount.start()
    check(mount, data)
    assert tier_of(mount, "hot")["packs"] == len(hot(mount))


def test_a_tier_that_is_left_out_gets_nothing(tiered, home):
    mount = tiered("warm", "cold")
    data = fill(mount, files=1)
    mount.stop()
    declare(mount, home, "cold")
    mount.start()
    before = hot(mount)
    assert "tier warm is not declared in foldfs.conf" in move(mount, "warm", mount.dir, code=1).stderr
    assert hot(mount) == before and not packs(home / "warm")
    check(mount, data)


def test_commands_that_make_no_sense(tiered, mount):
    assert "no tier is declared" in mount.foldfs("tier", "move", "warm", mount.dir, code=1).stderr
    assert "wants one of" in mount.foldfs("tier", "shake", mount.dir, code=2).stderr
    assert "wants one of" in mount.foldfs("tier", code=2).stderr


class ReadOnly:
    """The place cannot be written to, as when its disk had errors."""

    def __init__(self, place):
        env.need_root()
        self.place = place

    def __enter__(self):
        env.run("mount", "--bind", self.place, self.place)
        env.run("mount", "-o", "remount,ro,bind", self.place)

    def __exit__(self, *exc):
        env.run("umount", "-l", self.place)


def leave_behind(tiered, home):
    """Packs that are back from the tier, one of which has been collected since; their files are still there."""
    mount = tiered("cold", tier_interval="1s")
    data = fill(mount)
    sealed(mount)
    move(mount, "cold", mount.dir)
    mount.stop()
    mount.expect_log("could not be removed|Read-only")
    with ReadOnly(home / "cold"):
        mount.start()
        mount.foldfs("tier", "recall", mount.dir)
        (mount.dir / "f1").unlink()
        del data["f1"]
        mount.gc()
        mount.remount()  # nothing can be removed yet
        check(mount, data)
        mount.stop()
    left = packs(home / "cold")
    assert set(left) - set(hot(mount)) and set(left) & set(hot(mount))
    return mount, data


@pytest.mark.asan
@pytest.mark.parametrize("crash", [None, 1, 2, 3])
def test_what_could_not_be_removed_from_a_place_goes_with_the_next_mount(tiered, home, crash):
    """A crash while it is being removed leaves the rest to the mount after that."""
    mount, data = leave_behind(tiered, home)
    if crash:
        mount.pool.environ["FOLDFS_FAULT"] = f"place_remove:{crash}=crash"
        mount.pool.run("mount.foldfs", mount.pool.path, mount.dir, code=None)
        del mount.pool.environ["FOLDFS_FAULT"]
        assert mount.pool.owner() is None and packs(home / "cold")
    mount.start()
    assert packs(home / "cold") == []
    check(mount, data)
    mount.remount()
    check(mount, data)


@pytest.mark.asan
def test_what_could_not_be_removed_from_a_place_goes_when_it_is_back(tiered, home):
    mount, data = leave_behind(tiered, home)
    (home / "cold").rename(home / "elsewhere")
    mount.expect_log("tier cold is absent")
    mount.start()
    (home / "elsewhere").rename(home / "cold")
    env.until(lambda: packs(home / "cold") == [], "the files are gone")
    check(mount, data)


@pytest.mark.asan
def test_a_pack_that_was_put_back_stays_as_long_as_its_bytes_are_lost(tiered, home):
    """No row names it: fsck.foldfs -y has given it up. Neither a mount nor gc takes it for what may go."""
    mount = tiered("cold")
    data = fill(mount)
    sealed(mount)
    move(mount, "cold", mount.dir)
    mount.stop()
    path = home / "cold" / packs(home / "cold")[1]
    path.rename(home / "away")
    assert "lost: /f" in mount.pool.fsck("-y", code=1).stdout
    (home / "away").rename(path)
    mount.expect_log("that no row of the index knows: they stay")
    mount.start()
    mount.gc()
    mount.stop()
    assert path.exists()
    mount.pool.fsck("-y", "-f", code=1)
    mount.start()
    check(mount, data)
