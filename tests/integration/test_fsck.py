# SPDX-License-Identifier: MIT
"""fsck.foldfs on pools with real content: looking changes nothing, repairing makes the pool sound,
and what the damage did not hit is as it was. Each kind of damaged row is test_repair.c's business."""

import hashlib
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess

import pytest

import env
import people
import pools
import trees
from pattern import noise, text

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

CLEAN, CORRECTED, LEFT, FAILED, USAGE, CANCELLED = 0, 1, 4, 8, 16, 32


def files_of(root):
    """{path: digest} of everything in the pool, to see that nothing was changed."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found[path] = hashlib.blake2b(path.read_bytes()).hexdigest()
    return found


def fill(mount):
    """One of everything, some of it destaged and some of it not."""
    top = mount.dir
    for number in range(6):
        (top / f"dir{number}" / "deep").mkdir(parents=True)
        (top / f"dir{number}" / "small").write_bytes(text(900, number))
        (top / f"dir{number}" / "deep" / "large").write_bytes(noise(900_000, number))
    os.link(top / "dir0" / "deep" / "large", top / "dir1" / "second-name")
    os.symlink("dir0/small", top / "link")
    os.mkfifo(top / "fifo")
    os.setxattr(top / "dir2" / "small", "user.colour", b"blue")
    with open(top / "sparse", "wb") as file:
        file.seek(3_000_000)
        file.write(noise(200_000, 90))
    mount.destage()
    env.run("cp", top / "dir3" / "deep" / "large", top / "clone")
    shutil.copyfile(top / "dir4" / "deep" / "large", top / "copy")
    mount.destage()
    (top / "dir5" / "staged").write_bytes(noise(400_000, 91))


@pytest.fixture
def pool(home):
    """A small one: its bytes are compared and copied again and again."""
    return pools.Pool(home, cache_size="4M", reserve_size="4M")


@pytest.fixture
def filled(pool):
    mount = pools.Mount(pool, destage_delay="600s").start()
    fill(mount)
    pool.before = trees.snapshot(mount.dir, times=False)
    mount.stop()
    pool.mount = mount
    return pool


def repair(pool, *options):
    """Looks, which finds something and changes nothing; repairs; looks again. The repair's output."""
    before = files_of(pool.path)
    found = pool.fsck("-n", code=LEFT)
    assert files_of(pool.path) == before, "looking changes nothing"
    done = pool.fsck(*(options or ["-y"]), code=CORRECTED)
    pool.fsck("-n")
    return found.stdout + done.stdout


def contents(pool):
    """What a mount shows now: {path: facts}; data None where reading fails."""
    pool.mount.expect_log("foldfs error: ")
    pool.mount.start()
    found = {}
    for directory, names, files in os.walk(os.fsencode(pool.mount.dir)):
        for name in files + names:
            path = os.path.join(directory, name)
            key = os.path.relpath(path, os.fsencode(pool.mount.dir))
            try:
                found[key] = trees.describe(path, os.lstat(path), False)
            except OSError as exc:
                assert exc.errno == 5, exc
                found[key] = {"data": None}
    pool.mount.stop()
    return found


def data_of(facts):
    return {name: fact.get("data") for name, fact in facts.items() if "data" in fact}


def packs(pool):
    return sorted((pool.path / "packs").glob("*.pack"))


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        file.write(data)


def test_options(filled):
    for options in (["-n"], ["-p"], ["-a"], ["-y"], ["-f", "-y"], ["-v", "-n"], ["-C0", "-a"],
                    ["-n", "--json"], ["-C", "3", "-y", "-v"], ["-r", "-n"]):
        assert filled.fsck(*options).returncode == CLEAN, options
    for options in (["-n", "-y"], ["-p", "-y"], ["--nonsense"], ["-C"], []):
        done = filled.run("fsck.foldfs", *options, filled.path, code=USAGE)
        assert done.stdout == "" and done.stderr.count("\n") == 1, options


