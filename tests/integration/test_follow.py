# SPDX-License-Identifier: MIT
"""Other machines that read: a pool follows a replica, read-only, while its owner goes on."""

import errno
import mmap
import os
import random
import shutil
import sys
import threading
from pathlib import Path

import pytest

import env
import pools
import trees
from pattern import noise, text
from replicas import KIB, MIB, fill, lose, replica, ship

sys.path.append(str(Path(__file__).resolve().parents[1] / "keyframe"))
import films  # noqa: E402

pytestmark = pytest.mark.foldfs


def follow(mount):
    """Looks now."""
    return ship(mount)


def error_of(call, *args):
    try:
        call(*args)
    except OSError as exc:
        return exc.errno
    return 0


def both(mount, other):
    """Ships, follows, and compares everything."""
    ship(mount)
    said = follow(other)
    assert said["error"] is None
    want = trees.snapshot(mount.dir)
    assert trees.snapshot(other.dir) == want
    return want


@pytest.mark.asan
def test_a_follower_shows_what_was_shipped(machines):
    mount = machines.first(destage_delay="1h")
    fill(mount.dir)
    mount.destage()
    (mount.dir / "fresh").write_bytes(noise(MIB, 40))       # staged, and small ones in memory
    (mount.dir / "tiny").write_bytes(b"tiny")
    ship(mount)
    other = machines.follower()
    assert trees.snapshot(other.dir) == trees.snapshot(mount.dir)
    (mount.dir / "not yet").write_bytes(b"x")
    assert not (other.dir / "not yet").exists()
    both(mount, other)
    assert (other.dir / "not yet").read_bytes() == b"x"
    said = replica(other)
    assert said["follows"] == machines.place and said["root"] >= 2 and said["states"] == 1
    assert f"follows {machines.place}: shows root" in other.foldfs("replica", "status", other.dir).stdout


def test_nothing_can_be_changed_in_it(machines):
    mount = machines.first()
    (mount.dir / "f").write_bytes(b"data")
    (mount.dir / "d").mkdir()
    ship(mount)
    other = machines.follower()
    for change in [lambda: (other.dir / "f").write_bytes(b"x"), lambda: (other.dir / "f").unlink(),
                   lambda: (other.dir / "new").write_bytes(b"x"), lambda: os.rename(other.dir / "f", other.dir / "g"),
                   lambda: os.setxattr(other.dir / "f", "user.a", b"b"), lambda: os.chmod(other.dir / "d", 0)]:
        with pytest.raises(OSError) as failed:
            change()
        assert failed.value.errno == errno.EROFS
    for command in [["gc"], ["scrub"]]:
        done = other.foldfs(*command, other.dir, code=None)
        assert done.returncode and "read-only" in done.stderr
    other.stop()
    done = other.pool.run("foldfs", "gc", other.pool.path, code=None)
    assert done.returncode and "follows a replica" in done.stderr
    other.start()
    assert both(mount, other)
    other.stop()
    (other.pool.path / "index/data.mdb").write_bytes(noise(MIB, 9))
    done = other.pool.fsck("-y", code=None)
    assert done.returncode & 12 and "follows a replica, and nothing can be changed" in done.stdout + done.stderr


@pytest.mark.asan
def test_every_kind_of_change_is_followed(machines):
    mount = machines.first(destage_delay="1h")
    fill(mount.dir)
    ship(mount)
    other = machines.follower()
    trees.snapshot(other.dir)       # the kernel knows all of it
    assert not (other.dir / "born").exists() and not (other.dir / "deep/born").exists()
    d = mount.dir
    (d / "born").write_bytes(b"born")
    (d / "deep/born").mkdir()
    both(mount, other)
    os.rename(d / "deep/er", d / "moved")
    (d / "moved/small3").unlink()
    os.symlink("elsewhere", d / "link2")
    os.unlink(d / "link")
    os.symlink("film", d / "link")
    os.setxattr(d / "words", "user.note", b"changed")
    os.chmod(d / "words", 0o4755)
    os.link(d / "film", d / "deep/linked")
    both(mount, other)
    with open(d / "film", "r+b") as file:       # over a map: staged on top of packs
        file.seek(3 * MIB + 5)
        file.write(noise(300 * KIB, 50))
    with open(d / "words", "ab") as file:
        file.write(b"appended")
    os.truncate(d / "again", 2 * MIB + 7)
    (d / "born").write_bytes(b"")
    both(mount, other)
    mount.destage()
    both(mount, other)
    mount.gc()
    both(mount, other)
    for path in list(d.iterdir()):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert both(mount, other).keys() <= {b"", b"."}


def test_it_follows_by_itself(machines):
    mount = machines.first(replicate="200ms")
    (mount.dir / "f").write_bytes(b"0")
    ship(mount)
    other = machines.follower(follow_interval="200ms")
    for i in range(1, 6):
        (mount.dir / "f").write_bytes(b"%d" % i)
        mount.sync()
        env.until(lambda i=i: (other.dir / "f").read_bytes() == b"%d" % i, f"the follower shows {i}")


