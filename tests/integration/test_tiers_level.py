# SPDX-License-Identifier: MIT
"""A tier with a level: what moves there is compressed anew, lies in other packs from then on, and reads as before.
Whatever happens on the way, each chunk is in the old pack or in the new one, and nothing is left of the other."""

import errno
import functools
import json
import random
import threading

import pytest

import env
from pattern import noise
from test_tiers import MIB, check, clear_dead, fresh, hot, move, packs, status, tier_of
from test_tiers_damage import flip
from test_years import Clock

pytestmark = pytest.mark.foldfs

STEPS = ["move_recoded", "place_write", "place_copied", "move_read_back", "move_compared", "move_switched",
         "place_remove", "move_removed"]


@functools.lru_cache(maxsize=32)
def prose(length, seed):
    """Bytes that a slow level makes shorter than a fast one."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(2, 11))) for _ in range(3000)]
    phrases = [" ".join(rng.choices(words, k=rng.randrange(2, 9))) for _ in range(4000)]
    return " ".join(rng.choices(phrases + words, k=length // 3)).encode()[:length]


@pytest.fixture
def leveled(new_mount, home):
    """Function that makes a pool with a tier `cold` of that level, and others before it without one."""

    def make(level, *others, **options):
        mount = new_mount(mkfs={"reserve_size": "1M"}, **{"cache_size": 0, "pack_size": "4M", "tier_interval": "1h",
                                                         "gc_interval": 0, "tier_rate": 0, **options})
        mount.stop()
        lines = []
        for name in (*others, "cold"):
            (home / name).mkdir(exist_ok=True)
            lines += [f"[tier {name}]", f"place = {home / name}"]
        (mount.pool.path / "foldfs.conf").write_text("\n".join([*lines, f"level = {level}", ""]))
        mount.start()
        return mount

    return make


def fill(mount, files=3, size=4 * MIB, make=prose):
    data = {f"f{i}": make(size, i + 1) for i in range(files)}
    for name, content in data.items():
        (mount.dir / name).write_bytes(content)
        mount.destage()
    return data


def bytes_in(place):
    return sum(path.stat().st_size for path in place.glob("*.pack"))


def settled(mount, home, data, *tiers):
    """All reads; every file of a pack is one that the index knows, and where it says; fsck and scrub agree."""
    check(mount, data)
    mount.gc()
    places = {"hot": mount.pool.path / "packs", **{name: home / name for name in tiers}}
    for tier in status(mount)["tiers"]:
        assert tier["packs"] == len(packs(places[tier["name"]])), f"in {tier['name']}"
        assert not list(places[tier["name"]].glob("*.part"))
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)
    assert not result["damage"] and result["bytes_done"] == result["bytes_total"]
    mount.stop()
    mount.check_pool()
    mount.start()
    check(mount, data)


@pytest.mark.asan
def test_what_moves_gets_smaller_and_reads_as_before(leveled, home):
    mount = leveled(19)
    data = fill(mount, files=2, size=MIB)
    mount.remount()
    before, stored = hot(mount), bytes_in(mount.pool.path / "packs")
    result = json.loads(move(mount, "cold", mount.dir).stdout)
    assert result["packs_moved"] == len(before) and not result["packs_failed"] and not hot(mount)
    there = packs(home / "cold")
    assert len(there) == len(before) and not set(there) & set(before)
    assert bytes_in(home / "cold") < stored * 0.93
    assert tier_of(mount, "cold")["level"] == 19 and tier_of(mount, "hot")["level"] is None
    assert ", zstd 19; " in mount.foldfs("tier", "status", mount.dir).stdout
    settled(mount, home, data, "cold")
    small = bytes_in(home / "cold")
    mount.foldfs("tier", "recall", mount.dir)
    assert hot(mount) == there and bytes_in(mount.pool.path / "packs") == small
    check(mount, data)
    move(mount, "cold", mount.dir)  # there is nothing more to be had
    assert packs(home / "cold") == there and bytes_in(home / "cold") == small
    settled(mount, home, data, "cold")


@pytest.mark.asan
def test_raw_frames_long_chunks_and_small_files(leveled, home):
    """Every kind of frame: stored raw, in parts of one chunk, of many small ones; and duplicates are found there."""
    mount = leveled(5, zstd_level=0)
    (mount.dir / "long").write_bytes(b"\0" + b"a" * (3 * MIB) + b"b" * MIB)
    data = {"long": b"\0" + b"a" * (3 * MIB) + b"b" * MIB}
    for number in range(150):
        data[f"s{number}"] = prose(200 + number * 3, number)
        (mount.dir / f"s{number}").write_bytes(data[f"s{number}"])
    data.update(fill(mount, files=2))
    data["mixed"] = noise(MIB, 5) + prose(MIB, 9)
    (mount.dir / "mixed").write_bytes(data["mixed"])
    mount.destage()
    mount.remount()
    stored = bytes_in(mount.pool.path / "packs")
    move(mount, "cold", mount.dir)
    assert not hot(mount) and bytes_in(home / "cold") < stored / 2
    settled(mount, home, data, "cold")
    for name in list(data):
        data["again-" + name] = data[name]
        (mount.dir / ("again-" + name)).write_bytes(data[name])
    mount.destage()
    assert mount.pool.stored_bytes() < MIB
    check(mount, data)


@pytest.mark.asan
def test_what_is_incompressible_moves_as_it_is(leveled, home):
    mount = leveled(19)
    data = fill(mount, make=noise)
    mount.remount()
    before = {name: (mount.pool.path / "packs" / name).read_bytes() for name in hot(mount)}
    move(mount, "cold", mount.dir)
    assert {name: (home / "cold" / name).read_bytes() for name in packs(home / "cold")} == before
    settled(mount, home, data, "cold")


@pytest.mark.asan
def test_what_nothing_refers_to_is_left_behind_or_collected(leveled, home):
    mount = leveled(3, zstd_level=0)
    data = fill(mount)
    move(mount, "cold", mount.dir)
    for name in ["f0", "f2"]:
        (mount.dir / name).unlink()
        del data[name]
    settled(mount, home, data, "cold")


@pytest.mark.parametrize("way, point", [
    *(("from hot", point) for point in STEPS if point != "place_remove"),  # which is of a tier's place
    *(pytest.param("from a tier", point, marks=pytest.mark.asan if point == "place_remove" else pytest.mark.full)
      for point in STEPS)])
def test_killed_while_moving(leveled, home, way, point):
    """Each chunk lies where its row says, old or new, and nothing of the other is left after the next mount."""
    mount = leveled(3, "warm", zstd_level=0)
    data = fill(mount)
    if way == "from a tier":
        move(mount, "warm", mount.dir)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = f"{point}:2=crash"
    mount.start()
    move(mount, "cold", mount.dir, code=None)
    clear_dead(mount)
    del mount.pool.environ["FOLDFS_FAULT"]
    assert mount.pool.fsck("-n", code=None).returncode == 0
    mount.start()
    settled(mount, home, data, "warm", "cold")
    move(mount, "cold", mount.dir)
    settled(mount, home, data, "warm", "cold")


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100))
def test_killed_at_any_moment(leveled, home, seed):
    chooser = random.Random(seed)
    mount = leveled(3, "warm", zstd_level=0)
    data = fill(mount)
    if chooser.random() < 0.5:
        move(mount, "warm", mount.dir)
    moving = threading.Thread(target=lambda: move(mount, "cold", mount.dir, code=None))
    moving.start()
    timer = threading.Event()
    timer.wait(chooser.random() * 0.4)
    mount.kill()
    moving.join()
    mount.start()
    settled(mount, home, data, "warm", "cold")


@pytest.mark.asan
def test_others_at_work_meanwhile(leveled, home):
    """Files are read and deleted, and garbage is collected, while their packs go to and fro."""
    mount = leveled(3, zstd_level=0, gc_min_live="100")
    data = fill(mount, files=6)
    done, errors = threading.Event(), []

    def read():
        while not done.is_set():
            for name in list(data):
                try:
                    if fresh(mount.dir / name) != data[name]:
                        errors.append(name)
                except OSError as exc:
                    errors.append(exc)

    def collect():
        while not done.is_set():
            mount.foldfs("gc", mount.dir, code=None)

    threads = [threading.Thread(target=work) for work in (read, read, collect)]
    for thread in threads:
        thread.start()
    for turn in range(4):
        garbage = prose(4 * MIB, 100 + turn)
        for part in range(8):
            (mount.dir / f"g{part}").write_bytes(garbage[part * MIB // 2:(part + 1) * MIB // 2])
        mount.destage()
        for part in range(0, 8, 2):
            (mount.dir / f"g{part}").unlink()
        move(mount, "cold", mount.dir, code=None)  # what gc is at work on may stay
        mount.foldfs("tier", "recall", mount.dir, code=None)
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
    for part in range(1, 8, 2):
        data[f"g{part}"] = garbage[part * MIB // 2:(part + 1) * MIB // 2]
    settled(mount, home, data, "cold")


@pytest.mark.asan
def test_damage_moves_as_it_is(leveled, home):
    """Nobody gives a fresh checksum to what did not prove itself by the old one."""
    mount = leveled(3, zstd_level=0)
    data = fill(mount)
    mount.stop()
    path = mount.pool.path / "packs" / hot(mount)[0]
    flip(path, 2 * MIB)
    damaged = path.read_bytes()
    mount.expect_log("frame at|chunk|damage")
    mount.start()
    move(mount, "cold", mount.dir)
    assert (home / "cold" / path.name).read_bytes() == damaged
    assert sum(name != path.name for name in packs(home / "cold")) >= 2
    lost = []
    for name, content in data.items():
        try:
            assert fresh(mount.dir / name) == content
        except OSError as exc:
            assert exc.errno == errno.EIO
            lost.append(name)
    assert lost == ["f0"]
    mount.stop()
    flip(home / "cold" / path.name, 2 * MIB)
    mount.start()
    check(mount, data)


def dumps(mount):
    return {path.name for path in (mount.pool.path / "packs").glob("dump-*")}


@pytest.mark.parametrize("lost", ["the index", "the index and the log"])
def test_an_index_made_anew_finds_it(leveled, home, lost):
    """By the log; or, where only an older dump is left, by the packs, which say what is in them."""
    mount = leveled(3, zstd_level=0, dump_interval="1s")
    data = fill(mount)
    for turn in range(2):  # the first may have been begun before
        (mount.dir / "late").write_bytes(b"%d" % turn)
        before = dumps(mount)
        env.until(lambda: dumps(mount) - before, "there is a new dump")
    mount.stop()
    kept = dumps(mount)
    mount.start(dump_interval="30d")
    move(mount, "cold", mount.dir)
    mount.kill()
    (mount.pool.path / "index/data.mdb").unlink()
    if lost != "the index":
        for path in (mount.pool.path / "wal").iterdir():
            path.unlink()
    assert kept & dumps(mount)
    mount.pool.fsck("-y", "-f", code=None)
    mount.pool.fsck("-n", code=0)
    mount.start()
    check(mount, data)


@pytest.mark.asan
def test_what_does_not_read_back_is_dropped(leveled, home):
    mount = leveled(3, zstd_level=0)
    data = fill(mount)
    before = hot(mount)
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = "move_read_back:1+=EIO"
    mount.expect_log("does not read back")
    mount.start()
    move(mount, "cold", mount.dir, code=1)
    assert packs(home / "cold") == [] and hot(mount) == before
    settled(mount, home, data, "cold")


def test_a_move_that_is_stopped_leaves_nothing(leveled, home):
    mount = leveled(3, zstd_level=0)
    data = fill(mount)
    mount.stop()
    path = mount.pool.path / "foldfs.conf"
    path.write_text(path.read_text() + "age = 1s\n")
    mount.start(tier_interval="1s", tier_rate="64K")
    env.until(lambda: status(mount)["mover"]["moving"], "a pack is moving")
    mount.stop()
    assert not packs(home / "cold") and not list((home / "cold").glob("*.part"))
    mount.start(tier_interval="1s", tier_rate=0)
    env.until(lambda: packs(home / "cold") and not hot(mount), "all packs are cold")
    check(mount, data)
    settled(mount, home, data, "cold")


@pytest.mark.asan
def test_what_gc_takes_meanwhile_is_not_moved(leveled, home):
    """A pack is rewritten while it is compressed anew: the move is given up, and another one finds what there is."""
    mount = leveled(3, zstd_level=0, gc_min_live="100", gc_rate=0)
    data = fill(mount, files=6, size=2 * MIB)
    mount.stop()
    path = mount.pool.path / "foldfs.conf"
    path.write_text(path.read_text() + "age = 1s\n")
    mount.start(tier_interval="1s", tier_rate="64K")
    moving = env.until(lambda: status(mount)["mover"]["moving"], "a pack is moving") + ".pack"
    assert moving in hot(mount)
    for name in ["f0", "f2", "f4"]:
        (mount.dir / name).unlink()
        del data[name]
    mount.gc()
    assert moving not in hot(mount)
    assert status(mount)["mover"]["moving"] and not packs(home / "cold")
    env.until(lambda: not move(mount, "cold", mount.dir, code=None).returncode and not hot(mount), "all is cold")
    settled(mount, home, data, "cold")


def test_a_bad_level_is_refused(leveled, home):
    mount = leveled(19)
    mount.stop()
    for level in ["0", "23", "-3", "best"]:
        (mount.pool.path / "foldfs.conf").write_text(f"[tier cold]\nplace = {home / 'cold'}\nlevel = {level}\n")
        done = mount.pool.run("mount.foldfs", mount.pool.path, mount.dir, code=None)
        assert done.returncode and f"level={level}: a number within 1..22 is wanted" in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_was_read_lately_stays_where_it_went(leveled, home):
    """The new pack was last read when the old one was: a day after it was written, which is not long ago."""
    mount = leveled(3, zstd_level=0)
    mount.stop()
    (home / "warm").mkdir()
    (mount.pool.path / "foldfs.conf").write_text(f"[tier warm]\nplace = {home / 'warm'}\nlevel = 3\n"
                                                 f"[tier cold]\nplace = {home / 'cold'}\nage = 12h\n")
    clock = Clock(mount.pool)
    mount.start()
    data = fill(mount, files=2)
    mount.stop()
    clock.set(86400)
    mount.start()
    assert fresh(mount.dir / "f0") == data["f0"]
    move(mount, "warm", mount.dir)
    there = packs(home / "warm")
    mount.remount(tier_interval="1s")
    env.until(lambda: packs(home / "cold"), "what nobody read is cold")
    passes = status(mount)["mover"]["passes"]
    env.until(lambda: status(mount)["mover"]["passes"] > passes + 1, "it has looked again")
    assert packs(home / "warm") and set(packs(home / "warm") + packs(home / "cold")) == set(there)
    settled(mount, home, data, "warm", "cold")