def test_a_missing_pack_and_its_return(filled):
    pack = packs(filled)[0]
    away = filled.home / "away"
    pack.rename(away)
    before = files_of(filled.path)
    done = filled.fsck("-p", code=LEFT)
    assert "use -y" in done.stdout and files_of(filled.path) == before
    said = repair(filled)
    assert "/dir0/deep/large" in said and "bytes from 0 on cannot be read" in said
    now = data_of(contents(filled))
    whole = data_of(filled.before)
    lost = [name for name in whole if now[name] is None]
    assert lost and all(now[name] == whole[name] for name in whole if name not in lost)
    assert any(name.endswith(b"staged") for name in set(whole) - set(lost))
    away.rename(pack)
    done = filled.fsck("-y", "-f", code=CORRECTED)
    assert "is there again" in done.stdout
    assert data_of(contents(filled)) == data_of(filled.before)


def test_a_pack_that_returns_is_not_removed_by_a_mount(filled):
    pack = packs(filled)[0]
    away = filled.home / "away"
    pack.rename(away)
    filled.fsck("-y", code=CORRECTED)
    away.rename(pack)
    contents(filled)
    assert pack.exists()
    filled.fsck("-y", "-f", code=CORRECTED)
    assert data_of(contents(filled)) == data_of(filled.before)


def test_a_pack_of_another_pool_that_looks_alike(home):
    """The same number, the same frames at the same places: only the header tells them apart. Its bytes
    are never shown, nor does a repair take them in, and the right file brings everything back."""
    mounts = []
    for name in ("ours", "theirs"):
        (home / name).mkdir()
        mount = pools.Mount(pools.Pool(home / name, cache_size=0), destage_delay="600s").start()
        (mount.dir / "file").write_bytes(noise(12_000, len(mounts)))
        mount.destage()
        mount.stop()
        mounts.append(mount)
    ours, theirs = (mount.pool for mount in mounts)
    ours.mount = mounts[0]
    (pack,), (other,) = packs(ours), packs(theirs)
    assert pack.name == other.name and pack.stat().st_size == other.stat().st_size
    right = pack.read_bytes()
    shutil.copyfile(other, pack)
    ours.mount.start()
    with pytest.raises(OSError, match="Input/output"):
        (ours.mount.dir / "file").read_bytes()
    ours.mount.unmount()
    ours.mount.pid = None
    assert "another pool" in ours.fsck("-n", code=LEFT).stdout
    ours.fsck("-y", code=CORRECTED)
    ours.fsck("-n")
    assert data_of(contents(ours)) == {b"file": None}
    assert pack.read_bytes() == other.read_bytes(), "what is not ours is left alone"
    pack.write_bytes(right)
    ours.fsck("-y", "-f", code=CORRECTED)
    assert data_of(contents(ours)) == {b"file": hashlib.blake2b(noise(12_000, 0),
                                                                digest_size=16).hexdigest()}


@pytest.fixture
def stray(pool):
    """Packs that were filled before anything about them was durable, and the names of them."""
    pool.mount = pools.Mount(pool, wal_sync_interval="60s", destage_delay="0s", pack_size="4M").start()
    (pool.mount.dir / "known").write_bytes(noise(600_000, 1))
    pool.mount.destage()
    pool.mount.sync()
    pool.before = trees.snapshot(pool.mount.dir, times=False)
    known = set(packs(pool))
    for number in range(8):
        (pool.mount.dir / f"f{number}").write_bytes(noise(3_000_000, 2 + number))
    env.until(lambda: len(packs(pool)) > 5, "packs are filled")
    pool.mount.kill()
    pool.mount.options["destage_delay"] = "600s"  # names of packs are not given again meanwhile
    return pool, set(packs(pool)) - known


def test_packs_that_a_crash_left_are_given_back_by_a_mount(stray):
    pool, left = stray
    told = pool.fsck("-n", "-v").stdout
    assert all(f"packs/{pack.name} was written before a crash" in told for pack in left), told
    assert left <= set(packs(pool))
    pool.mount.start(ro=True)
    pool.mount.stop()
    pool.mount.options["ro"] = None
    assert left <= set(packs(pool))
    now = contents(pool)
    assert not left & set(packs(pool))
    assert data_of(now).items() >= data_of(pool.before).items()
    assert "note: packs/" not in pool.fsck("-n", "-v").stdout


@pytest.mark.parametrize("how", ["-p", "-y"])
def test_packs_that_a_crash_left_are_given_back_by_fsck(stray, how):
    pool, left = stray
    done = pool.fsck(how, "-v")
    assert "that a crash left, and nothing refers to, are removed" in done.stdout
    assert not left & set(packs(pool))
    assert data_of(contents(pool)).items() >= data_of(pool.before).items()