def test_readers_go_on_while_it_changes(machines):
    """What is open, and mapped, becomes what it is now; nobody sees an error or bytes that never were."""
    mount = machines.first()
    versions = [bytes([65 + i]) * (600 * KIB) for i in range(12)]
    (mount.dir / "f").write_bytes(versions[0])
    (mount.dir / "gone").write_bytes(noise(MIB, 3))
    ship(mount)
    other = machines.follower(cache_size=0)
    fd = os.open(other.dir / "f", os.O_RDONLY)
    mapped = mmap.mmap(fd, 600 * KIB, prot=mmap.PROT_READ)
    open_gone = os.open(other.dir / "gone", os.O_RDONLY)
    stop, wrong = threading.Event(), []

    def read():
        rng = random.Random(threading.get_ident())
        while not stop.is_set():
            try:
                at = rng.randrange(0, 600 * KIB - 4096)
                got = os.pread(fd, 4096, at)
                if len(set(got[:4096 - at % 4096])) != 1 or not 65 <= got[0] < 77:
                    wrong.append(got[:20])
                os.stat(other.dir / "f")
                with open(other.dir / "f", "rb") as file:
                    file.read(64 * KIB)
            except OSError as exc:
                wrong.append(exc)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for thread in readers:
        thread.start()
    try:
        for i, version in enumerate(versions[1:], 1):
            if i % 2:
                with open(mount.dir / "f", "r+b") as file:
                    file.write(version)
            else:
                (mount.dir / "f").write_bytes(version)
            if i % 3 == 0:
                mount.destage()
                mount.gc()
            ship(mount)
            follow(other)
            env.until(lambda version=version: os.pread(fd, 10, 1000) == version[:10], "what is open is new")
            assert mapped[5000:5010] == version[:10]
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert not wrong, wrong[:3]
    (mount.dir / "gone").unlink()
    both(mount, other)
    env.until(lambda: ship(mount) and both(mount, other) and error_of(os.pread, open_gone, 4096, 0) == errno.ESTALE,
              "what is open and gone cannot be read")
    os.close(open_gone)
    mapped.close()
    os.close(fd)


def test_it_goes_on_after_an_unmount_and_a_crash(machines):
    mount = machines.first()
    fill(mount.dir)
    ship(mount)
    other = machines.follower()
    other.stop()
    (mount.dir / "while it was away").write_bytes(noise(5 * MIB, 60))
    ship(mount)
    other.start()
    both(mount, other)
    other.kill()
    (mount.dir / "again").unlink()
    mount.gc()
    ship(mount)
    other.start()
    both(mount, other)


@pytest.mark.parametrize("fault", ["crash", "EIO"])
@pytest.mark.parametrize("point", ["follow_files", "follow_renamed", "follow_rows", "follow_swept"])
def test_what_ends_in_the_middle_is_gone_on_with(machines, point, fault):
    mount = machines.first(destage_delay="1h")
    fill(mount.dir)
    mount.destage()
    (mount.dir / "words").write_bytes(text(MIB, 1))
    ship(mount)
    other = machines.follower()
    other.stop()
    other.pool.environ["FOLDFS_FAULT"] = f"{point}:1={fault}"
    other.start()
    (mount.dir / "words").write_bytes(text(MIB, 2))
    (mount.dir / "film").unlink()
    (mount.dir / "new").write_bytes(noise(5 * MIB, 65))
    ship(mount)
    other.expect_log("it is tried on")
    assert other.foldfs("replica", "sync", other.dir, code=None).returncode
    del other.pool.environ["FOLDFS_FAULT"]
    if fault == "crash":
        pid, other.pid = other.pid, None
        _, end = os.waitpid(pid, 0)
        assert os.WEXITSTATUS(end) == 99
        env.run("umount", "-l", other.dir)
        other.start()
    both(mount, other)
    for directory in ["packs", "staging"]:
        assert not list((other.pool.path / directory).glob("*.new"))


@pytest.mark.asan
def test_the_owner_mounts_again(machines):
    """Another epoch: the index is compared with the dump."""
    mount = machines.first()
    fill(mount.dir)
    ship(mount)
    other = machines.follower()
    trees.snapshot(other.dir)
    (mount.dir / "words").unlink()
    (mount.dir / "fresh").write_bytes(noise(3 * MIB, 70))
    mount.remount()
    (mount.dir / "film").unlink()
    (mount.dir / "deep/new").write_bytes(b"new")
    both(mount, other)
    mount.kill()
    mount.start()
    (mount.dir / "after").write_bytes(b"the crash")
    both(mount, other)


