# SPDX-License-Identifier: MIT
"""Damage below a mounted pool: found, named, never served, and healed by the same bytes written again."""

import json
import os
import signal
import subprocess

import pytest

import env
from pattern import noise, text

pytestmark = pytest.mark.foldfs

KIB = 1 << 10
MIB = 1 << 20
DAMAGED = 3

COMPRESSED = b"".join(text(20_000, seed) for seed in range(60))


def packs(mount):
    return sorted((mount.pool.path / "packs").glob("*.pack"))


def flip(path, at, bit=2):
    with open(path, "r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), at)


def flip_where(mount, needle, skip=0):
    """Flips a bit of the first stored copy of these bytes. False: they are not stored as they are."""
    for path in packs(mount):
        at = path.read_bytes().find(needle)
        if at >= 0:
            flip(path, at + skip)
            return True
    return False


def forget_caches():
    """So that what is read comes from the packs."""
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


def scrub(mount, *words, code=0):
    done = mount.foldfs("scrub", *words, "--json", mount.dir, code=code, timeout=600)
    return json.loads(done.stdout)


def paths(result):
    return sorted(entry["path"] for entry in result["files"])


def read_error(path):
    with pytest.raises(OSError) as caught:
        path.read_bytes()
    return caught.value.errno


def expect_damage(mount):
    mount.expect_log(r"scrub.*damaged")
    mount.expect_log(r"pack [0-9a-f]{16}, frame at")
    mount.expect_log(r"has its bytes again")


@pytest.mark.asan
def test_all_is_well(mount):
    (mount.dir / "f").write_bytes(noise(4 * MIB))
    (mount.dir / "g").write_bytes(COMPRESSED)
    (mount.dir / "empty").touch()
    assert scrub(mount, "status")["state"] == "never"
    mount.destage()
    result = scrub(mount)
    assert result["state"] == "finished"
    assert result["bytes_done"] == result["bytes_total"] > 4 * MIB
    assert not result["damage"] and not result["files"]
    text_for_people = mount.foldfs("scrub", mount.dir).stdout
    assert "No damage found" in text_for_people


@pytest.mark.asan
@pytest.mark.parametrize("compressed", [False, True])
def test_who_reads_damage_makes_it_known(new_mount, compressed):
    """No scrub is needed: the same bytes written again are no duplicate of what did not read."""
    mount = new_mount(cache_size=0)
    expect_damage(mount)
    data = COMPRESSED if compressed else noise(2 * MIB, 9)
    (mount.dir / "old").write_bytes(data)
    mount.destage()
    if compressed:
        flip(packs(mount)[0], 100_000)
    else:
        assert flip_where(mount, data[MIB:MIB + 64])
    forget_caches()
    assert read_error(mount.dir / "old") == 5
    result = scrub(mount, "status", code=DAMAGED)
    assert paths(result) == ["/old"] and result["state"] == "never"
    (mount.dir / "again").write_bytes(data)
    mount.destage()
    forget_caches()
    assert (mount.dir / "old").read_bytes() == data
    assert not scrub(mount)["damage"]


@pytest.mark.asan
def test_a_flipped_bit_is_named_and_healed(new_mount):
    mount = new_mount(cache_size=0)
    expect_damage(mount)
    data = noise(4 * MIB, 7)
    (mount.dir / "dir").mkdir()
    (mount.dir / "dir" / "old").write_bytes(data)
    (mount.dir / "other").write_bytes(noise(4 * MIB, 8))
    mount.destage()
    env.run("cp", "--reflink=auto", mount.dir / "dir" / "old", mount.dir / "clone")
    mount.destage()
    assert flip_where(mount, data[2 * MIB:2 * MIB + 64])

    result = scrub(mount, code=DAMAGED)
    assert paths(result) == ["/clone", "/dir/old"]
    assert len(result["damage"]) == 1 and len(result["damage"][0]["chunks"]) == 1
    assert result["damage"][0]["pack"] + ".pack" == packs(mount)[0].name
    told = mount.foldfs("scrub", "status", mount.dir, code=DAMAGED).stdout
    assert "Damaged file: /dir/old" in told
    assert "damaged file: /dir/old" in mount.log.read_text()

    forget_caches()
    assert read_error(mount.dir / "dir" / "old") == 5
    assert (mount.dir / "other").read_bytes() == noise(4 * MIB, 8)
    with open(mount.dir / "dir" / "old", "rb") as file:
        assert file.read(MIB) == data[:MIB]  # the rest of it is as it was

    mount.remount()
    expect_damage(mount)
    (mount.dir / "again").write_bytes(data)
    mount.destage()
    os.unlink(mount.dir / "again")
    forget_caches()
    assert (mount.dir / "dir" / "old").read_bytes() == data
    assert (mount.dir / "clone").read_bytes() == data
    result = scrub(mount)
    assert not result["damage"] and not result["files"]
    mount.gc()
    mount.remount()
    assert (mount.dir / "dir" / "old").read_bytes() == data


@pytest.mark.parametrize("error", ["EIO", "ENOMEM", "ENOSPC"])
def test_a_passing_error_of_reading_costs_nothing(new_mount, error):
    """A duplicate is to be compared with what is stored, which cannot be read just then."""
    mount = new_mount(cache_size=0, verify_age=0)
    content = noise(1_000_000)
    (mount.dir / "old").write_bytes(content)
    mount.destage()
    mount.stop()
    mount.expect_log("pack_read|does not read back|cannot be read|frame at|pack ")
    mount.pool.environ["FOLDFS_FAULT"] = f"pack_read:1+={error}"
    mount.start()
    (mount.dir / "new").write_bytes(content[:100_000])
    mount.destage()
    mount.stop()
    del mount.pool.environ["FOLDFS_FAULT"]
    mount.start()
    assert (mount.dir / "old").read_bytes() == content
    assert (mount.dir / "new").read_bytes() == content[:100_000]


@pytest.mark.asan
def test_a_compressed_frame_is_healed_chunk_by_chunk(new_mount):
    mount = new_mount(cache_size=0)
    expect_damage(mount)
    (mount.dir / "old").write_bytes(COMPRESSED)
    mount.destage()
    size = packs(mount)[0].stat().st_size
    flip(packs(mount)[0], size // 2)
    result = scrub(mount, code=DAMAGED)
    assert paths(result) == ["/old"]
    assert len(result["damage"]) == 1
    (mount.dir / "again").write_bytes(b"begun otherwise" + COMPRESSED)
    (mount.dir / "longer").write_bytes(COMPRESSED + b"ended otherwise")  # the frame may have the first chunk
    mount.destage()
    forget_caches()
    assert (mount.dir / "old").read_bytes() == COMPRESSED
    assert (mount.dir / "again").read_bytes() == b"begun otherwise" + COMPRESSED
    assert scrub(mount)["rotten"] == 0


@pytest.mark.asan
def test_the_kernels_cache_hides_nothing(mount):
    """The file reads well from memory, and is damaged on the disk."""
    expect_damage(mount)
    data = noise(MIB, 3)
    (mount.dir / "f").write_bytes(data)
    mount.destage()
    assert (mount.dir / "f").read_bytes() == data
    assert flip_where(mount, data[MIB // 2:MIB // 2 + 32])
    assert paths(scrub(mount, code=DAMAGED)) == ["/f"]


def test_damage_of_deleted_files_goes_with_them(mount):
    expect_damage(mount)
    mount.expect_log(r"gc: pack .* stays")
    data = noise(2 * MIB, 4)
    (mount.dir / "f").write_bytes(data)
    (mount.dir / "keeps").write_bytes(noise(2 * MIB, 5))
    mount.destage()
    assert flip_where(mount, data[MIB:MIB + 32])
    scrub(mount, code=DAMAGED)
    os.unlink(mount.dir / "f")
    mount.gc()
    assert paths(scrub(mount)) == []
    assert (mount.dir / "keeps").read_bytes() == noise(2 * MIB, 5)


def test_a_file_without_a_name_is_named_by_its_number(mount):
    expect_damage(mount)
    data = noise(MIB, 6)
    with open(mount.dir / "f", "w+b") as file:
        file.write(data)
    mount.destage()
    with open(mount.dir / "f", "rb") as file:
        ino = os.fstat(file.fileno()).st_ino
        assert flip_where(mount, data[MIB // 2:MIB // 2 + 32])
        os.unlink(mount.dir / "f")
        result = scrub(mount, code=DAMAGED)
        assert result["files"] == [{"inode": ino, "path": None}]


# ---- beginning, stopping, going on ----


def slow_mount(new_mount):
    mount = new_mount(scrub_rate="1K")
    for number in range(4):
        (mount.dir / f"f{number}").write_bytes(noise(MIB, number))
    mount.destage()
    return mount


def running(mount):
    result = scrub(mount, "status")
    return result["state"] == "running" and result["frames"] > 0


def test_stop_and_go_on(new_mount):
    mount = slow_mount(new_mount)
    assert scrub(mount, "start")["state"] in ("never", "running")
    env.until(lambda: running(mount), "the scrub has seen something")
    stopped = scrub(mount, "stop")
    assert stopped["state"] == "stopped"
    assert 0 < stopped["bytes_done"] < stopped["bytes_total"]
    mount.remount(scrub_rate=None)
    assert scrub(mount, "status") == stopped
    done = scrub(mount)
    assert done["state"] == "finished" and done["began"] == stopped["began"]
    assert done["bytes_done"] == done["bytes_total"]


@pytest.mark.parametrize("end", ["unmount", "crash"])
def test_an_unmount_or_a_crash_only_interrupts(new_mount, end):
    mount = slow_mount(new_mount)
    began = scrub(mount, "start")["began"] or None
    env.until(lambda: running(mount), "the scrub has seen something")
    began = scrub(mount, "status")["began"]
    mount.sync()
    if end == "crash":
        mount.kill()
        mount.start(scrub_rate=None)
    else:
        mount.remount(scrub_rate=None)
    env.until(lambda: scrub(mount, "status")["state"] == "finished", "it has gone on by itself")
    assert scrub(mount, "status")["began"] == began


def test_who_is_interrupted_stops_it(new_mount):
    mount = slow_mount(new_mount)
    with subprocess.Popen([env.binary("foldfs"), "scrub", mount.dir], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        env.until(lambda: running(mount), "the scrub has seen something")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (out, err) == (b"", b"")  # silent where there is no terminal
        assert process.returncode == -signal.SIGINT
    env.until(lambda: scrub(mount, "status")["state"] == "stopped", "the scrub has stopped")


def test_it_begins_by_itself(new_mount):
    mount = new_mount()
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.destage()
    assert scrub(mount, "status")["state"] == "never"
    mount.remount(scrub_interval="1d")
    env.until(lambda: scrub(mount, "status")["state"] == "finished", "it was scrubbed")


def test_what_cannot_be(new_mount):
    mount = new_mount()
    pool = mount.pool
    mount.remount(ro=True)
    assert "read-only" in mount.foldfs("scrub", mount.dir, code=1).stderr
    mount.remount(ro=None)
    mount.stop()
    assert "not mounted" in pool.run("foldfs", "scrub", "start", pool.path, code=1).stderr
    pool.run("foldfs", "scrub", "now", pool.path, code=2)
    pool.run("foldfs", "scrub", code=2)
    assert "Never scrubbed" in pool.run("foldfs", "scrub", "status", pool.path).stdout
    assert "No damage found" in pool.run("foldfs", "scrub", pool.path).stdout


def test_a_pool_that_is_not_mounted(new_mount):
    mount = new_mount()
    data = noise(MIB, 9)
    (mount.dir / "f").write_bytes(data)
    mount.destage()
    mount.stop()
    assert flip_where(mount, data[MIB // 2:MIB // 2 + 32])
    done = mount.pool.run("foldfs", "scrub", "--json", mount.pool.path, code=DAMAGED)
    assert paths(json.loads(done.stdout)) == ["/f"]


# ---- beside everything else ----


def test_gc_and_writers_beside_it(new_mount):
    mount = new_mount(gc_min_live=100)
    for number in range(12):
        (mount.dir / f"f{number}").write_bytes(noise(MIB, number))
    mount.destage()
    for round_number in range(6):
        scrub(mount, "start")
        for number in range(round_number, 12, 3):
            (mount.dir / f"f{number}").write_bytes(noise(MIB, 100 * round_number + number))
        mount.destage()
        mount.gc()
    result = scrub(mount)
    assert not result["bad_chunks"] and not result["damage"]


def test_chunks_of_a_frame_that_tells_nothing_are_healed_one_by_one(new_mount):
    """Head and bytes of the frame are damaged. When one chunk has its bytes again, the row of the other
    one still names the damaged place, and only the index of digests can tell what belongs there."""
    mount = new_mount(destage_delay=0)
    mount.expect_log("scrub|checksum|damaged|rotten|: head$")
    contents = {name: noise(20_000, number) for number, name in enumerate("abc")}
    for name, data in contents.items():
        (mount.dir / name).write_bytes(data)
    mount.destage()
    mount.stop()
    pack, = (mount.pool.path / "packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    for at in range(64 + 48, 60_000, 100):
        data[at] ^= 1
    pack.write_bytes(data)
    mount.start()
    scrub(mount, code=DAMAGED)
    for name, data in contents.items():
        (mount.dir / f"{name} again").write_bytes(data)
        mount.destage()
    for name, data in contents.items():
        assert (mount.dir / name).read_bytes() == data, name