def scrubbed(mount):
    """How many chunks the pool lacks after it."""
    done = mount.foldfs("scrub", "--json", mount.dir, code=None, timeout=600)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["rotten"]


def test_a_pack_comes_back_when_some_of_it_was_healed(pool):
    """What was not healed of its frames is found again by scrub."""
    mount = pools.Mount(pool, destage_delay="600s").start()
    whole = text(900_000, 3)
    (mount.dir / "old").write_bytes(whole)
    mount.destage()
    mount.stop()
    mount.expect_log("foldfs error: ")
    mount.expect_log("foldfs warning: ")
    mount.start(cache_size="0")
    pack, = packs(pool)
    away = pool.home / "away"
    pack.rename(away)
    lacks = scrubbed(mount)
    (mount.dir / "new").write_bytes(whole[:350_000])
    mount.destage()
    assert 0 < scrubbed(mount) < lacks
    with pytest.raises(OSError):
        (mount.dir / "old").read_bytes()
    away.rename(pack)
    scrubbed(mount)
    assert (mount.dir / "old").read_bytes() == whole
    assert (mount.dir / "new").read_bytes() == whole[:350_000]
    assert scrubbed(mount) == 0
    mount.stop()


def test_damaged_headers_and_footers(filled):
    for pack in packs(filled):
        overwrite(pack, 0, b"?" * 16)
        overwrite(pack, -20, b"?" * 16)
    repair(filled)
    assert data_of(contents(filled)) == data_of(filled.before)


def test_swapped_packs(filled):
    filled.mount.start()
    (filled.mount.dir / "more").write_bytes(noise(500_000, 99))
    filled.mount.destage()
    filled.before = trees.snapshot(filled.mount.dir, times=False)
    filled.mount.stop()
    one, two = packs(filled)[:2]
    one.rename(filled.home / "x")
    two.rename(one)
    (filled.home / "x").rename(two)
    said = repair(filled)
    assert "has its name again" in said
    assert data_of(contents(filled)) == data_of(filled.before)


def test_a_damaged_frame_costs_its_own_bytes(filled):
    pack = packs(filled)[0]
    overwrite(pack, 80, b"\xff" * 8)
    said = repair(filled)
    assert "cannot be read" in said
    now, whole = data_of(contents(filled)), data_of(filled.before)
    same = [name for name in whole if now[name] == whole[name]]
    assert 0 < len(whole) - len(same) < len(same)


def test_a_missing_staging_file(filled):
    staged = list((filled.path / "staging").iterdir())
    assert staged
    for path in staged:
        path.unlink()
    said = repair(filled)
    assert "/dir5/staged" in said
    now = data_of(contents(filled))
    assert now[b"dir5/staged"] is None
    assert {k: v for k, v in now.items() if v} == {
        k: v for k, v in data_of(filled.before).items() if k != b"dir5/staged"}


def test_one_copy_of_the_superblock(filled):
    overwrite(filled.path / "super", 100, b"????")
    filled.fsck("-n", code=LEFT)
    filled.fsck("-p", code=CORRECTED)
    filled.fsck("-n")
    assert data_of(contents(filled)) == data_of(filled.before)


def test_json(filled):
    packs(filled)[0].unlink()
    tree = json.loads(filled.fsck("-n", "--json", code=LEFT).stdout)
    kinds = [entry["kind"] for entry in tree["found"]]
    assert tree["errors"] == tree["left"] == kinds.count("error") > 0
    assert tree["corrected"] == 0 and not tree["clean"]
    tree = json.loads(filled.fsck("-y", "--json", code=CORRECTED).stdout)
    kinds = [entry["kind"] for entry in tree["found"]]
    assert tree["left"] == 0 and tree["clean"] and tree["corrected"] == kinds.count("corrected")
    assert tree["lost"] == kinds.count("lost") > 0


def test_in_use(mount):
    for option in ("-n", "-p", "-y"):
        done = mount.pool.fsck(option, code=FAILED)
        assert "in use" in done.stderr