@pytest.mark.asan
def test_a_take_over_is_followed(machines):
    """Also to an earlier state than the one seen: numbers are given anew."""
    mount = machines.first()
    fill(mount.dir)
    ship(mount)
    other = machines.follower()
    trees.snapshot(other.dir)
    root = Path(machines.place) / f"e{1:016x}" / f"root.{replica(mount)['root'] + 1:016x}"
    (mount.dir / "never").write_bytes(noise(5 * MIB, 80))
    (mount.dir / "words").write_bytes(b"never")
    both(mount, other)
    lose(mount)
    root.unlink()       # as if it had come after the next machine looked
    third = machines.next_one()
    assert not (third.dir / "never").exists()
    (third.dir / "instead").write_bytes(noise(5 * MIB, 81))
    (third.dir / "words").write_bytes(b"instead")
    third.destage()
    want = both(third, other)
    assert b"never" not in want and (other.dir / "instead").read_bytes() == noise(5 * MIB, 81)
    (third.dir / "film").unlink()
    both(third, other)


def test_a_film_stored_since(machines):
    """Its rows are of a kind that the superblock has to tell of, here as well."""
    env.need_tool("ffmpeg")
    mount = machines.first()
    (mount.dir / "f").write_bytes(b"data")
    ship(mount)
    other = machines.follower()
    film = films.make("mp4", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-f", "lavfi", "-i", "sine",
                      "-t", "6", "-c:v", "libx264", "-b:v", "2M", "-c:a", "aac")
    shutil.copy(film, mount.dir / "film.mp4")
    mount.destage()
    both(mount, other)
    other.remount()     # with a check of the pool
    assert (other.dir / "film.mp4").read_bytes() == film.read_bytes()
    flags = [(pool.path / "super").read_bytes()[48] for pool in (mount.pool, other.pool)]
    assert flags[1] & flags[0] == flags[0] != 0


def test_two_followers_of_one_replica(machines):
    mount = machines.first()
    fill(mount.dir)
    ship(mount)
    others = [machines.follower() for _ in range(2)]
    (mount.dir / "more").write_bytes(noise(5 * MIB, 90))
    for other in others:
        both(mount, other)


def test_trouble_is_told_and_caught_up_with(machines):
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(5 * MIB))
    ship(mount)
    other = machines.follower(more={"reserve_size": "1M"})
    (mount.dir / "g").write_bytes(noise(5 * MIB, 2))
    ship(mount)
    place = Path(machines.place)
    victims = [path for path in place.glob("e*/o.*")] + [max(place.glob("e*/root.*"))]
    whole = {path: path.read_bytes() for path in victims}
    for path, data in whole.items():
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    other.expect_log("it is tried on")
    done = other.foldfs("replica", "sync", other.dir, code=None)
    assert done.returncode and "cannot be read: it is damaged" in done.stderr
    assert (other.dir / "f").read_bytes() == noise(5 * MIB) and not (other.dir / "g").exists()
    root = victims[-1]
    root.write_bytes(whole[root])
    done = other.foldfs("replica", "sync", other.dir, code=None)
    assert done.returncode and "has other bytes than were written" in done.stderr
    assert replica(other)["error"]
    for path, data in whole.items():
        path.write_bytes(data)
    both(mount, other)
    assert replica(other)["error"] is None


@pytest.mark.parametrize("options,sentence", [
    (["--follow", "/nowhere/at all"], "No such file"),
    (["--follow", "/tmp", "--from", "/tmp"], "only one of them makes sense"),
    (["--follow", "/tmp", "-L", "name"], "keeps its label"),
    (["-o", "follow=/tmp"], "is made with --follow"),
    (["--follow", "not/absolute"], "an absolute path or s3://bucket/prefix is wanted"),
])
def test_bad_input(machines, home, options, sentence):
    mount = machines.first()
    done = mount.pool.run("mkfs.foldfs", *options, home / "follower", code=None)
    assert done.returncode and sentence in done.stderr
    assert not (home / "follower").exists()


def test_a_pool_of_its_own_follows_nothing(machines, home):
    mount = machines.first()
    mount.stop()
    done = mount.pool.run("mount.foldfs", "-o", f"follow={home / 'replica'}", mount.pool.path, mount.dir, code=None)
    assert done.returncode and "only mkfs.foldfs --follow makes a pool that does" in done.stderr


def test_nothing_shipped_yet(home):
    (home / "empty/tier").mkdir(parents=True)
    pool = pools.Pool(home)
    done = pool.run("mkfs.foldfs", "--follow", home / "empty", home / "follower", code=None)
    assert done.returncode and "is no replica of a foldfs pool" in done.stderr


@pytest.mark.asan
def test_in_a_bucket(close_server, replica_bucket):
    mount = replica_bucket.first(destage_delay="1h")
    fill(mount.dir)
    mount.destage()
    ship(mount)
    other = replica_bucket.follower()
    assert trees.snapshot(other.dir) == trees.snapshot(mount.dir)
    (mount.dir / "more").write_bytes(text(MIB, 4))
    (mount.dir / "film").unlink()
    both(mount, other)
    other.stop()
