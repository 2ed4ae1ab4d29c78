# SPDX-License-Identifier: MIT
"""Refusals: one clear sentence on stderr, the right exit code, and the pool left as it was."""

import errno
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

import env
import pools
import superblock
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

USAGE, FAILED = 1, 32          # mount(8)
FSCK_UNCORRECTED, FSCK_ERROR, FSCK_USAGE = 4, 8, 16
COPY = 4096                    # the superblock's copies lie at 0 and here


def fingerprint(root):
    """Everything of the pool, byte for byte; the lock files are only there to be locked."""
    found = {}
    for path in sorted([Path(root), *Path(root).rglob("*")]):
        if path.name == "lock.mdb":
            continue
        st = path.lstat()
        facts = [oct(st.st_mode), st.st_uid, st.st_gid]
        if path.is_file():
            facts += [st.st_size, hashlib.blake2b(path.read_bytes()).hexdigest()]
            if path.name != "lock":
                facts.append(st.st_mtime_ns)
        found[str(path.relative_to(root))] = facts
    return found


def one_sentence(text, *mentions):
    """The text is one line that says who speaks, and names what it is about."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, f"not one sentence:\n{text}"
    assert 20 <= len(lines[0]) <= 400, lines[0]
    for mention in mentions:
        assert str(mention) in lines[0], f"'{mention}' is not named in: {lines[0]}"
    noise_words = r"errno|\b0x[0-9a-f]|\(null\)|assert|Segmentation"
    assert not re.search(noise_words, lines[0]), lines[0]


@pytest.fixture
def pool(home):
    """A small one: its bytes are compared again and again."""
    return pools.Pool(home, cache_size="4M", reserve_size="4M")


@pytest.fixture
def filled(pool):
    """A pool with content, cleanly unmounted, and its fingerprint."""
    mount = pools.Mount(pool).start()
    (mount.dir / "f").write_bytes(noise(300_000))
    mount.destage()
    mount.stop()
    pool.before = fingerprint(pool.path)
    return pool


def refuse_mount(pool, *mentions, options=None, code=FAILED, path=None, directory=None):
    directory = directory or pool.home / "mnt"
    argv = [path or pool.path, directory]
    if options:
        argv += ["-o", options]
    done = pool.run("mount.foldfs", *argv, code=code)
    one_sentence(done.stderr, *mentions)
    assert done.stdout == ""
    assert not os.path.ismount(directory)
    return done


def unchanged(pool):
    after = fingerprint(pool.path)
    assert after == pool.before, {k: (pool.before.get(k), after.get(k))
                                  for k in pool.before.keys() | after.keys()
                                  if pool.before.get(k) != after.get(k)}


def still_mounts(pool):
    mount = pools.Mount(pool).start()
    try:
        assert (mount.dir / "f").read_bytes() == noise(300_000)
    finally:
        mount.stop()


# ---- what is not a pool


@pytest.mark.parametrize("kind", ["empty directory", "files", "regular file", "missing"])
def test_not_a_pool(pool, kind):
    path = pool.home / "other"
    if kind == "regular file":
        path.write_text("something")
    elif kind != "missing":
        path.mkdir()
        if kind == "files":
            (path / "precious").write_text("data")
    before = fingerprint(path) if path.exists() else None
    (pool.home / "mnt").mkdir()
    refuse_mount(pool, path, path=path)
    for command in (["fsck.foldfs", "-n", path], ["foldfs", "gc", path], ["foldfs", "stats", path]):
        done = pool.run(*command, code=None)
        assert done.returncode == (FSCK_ERROR if command[0] == "fsck.foldfs" else 1), command
        one_sentence(done.stderr, path)
    assert (fingerprint(path) if path.exists() else None) == before
    assert path.exists() or kind == "missing", "a missing directory is refused, not made"


def test_mkfs_refuses_what_is_not_empty(filled):
    done = filled.run("mkfs.foldfs", filled.path, code=1)
    one_sentence(done.stderr, filled.path)
    unchanged(filled)
    other = filled.home / "other"
    other.mkdir()
    (other / "precious").write_text("data")
    done = filled.run("mkfs.foldfs", other, code=1)
    one_sentence(done.stderr, other)
    assert os.listdir(other) == ["precious"]


def test_mkfs_on_a_file_or_below_nothing(pool):
    file = pool.home / "file"
    file.write_text("x")
    one_sentence(pool.run("mkfs.foldfs", file, code=1).stderr, file)
    assert file.read_text() == "x"
    nowhere = pool.home / "no" / "where"
    one_sentence(pool.run("mkfs.foldfs", nowhere, code=1).stderr, nowhere)
    assert not nowhere.parent.exists()


# ---- the superblock


def damage(pool, change):
    path = pool.path / "super"
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    pool.before = fingerprint(pool.path)


def flip(*offsets):
    def change(data):
        for offset in offsets:
            data[offset] ^= 0xff
    return change


SUPERBLOCKS = {
    "empty": lambda data: data.clear(),
    "cut short": lambda data: data.__delitem__(slice(100, None)),
    "first half page": lambda data: data.__delitem__(slice(2048, None)),
    "magic altered": flip(0, COPY),
    "altered early": flip(20, COPY + 20),
    "altered late": flip(100, COPY + 100),
    "zeroed": lambda data: data.__setitem__(slice(None), bytes(len(data))),
    "noise": lambda data: data.__setitem__(slice(None), noise(len(data))),
}


@pytest.mark.parametrize("kind", SUPERBLOCKS)
def test_truncated_or_altered_superblock(filled, kind):
    damage(filled, SUPERBLOCKS[kind])
    refuse_mount(filled, filled.path)
    unchanged(filled)
    done = filled.run("fsck.foldfs", "-n", filled.path, code=None)
    assert done.returncode in (FSCK_UNCORRECTED, FSCK_ERROR)
    assert str(filled.path) in done.stderr + done.stdout
    unchanged(filled)


@pytest.mark.parametrize("copy", [0, 1])
def test_either_copy_of_the_superblock_is_enough(filled, copy):
    damage(filled, lambda data: data.__setitem__(slice(copy * COPY, (copy + 1) * COPY), noise(COPY)))
    mount = pools.Mount(filled)
    mount.expect_log("super")
    mount.start()
    assert (mount.dir / "f").read_bytes() == noise(300_000)
    mount.stop()


@pytest.mark.parametrize("what", ["version", "feature", "chunker"])
def test_newer_format(filled, what):
    damage(filled, lambda data: newer(data, what))
    done = refuse_mount(filled, filled.path)
    said = done.stderr.replace(str(filled.path), "")  # the path has the name of the test in it
    assert any(word in said for word in ("newer", "version", "feature")), done.stderr
    unchanged(filled)
    done = filled.run("fsck.foldfs", "-n", filled.path, code=FSCK_ERROR)
    one_sentence(done.stderr, filled.path)
    unchanged(filled)


def newer(data, what):
    """Both copies as a later foldfs would write them, checksum and all (see super_format.h)."""
    for start in (0, COPY):
        copy = data[start:start + COPY]
        assert superblock.is_sealed(copy), "the test knows the format"
        if what == "version":
            superblock.put(copy, "version", superblock.get(copy, "version") + 1)
        elif what == "chunker":
            superblock.put(copy, "chunker", 3)
        else:
            superblock.put(copy, "incompat", superblock.get(copy, "incompat") | 1 << 40)
        superblock.seal(copy)
        data[start:start + COPY] = copy


# ---- missing and unusable parts


@pytest.mark.parametrize("part", ["super", "index", "packs"])
def test_a_missing_part_is_refused_not_made_again(filled, part):
    (filled.path / part).rename(filled.home / "away")
    filled.before = fingerprint(filled.path)
    refuse_mount(filled, filled.path)
    unchanged(filled)
    assert not (filled.path / part).exists()
    (filled.home / "away").rename(filled.path / part)
    still_mounts(filled)


@pytest.mark.parametrize("kind", ["absent", "foreign"])
def test_wal_of_another_place(filled, kind):
    """wal_dir= pointing at nothing, or at the log of another pool, is refused."""
    wal = filled.home / "wal"
    if kind == "foreign":
        home = filled.home / "second"
        home.mkdir()
        other = pools.Pool(home)
        mount = pools.Mount(other).start()
        (mount.dir / "x").write_text("x")
        mount.stop()
        (other.path / "wal").rename(wal)
    refuse_mount(filled, wal, options=f"wal_dir={wal}")
    unchanged(filled)
    assert kind == "foreign" or not wal.exists()
    still_mounts(filled)


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_lost_index_is_not_begun_anew(filled, kind):
    file = filled.path / "index" / "data.mdb"
    if kind == "missing":
        file.unlink()
    else:
        os.truncate(file, 0)
    filled.before = fingerprint(filled.path)
    refuse_mount(filled, filled.path, "data.mdb", "fsck")
    unchanged(filled)


def test_wal_dir_with_other_files(filled, home):
    """A directory that others use is not taken for the log."""
    place = home / "downloads"
    place.mkdir()
    (place / "letter").write_text("mine")
    refuse_mount(filled, place, "other files", options=f"wal_dir={place}")
    assert [path.name for path in place.iterdir()] == ["letter"]
    unchanged(filled)


def test_a_damaged_owner_of_the_log(filled):
    with open(filled.path / "wal" / "owner", "a") as file:
        file.write("more")
    filled.before = fingerprint(filled.path)
    refuse_mount(filled, filled.path, "wal/owner")
    unchanged(filled)


def test_a_damaged_log_mounts_read_only(filled):
    """What precedes the damage is shown, nothing is written, and the user is told both."""
    mount = pools.Mount(filled, wal_sync_interval="10ms").start()
    for number in range(20):
        (mount.dir / f"g{number}").write_bytes(b"x" * 5000)
        mount.sync()
    mount.kill()
    segment = max((path for path in (filled.path / "wal").glob("wal-*")),
                  key=lambda path: path.read_bytes().rstrip(b"\0").__len__())
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end // 2] ^= 0xff
    segment.write_bytes(data)
    done = filled.run("mount.foldfs", filled.path, mount.dir)
    one_sentence(done.stderr, filled.path, "read-only", "fsck")
    try:
        assert (mount.dir / "f").read_bytes() == noise(300_000)
        with pytest.raises(OSError) as caught:
            (mount.dir / "new").touch()
        assert caught.value.errno == errno.EROFS
    finally:
        filled.run("umount.foldfs", mount.dir)


def test_a_configuration_that_is_no_file(filled):
    (filled.path / "foldfs.conf").unlink()
    os.mkfifo(filled.path / "foldfs.conf")
    refuse_mount(filled, filled.path, "foldfs.conf")


def test_a_value_that_the_configuration_could_not_hold(home):
    done = env.run(env.binary("mkfs.foldfs"), "-o", "log=/tmp/x ;y", home / "p", code=None)
    assert done.returncode == USAGE
    one_sentence(done.stderr, "log", "/tmp/x ;y")
    assert not (home / "p").exists()


def test_remounting_what_is_not_mounted(filled):
    refuse_mount(filled, "not mounted by foldfs", options="remount,ro")
    unchanged(filled)


def test_missing_mount_point(filled):
    refuse_mount(filled, filled.home / "nowhere", directory=filled.home / "nowhere")
    assert not (filled.home / "nowhere").exists()
    unchanged(filled)


def test_mount_point_is_a_file(filled):
    file = filled.home / "file"
    file.write_text("x")
    refuse_mount(filled, file, directory=file)
    unchanged(filled)


def test_mounting_a_pool_onto_itself(filled):
    refuse_mount(filled, filled.path, directory=filled.path)
    unchanged(filled)


# ---- in use


def test_a_pool_already_mounted(filled):
    mount = pools.Mount(filled).start()
    try:
        second = filled.home / "second"
        second.mkdir()
        refuse_mount(filled, filled.path, directory=second)
        one_sentence(filled.run("fsck.foldfs", "-n", filled.path, code=FSCK_ERROR).stderr,
                     filled.path)
        one_sentence(filled.run("mkfs.foldfs", filled.path, code=1).stderr, filled.path)
        (mount.dir / "g").write_bytes(noise(1000))
        assert (mount.dir / "f").read_bytes() == noise(300_000)
    finally:
        mount.stop()
    still_mounts(filled)


# ---- options


BAD_OPTIONS = ["nonsense", "nonsense=1", "mode=sometimes", "mode=", "destage_delay=-1",
               "destage_delay=soon", "staging_limit=1X", "staging_limit=-5", "threads=7x",
               "wal_sync_interval=99999999999999999999", "max_write=3", "log=/no/such/place/log"]


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_mount_options(filled, option):
    (filled.home / "mnt").mkdir(exist_ok=True)
    refuse_mount(filled, option.split("=")[0] if "log=" not in option else "/no/such/place/log",
                 options=option, code=FAILED if "log=" in option else USAGE)
    unchanged(filled)


@pytest.mark.parametrize("options", ["low_watermark=95", "replicate=1m", "wal_dir=/no/such/place", None])
def test_a_fake_mount_finds_what_a_mount_would(filled, options):
    (filled.home / "mnt").mkdir(exist_ok=True)
    path = filled.path if options else filled.home / "mnt"
    (filled.home / "other").mkdir()
    argv = [path, filled.home / "other", *(["-o", options] if options else [])]
    real = filled.run("mount.foldfs", *argv, code=FAILED)
    one_sentence(real.stderr, *([options.split("=")[0]] if options else [path]))
    assert filled.run("mount.foldfs", "-f", *argv, code=FAILED).stderr == real.stderr
    filled.run("mount.foldfs", "-f", filled.path, filled.home / "other")
    unchanged(filled)


BAD_MKFS = ["nonsense", "chunker=magic", "chunker=", "chunker=fastcdc|mincdc", "chunk_min=1", "chunk_avg=1T", "chunk_max=0",
            "chunk_min=64K,chunk_avg=16K", "chunk_avg=100000000000000000000", "chunk_avg=-4",
            "label=" + "x" * 200]


@pytest.mark.parametrize("option", BAD_MKFS)
def test_bad_mkfs_options(home, option):
    place = pools.Pool.__new__(pools.Pool)
    place.home, place.path, place.environ = home, home / "pool", dict(os.environ)
    done = place.run("mkfs.foldfs", "-o", option, place.path, code=None)
    assert done.returncode == 1
    one_sentence(done.stderr, option.split("=")[0].split(",")[-1])
    assert not place.path.exists(), "nothing was made"


@pytest.mark.parametrize("argv", [
    ["mkfs.foldfs"], ["mkfs.foldfs", "--nonsense"], ["mkfs.foldfs", "a", "b"],
    ["mount.foldfs"], ["mount.foldfs", "only-one"], ["mount.foldfs", "--nonsense", "a", "b"],
    ["fsck.foldfs"], ["fsck.foldfs", "--nonsense", "a"], ["fsck.foldfs", "-n", "-y", "a"],
    ["foldfs"], ["foldfs", "nonsense"], ["foldfs", "stats"], ["foldfs", "stats", "--nonsense", "."]])
def test_bad_usage(home, argv):
    done = env.run(env.binary(argv[0]), *argv[1:], code=None, cwd=home)
    assert done.returncode == (FSCK_USAGE if argv[0] == "fsck.foldfs" else 1 if "mount" in argv[0]
                               else done.returncode) and done.returncode in (1, 2, 16)
    assert done.stderr.strip() and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) <= 4
    assert os.listdir(home) == []


@pytest.mark.parametrize("option, owner", [("--destage", "sync"), ("--media", "du")])
def test_an_option_of_another_command(filled, option, owner):
    """It is refused, not passed over."""
    for command in {"df", "du", "gc", "stats", "sync", "bench"} - {owner}:
        done = filled.run("foldfs", command, option, filled.path, code=2)
        one_sentence(done.stderr, option, f"foldfs {owner}")
        assert done.stdout == ""
    unchanged(filled)


def test_a_bad_line_in_the_pools_configuration(filled):
    conf = filled.path / "foldfs.conf"
    text = conf.read_text() if conf.exists() else ""
    conf.write_text(text + "\ndestage_delay = whenever\n")
    filled.before = fingerprint(filled.path)
    refuse_mount(filled, "foldfs.conf", "destage_delay", code=None)
    unchanged(filled)
    conf.write_text(text)
    still_mounts(filled)


@pytest.mark.parametrize("tool", ["mkfs.foldfs", "mount.foldfs", "fsck.foldfs", "foldfs"])
def test_help_and_version(tool):
    for option in ("--help", "--version"):
        done = env.run(env.binary(tool), option)
        assert done.stderr == "" and ("foldfs" in done.stdout)


# ---- the filesystem underneath


def test_read_only_backing(loop, home):
    pool = loop.pool(home)
    mount = pools.Mount(pool).start()
    (mount.dir / "f").write_bytes(noise(300_000))
    mount.destage()
    mount.stop()
    pool.before = fingerprint(pool.path)
    env.run("mount", "-o", "remount,ro", loop.dir)
    done = refuse_mount(pool, pool.path)
    assert "read-only" in done.stderr.lower()
    unchanged(pool)
    one_sentence(pool.run("mkfs.foldfs", loop.dir / "new", code=1).stderr, loop.dir / "new")
    env.run("mount", "-o", "remount,rw", loop.dir)
    still_mounts(pool)


def test_full_backing_refuses_or_serves(loop, home):
    """mkfs on a full disk leaves nothing; a pool whose disk filled up mounts, reads and deletes."""
    pool = loop.pool(home)
    mount = pools.Mount(pool).start()
    (mount.dir / "f").write_bytes(noise(300_000))
    (mount.dir / "big").write_bytes(noise(20 << 20, 2))
    mount.destage()
    mount.stop()
    with open(loop.dir / "filler", "wb", buffering=0) as filler:
        with pytest.raises(OSError):
            while True:
                filler.write(bytes(1 << 20))
        with pytest.raises(OSError):
            while True:
                filler.write(bytes(4096))
    done = pool.run("mkfs.foldfs", loop.dir / "new", code=1)
    one_sentence(done.stderr, loop.dir / "new")
    assert not (loop.dir / "new").exists()
    pool.before = fingerprint(pool.path)
    mount = pools.Mount(pool)
    mount.expect_log("[Nn]o space|ENOSPC|full")
    done = subprocess.run([env.binary("mount.foldfs"), pool.path, mount.dir, "-o",
                           f"log={mount.log}"], capture_output=True, text=True)
    if done.returncode:
        assert done.returncode == FAILED
        one_sentence(done.stderr, pool.path)
        assert "space" in done.stderr.lower()
        unchanged(pool)
        os.unlink(loop.dir / "filler")
        still_mounts(pool)
    else:
        mount.pid = pool.owner()
        assert (mount.dir / "f").read_bytes() == noise(300_000)
        os.unlink(mount.dir / "big")
        assert os.listdir(mount.dir) == ["f"]
        mount.stop()
        os.unlink(loop.dir / "filler")
        mount.start()
        assert os.listdir(mount.dir) == ["f"]
        assert (mount.dir / "f").read_bytes() == noise(300_000)
        mount.stop()


def test_a_pool_mounts_where_no_whole_log_segment_fits(loop, home):
    """With a few MiB free the log makes do with small segments; deleting and closing work."""
    pool = loop.pool(home)
    mount = pools.Mount(pool).start()
    for name in ("kept", "deleted"):
        (mount.dir / name).write_bytes(noise(300_000, len(name)))
    mount.destage()
    mount.stop()
    (pool.path / "reserve").unlink(missing_ok=True)
    with open(loop.dir / "filler", "wb") as filler:
        free = os.statvfs(loop.dir)
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize - (15 << 20))
    former = set((pool.path / "wal").iterdir())
    mount.expect_log("[Nn]o space|ENOSPC|full|reserve")
    mount.start()
    (mount.dir / "deleted").unlink()

    def sizes():
        return [path.stat().st_size for path in set((pool.path / "wal").iterdir()) - former]

    env.until(lambda: len(sizes()) > 1, "a spare segment is there")
    assert max(sizes()) < 16 << 20
    mount.stop()
    mount.start()
    assert os.listdir(mount.dir) == ["kept"]
    assert (mount.dir / "kept").read_bytes() == noise(300_000, 4)
    mount.stop()


def test_filling_the_disk_gives_enospc_and_loses_nothing(loop, home):
    """Writers get ENOSPC, all that was accepted and synced stays, deleting makes room again."""
    import errno
    pool = loop.pool(home)
    mount = pools.Mount(pool)
    mount.expect_log("[Nn]o space|ENOSPC|full")
    mount.start()
    kept, code = [], None
    for number in range(200):
        path = mount.dir / f"f{number}"
        try:
            with open(path, "wb", buffering=0) as file:
                view = memoryview(noise(4 << 20, number))
                while view:
                    view = view[file.write(view):]
                os.fsync(file.fileno())
            kept.append(number)
        except OSError as exc:
            code = exc.errno
            break
    assert code == errno.ENOSPC and len(kept) > 10
    for number in kept:
        assert (mount.dir / f"f{number}").read_bytes() == noise(4 << 20, number)
    for number in kept[10:]:
        os.unlink(mount.dir / f"f{number}")
    (mount.dir / f"f{kept[-1] + 1}").unlink(missing_ok=True)
    mount.sync()
    mount.gc()

    def write_again():
        try:
            (mount.dir / "again").write_bytes(noise(8 << 20, 999))
            return True
        except OSError as exc:
            assert exc.errno == errno.ENOSPC
            return False
    env.until(write_again, "there is room again", timeout=60)
    mount.stop()
    mount.start()
    for number in kept[:10]:
        assert (mount.dir / f"f{number}").read_bytes() == noise(4 << 20, number)
    assert (mount.dir / "again").read_bytes() == noise(8 << 20, 999)
    mount.stop()