def test_interrupted_at_any_time(filled):
    """kill -9 at the nth commit of a repair, at each in turn: the next run ends it."""
    packs(filled)[0].unlink()
    spare = filled.home / "spare"
    shutil.copytree(filled.path, spare)
    for nth in range(1, 60):
        shutil.rmtree(filled.path)
        shutil.copytree(spare, filled.path)
        done = env.run(env.binary("fsck.foldfs"), "-y", filled.path, code=None,
                       env={**filled.environ, "FOLDFS_FAULT": f"repair_commit:{nth}=crash"})
        if done.returncode == CORRECTED:
            break
        assert done.returncode == 99
        again = filled.fsck("-y", code=None)
        assert again.returncode in (CLEAN, CORRECTED), again.stdout
        filled.fsck("-n")
    assert nth > 5
    now, whole = data_of(contents(filled)), data_of(filled.before)
    assert all(now[name] in (None, whole[name]) for name in whole)


def test_cancelled_by_a_signal(filled):
    """Whether the signal comes early or late, the pool can be repaired again."""
    packs(filled)[0].unlink()
    process = subprocess.Popen([env.binary("fsck.foldfs"), "-y", filled.path],
                               env=filled.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (CORRECTED, CANCELLED, -signal.SIGINT)
    filled.fsck("-y", code=None)
    filled.fsck("-n")


def answer(pool, word):
    """Runs fsck without options on a terminal and answers its question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([env.binary("fsck.foldfs"), pool.path], env=pool.environ,
                               stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        assert ready, said
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
        if part.rstrip().endswith(b"(y/N)"):
            os.write(ours, word + b"\n")
    os.close(ours)
    return process.wait(60), said.decode()


def test_a_question_on_a_terminal(filled):
    packs(filled)[0].unlink()
    before = files_of(filled.path)
    status, said = answer(filled, b"n")
    assert status == LEFT and "Correct them? (y/N)" in said
    assert files_of(filled.path) == before
    status, said = answer(filled, b"y")
    assert status == CORRECTED
    filled.fsck("-n")


def flip(path, rng):
    size = path.stat().st_size
    if size:
        at = rng.randrange(size)
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_to_packs_and_staging(filled, seed):
    rng = random.Random(seed)
    for _ in range(rng.randrange(1, 4)):
        target = rng.choice(packs(filled) + list((filled.path / "staging").iterdir()))
        what = rng.randrange(4)
        if what == 0:
            target.unlink()
        elif what == 1:
            os.truncate(target, rng.randrange(target.stat().st_size + 1))
        else:
            for _ in range(20):
                flip(target, rng)
        if not packs(filled):
            break
    done = filled.fsck("-y", code=None)
    assert done.returncode in (CLEAN, CORRECTED), done.stdout + done.stderr
    filled.fsck("-n")
    now, whole = data_of(contents(filled)), data_of(filled.before)
    for name, data in whole.items():
        if name != b"dir5/staged": # bytes that are only staged have no checksum
            assert now[name] in (None, data), name


def give(pool, owner):
    """As if OWNER had made the pool."""
    for path in [pool.path, *pool.path.rglob("*")]:
        os.chown(path, *owner, follow_symlinks=False)


def belongs_to(pool, owner):
    wrong = [path for path in pool.path.rglob("*") if (path.stat().st_uid, path.stat().st_gid) != owner]
    assert not wrong, "root has left its own files there"


@pytest.mark.parametrize("owner", [people.BOB, (0, 0)], ids=["user", "root"])
def test_repaired_by_root_for_who_made_it(filled, owner):
    """The index is made anew, and then lost+found: neither may lock out a user whose pool it is."""
    give(filled, owner)
    (filled.path / "index/data.mdb").unlink()
    repair(filled)
    belongs_to(filled, owner)
    for staged in (filled.path / "staging").iterdir():
        staged.unlink()
    packs(filled)[0].unlink()
    (filled.path / "index/data.mdb").unlink()
    for dump in (filled.path / "packs").glob("dump-*"):
        dump.unlink()
    repair(filled)
    belongs_to(filled, owner)
    filled.mount.expect_log("foldfs error: ")
    filled.mount.start()
    root = filled.mount.dir.stat()
    assert (root.st_uid, root.st_gid) == owner
    filled.mount.stop()


@pytest.mark.parametrize("owner", [people.BOB, (0, 0)], ids=["user", "root"])
def test_lost_and_found_of_who_made_the_pool(filled, owner):
    filled.mount.start(destage_delay="1h")
    with open(filled.mount.dir / "clone", "r+b") as file:
        file.seek(100_000)
        file.write(noise(50_000, 92))
        os.fsync(file.fileno())
    filled.mount.kill()
    give(filled, owner)
    for staged in (filled.path / "staging").iterdir():
        staged.unlink()
    assert "/clone (inode " in repair(filled)
    belongs_to(filled, owner)
    filled.mount.expect_log("foldfs error: ")
    filled.mount.start()
    place = (filled.mount.dir / "lost+found").stat()
    assert (place.st_uid, place.st_gid) == owner
    filled.mount.stop()


@pytest.fixture
def long_log(filled):
    """A pool whose daemon was killed when two segments of the log held what the index needs."""
    filled.mount.start(destage_delay="1h")
    for number in range(300):
        file = filled.mount.dir / f"late{number}"
        file.touch()
        os.setxattr(file, "user.filler", noise(60_000, 100 + number))
    filled.mount.sync()
    filled.before = trees.snapshot(filled.mount.dir, times=False)
    filled.mount.kill()
    used = [path for path in sorted((filled.path / "wal").glob("wal-*")) if any(path.read_bytes()[:80])]
    filled.segments = used[-2:]
    return filled


def unchanged(pool):
    """All of its files but what LMDB's readers write."""
    return {path: digest for path, digest in files_of(pool.path).items() if path.name != "lock.mdb"}


def emptied(path):
    os.truncate(path, 0)


def zeroed(path):
    overwrite(path, 0, bytes(path.stat().st_size))


def header_bit(path):
    overwrite(path, 9, bytes([path.read_bytes()[9] ^ 0x10]))


def expect_missing(pool, segment, harm):
    whole = segment.read_bytes()
    harm(segment)
    before = unchanged(pool)
    refused = pool.run("mount.foldfs", pool.path, pool.mount.dir, code=32)
    assert "write-ahead log segments that the index needs are missing" in refused.stderr
    for option in ("-n", "-y"):
        told = pool.fsck(option, code=LEFT).stdout
        assert "are missing, or their files are not whole: put the log's files back" in told
    assert unchanged(pool) == before
    segment.write_bytes(whole)


def test_a_segment_of_the_log_without_its_header_is_missing(long_log):
    """It may be whole somewhere, and without it nearly nothing is there: never mounted, and -y asks for -f."""
    for segment in long_log.segments:
        for harm in (emptied, zeroed, header_bit, os.unlink):
            expect_missing(long_log, segment, harm)
    long_log.mount.start()
    assert trees.snapshot(long_log.mount.dir, times=False) == long_log.before
    long_log.mount.stop()


def stored_and_forgotten(pool):
    """Packs that only a part of the log names, which is gone."""
    pool.mount.start()
    (pool.mount.dir / "dir5" / "staged").unlink()
    pool.mount.stop()
    pool.mount.start(destage_delay="1h")
    (pool.mount.dir / "forgotten").write_bytes(noise(3_000_000, 77))
    pool.mount.destage()
    pool.mount.kill()
    used = [path for path in sorted((pool.path / "wal").glob("wal-*")) if any(path.read_bytes()[:80])]
    emptied(used[-1])


def test_packs_stay_when_a_repair_of_the_log_is_interrupted(filled):
    """Neither a mount nor the next repair takes them for what a crash left, before they were taken in."""
    stored_and_forgotten(filled)
    have = {path.name for path in packs(filled)}
    done = env.run(env.binary("fsck.foldfs"), "-y", "-f", filled.path, code=None,
                   env={**filled.environ, "FOLDFS_FAULT": "repair_commit:1=crash"})
    assert done.returncode == 99
    filled.mount.expect_log("foldfs warning: ")
    filled.mount.start()
    assert {path.name for path in packs(filled)} >= have
    filled.mount.stop()
    assert "is known again" in filled.fsck("-y", code=CORRECTED).stdout
    assert {path.name for path in packs(filled)} >= have
    filled.fsck("-n")
    before = sum(path.stat().st_size for path in packs(filled))
    filled.mount.start()
    (filled.mount.dir / "again").write_bytes(noise(3_000_000, 77))
    filled.mount.destage()
    assert sum(path.stat().st_size for path in packs(filled)) - before < 200_000
    filled.mount.stop()


def test_a_log_with_a_missing_segment_can_be_given_up(long_log):
    emptied(long_log.segments[0])
    assert "could not be read, and is lost" in repair(long_log, "-y", "-f")
    contents(long_log)
