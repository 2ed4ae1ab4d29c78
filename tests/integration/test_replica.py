# SPDX-License-Identifier: MIT
"""Other machines: a pool is shipped to a place, and after the loss of its machine another one takes it over."""

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

import env
import pools
import trees
from pattern import noise, text
from replicas import MIB, KIB, fill, lose, replica, ship

pytestmark = pytest.mark.foldfs


@pytest.mark.asan
def test_a_lost_machine_is_replaced(machines):
    mount = machines.first()
    fill(mount.dir)
    mount.destage()
    (mount.dir / "gone").write_bytes(b"x" * 1000)
    with open(mount.dir / "film", "r+b") as file:
        file.seek(MIB)
        file.write(b"changed here" * 1000)
    (mount.dir / "gone").unlink()
    said = ship(mount)
    assert said["error"] is None and said["packs"] >= 2
    before = trees.snapshot(mount.dir)
    lose(mount)
    other = machines.next_one()
    assert trees.snapshot(other.dir) == before
    fill_more = noise(5 * MIB, 9)
    (other.dir / "new").write_bytes(fill_more)
    other.destage()
    other.remount()
    assert (other.dir / "new").read_bytes() == fill_more
    other.foldfs("tier", "recall", other.dir)
    (other.dir / "new").unlink()
    assert trees.snapshot(other.dir)[b"film"] == before[b"film"]


def test_what_is_open_is_shipped_as_it_was_synced(machines):
    """A database in native mode, an appended log over stored content, a file that nobody has closed yet."""
    mount = machines.first(destage_delay="1h")
    (mount.dir / "log").write_bytes(text(2 * MIB))
    mount.destage()
    base = os.open(mount.dir / "base", os.O_RDWR | os.O_CREAT)
    os.pwrite(base, noise(200 * KIB, 3), 5 * MIB)
    os.fsync(base)
    log = os.open(mount.dir / "log", os.O_WRONLY | os.O_APPEND)
    os.write(log, b"one more line\n" * 5000)
    stream = os.open(mount.dir / "stream", os.O_WRONLY | os.O_CREAT)
    os.write(stream, noise(MIB, 4))
    os.fsync(stream)
    ship(mount)
    os.pwrite(base, noise(200 * KIB, 5), 0)     # the second time only what is new
    os.fsync(base)
    bytes_before = replica(mount)["bytes"]
    assert ship(mount)["bytes"] - bytes_before < 3 * MIB
    want = {name: (mount.dir / name).read_bytes() for name in ["log", "base", "stream"]}
    for fd in [base, log, stream]:
        os.close(fd)
    lose(mount)
    other = machines.next_one()
    for name, data in want.items():
        assert (other.dir / name).read_bytes() == data, name
    other.destage()
    for name, data in want.items():
        assert (other.dir / name).read_bytes() == data, name


def test_it_is_shipped_by_itself(machines):
    mount = machines.first(replicate="300ms")
    for i in range(3):
        (mount.dir / f"f{i}").write_bytes(noise(MIB, i))
        mount.sync()
        target = replica(mount)["last_lsn"]
        env.until(lambda: replica(mount)["shipped_lsn"] >= target, f"shipped up to LSN {target}")
    assert "up to LSN" in mount.foldfs("replica", "status", mount.dir).stdout
    lose(mount)
    other = machines.next_one()
    for i in range(3):
        assert (other.dir / f"f{i}").read_bytes() == noise(MIB, i)


def test_an_unmount_ships_the_rest_and_nobody_has_to_wait(machines):
    mount = machines.first(replicate_lease="1d")
    ship(mount)
    fill(mount.dir)
    before = trees.snapshot(mount.dir)
    mount.stop()
    shutil.rmtree(mount.pool.path)
    other = machines.next_one()
    assert trees.snapshot(other.dir) == before


def test_who_is_alive_is_left_alone(machines):
    mount = machines.first(replicate_lease="12s")
    (mount.dir / "f").write_bytes(b"data")
    ship(mount)
    pool = machines.pool
    with pytest.raises(AssertionError, match="in use by .*, which is alive"):
        pool()
    assert not (mount.pool.home / "machine0/pool").exists()
    (mount.dir / "g").write_bytes(b"more")
    assert ship(mount)["error"] is None


@pytest.mark.asan
def test_a_paused_owner_finds_its_lease_gone(machines):
    mount = machines.first(replicate="200ms", replicate_grace=0)
    fill(mount.dir)
    ship(mount)
    before = trees.snapshot(mount.dir)
    os.kill(mount.pid, signal.SIGSTOP)
    try:
        other = machines.next_one(more={"replicate_lease": "2s", "replicate_grace": 0})
        (other.dir / "film").unlink()
        (other.dir / "of the second").write_bytes(noise(5 * MIB, 20))
        ship(other)
    finally:
        os.kill(mount.pid, signal.SIGCONT)
    mount.expect_log("has taken this pool over")

    def refused():
        try:
            (mount.dir / "late").write_bytes(b"x")
        except OSError as exc:
            return exc.errno == errno.EROFS
        return False

    env.until(refused, "the first mount is read-only")
    assert replica(mount)["lost"]
    assert "has taken the pool over" in replica(mount)["error"]
    assert mount.log.read_text().count("has taken this pool over") == 1
    now = trees.snapshot(mount.dir)     # what it had, it still shows
    assert {name: now[name] for name in before if name} == {name: before[name] for name in before if name}
    mount.stop()
    done = mount.pool.run("mount.foldfs", mount.pool.path, mount.dir, "-o",
                          pools.options_text({"log": mount.log, **mount.options}), code=None)
    assert done.returncode and "this pool was taken over by" in done.stderr
    mount.start(ro=True)
    assert (mount.dir / "film").read_bytes() == noise(9 * MIB, 1)
    assert (other.dir / "of the second").read_bytes() == noise(5 * MIB, 20)
    assert not (other.dir / "late").exists()
    ship(other)
    want = trees.snapshot(other.dir)
    lose(other)
    third = machines.next_one()
    assert trees.snapshot(third.dir) == want


def test_from_one_to_the_next(machines):
    """Packs that lie in the replica alone are shipped on, and go when nothing needs them."""
    mount = machines.first(replicate_grace=0)
    fill(mount.dir)
    ship(mount)
    lose(mount)
    second = machines.next_one(more={"replicate_lease": "2s", "replicate_grace": 0})
    place = Path(machines.place) / "tier"
    inherited = {path.name for path in place.glob("*.pack")}
    assert inherited
    (second.dir / "mine").write_bytes(noise(9 * MIB, 30))
    ship(second)
    want = trees.snapshot(second.dir)
    second.kill()
    second.start()      # the same machine goes on
    ship(second)
    lose(second)
    third = machines.next_one(more={"replicate_grace": 0})
    assert trees.snapshot(third.dir) == want
    for name in ["film", "again"]:
        (third.dir / name).unlink()
    third.gc()
    third.sync()
    kept = trees.snapshot(third.dir)

    def dropped():
        (third.dir / "mine").touch()
        ship(third)
        return not inherited <= {path.name for path in place.glob("*.pack")}

    env.until(dropped, "packs that nobody needs are gone")
    kept = trees.snapshot(third.dir)
    ship(third)
    lose(third)
    fourth = machines.next_one()
    assert trees.snapshot(fourth.dir) == kept


def test_a_pool_whose_packs_lie_there_keeps_its_replica(machines):
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(9 * MIB))
    ship(mount)
    lose(mount)
    other = machines.next_one()
    other.stop()
    done = other.pool.run("mount.foldfs", other.pool.path, other.dir, "-o",
                          pools.options_text({"log": other.log, "replicate": 0}), code=None)
    assert done.returncode and "packs of this pool lie in its replica" in done.stderr


def test_rubbish_from_somebody_between_is_no_other_owner(close_server, replica_bucket):
    """A proxy or a portal, which answers all that is asked with a page of its own."""
    mount = replica_bucket.first()
    for pattern in ["could not be shipped", "s3://bucket"]:
        mount.expect_log(pattern)
    ship(mount)
    replica_bucket.server.fault("garbage", "^GET", status=200, body=b"<html>Please log in</html>")
    (mount.dir / "f").write_bytes(noise(5 * MIB))
    assert "taken the pool over" not in mount.foldfs("replica", "sync", mount.dir, code=1).stderr
    (mount.dir / "g").write_bytes(b"written meanwhile")
    replica_bucket.server.faults.clear()
    ship(mount)


def test_nobody_moves_packs_into_the_replica(machines, home):
    """What lies there is the replicator's."""
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(9 * MIB))
    ship(mount)
    lose(mount)
    there = machines.next_one()
    assert "nothing moves there" in there.foldfs("tier", "move", "replica", there.dir, code=1).stderr
    there.stop()
    config = there.pool.path / "foldfs.conf"
    before = config.read_text()
    config.write_text(f"{before}\n[tier replica]\nplace = {home}/w\n")
    done = there.pool.run("mount.foldfs", there.pool.path, there.dir, code=32)
    assert "give this tier another name" in done.stderr
    config.write_text(before)
    there.start()
    assert (there.dir / "f").read_bytes() == noise(9 * MIB)


def test_a_place_of_another_pool_is_refused(machines, home):
    machines.first()
    directory = home / "other/mnt"
    directory.mkdir(parents=True)
    pool = pools.Pool(home / "other")
    done = pool.run("mount.foldfs", pool.path, directory, "-o",
                    f"replicate=1s,replicate_to={machines.place},log={home}/other/log", code=None)
    assert done.returncode and "belongs to another pool" in done.stderr


def test_a_replica_that_is_gone_is_not_begun_anew(machines, home):
    """Its directory is empty: perhaps the disk is not mounted that lies there on other days."""
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(MIB))
    ship(mount)
    mount.stop()
    place, away = Path(machines.place), home / "away"
    place.rename(away)
    place.mkdir()
    with pytest.raises(AssertionError, match="is its disk mounted"):
        mount.start()
    shutil.rmtree(place)
    away.rename(place)
    mount.start()
    assert ship(mount)["error"] is None
    mount.stop()
    (home / "another").mkdir()
    mount.options["replicate_to"] = str(home / "another")
    mount.start()
    assert ship(mount)["error"] is None and list((home / "another").glob("e0*"))


def test_a_part_of_the_pool_is_no_replica(home):
    directory = home / "mnt"
    directory.mkdir()
    pool = pools.Pool(home)
    done = pool.run("mount.foldfs", pool.path, directory, "-o",
                    f"replicate=1s,replicate_to={pool.path}/staging,log={home}/log", code=None)
    assert done.returncode and "is a part of the pool itself" in done.stderr
    assert not list((pool.path / "staging").iterdir())


@pytest.mark.parametrize("kind,sentence", [
    ("o.", "which is a part of the replica, has other bytes than were written"),
    ("o.cut", "which is a part of the replica, has other bytes than were written"),
    ("o.gone", "which is a part of the replica, is missing"),
    ("root.", "cannot be read: it is damaged"),
    ("pack", "packs are missing in it or too short"),
    ("epochs", "its epochs cannot be read: the newest is damaged"),
    ("label", "the label in tier is missing, damaged or another pool's"),
])
def test_damage_is_told_in_a_sentence(machines, home, kind, sentence):
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(9 * MIB))
    (mount.dir / "g").write_bytes(b"small")
    ship(mount)
    lose(mount)
    place = Path(machines.place)
    if kind.startswith("o."):
        victims = list(place.glob("e*/o.*"))
    elif kind == "root.":
        victims = [max(place.glob("e*/root.*"))]
    else:
        victims = [{"pack": next((place / "tier").glob("*.pack")), "epochs": next(place.glob("epochs/*")),
                    "label": place / "tier/foldfs-tier"}[kind]]
    for path in victims:
        data = path.read_bytes()
        if kind in ("o.gone", "pack"):
            path.unlink()
        else:
            path.write_bytes(data[:-1] if kind == "o.cut" else bytes([data[0] ^ 4]) + data[1:])
    with pytest.raises(AssertionError) as failed:
        machines.pool()
    assert sentence in str(failed.value)
    assert not (home / "machine0/pool").exists()


def test_the_state_before_a_damaged_one(machines):
    mount = machines.first()
    fill(mount.dir)
    ship(mount)
    before = trees.snapshot(mount.dir)
    (mount.dir / "later").write_bytes(noise(MIB))
    ship(mount)
    lose(mount)
    root = max(Path(machines.place).glob("e*/root.*"))
    root.write_bytes(root.read_bytes()[:-1])
    with pytest.raises(AssertionError, match=f"is taken if {root.parent.name}/{root.name} is removed"):
        machines.pool()
    root.unlink()
    assert trees.snapshot(machines.next_one().dir) == before


def test_a_place_that_is_away_is_caught_up_with(machines):
    mount = machines.first()
    (mount.dir / "f").write_bytes(noise(5 * MIB))
    ship(mount)
    place = Path(machines.place)
    away = place.with_name("away")
    os.rename(place, away)      # its own descriptors see no difference: a folder in it must go, too
    os.rename(away / "tier", away / "tier.away")
    for folder in away.glob("e0*"):
        folder.chmod(0)
    os.rename(away, place)
    epoch = next(place.glob("e0*"))
    shutil.move(epoch, place / "moved")
    epoch.write_bytes(b"in its way")
    (mount.dir / "g").write_bytes(noise(5 * MIB, 2))
    done = mount.foldfs("replica", "sync", mount.dir, code=None)
    assert done.returncode and "nothing could be shipped" in done.stderr
    assert replica(mount)["error"]
    assert (mount.dir / "g").read_bytes() == noise(5 * MIB, 2)
    epoch.unlink()
    shutil.move(place / "moved", epoch)
    epoch.chmod(0o700)
    os.rename(place / "tier.away", place / "tier")
    assert ship(mount)["error"] is None
    lose(mount)
    other = machines.next_one()
    assert (other.dir / "g").read_bytes() == noise(5 * MIB, 2)


@pytest.mark.asan
def test_in_a_bucket(close_server, replica_bucket):
    mount = replica_bucket.first()
    fill(mount.dir)
    ship(mount)
    assert any(key.endswith(".pack") for key in replica_bucket.server.objects)
    before = trees.snapshot(mount.dir)
    lose(mount)
    other = replica_bucket.next_one(more={"replicate_lease": "2s"})
    assert trees.snapshot(other.dir) == before
    (other.dir / "more").write_bytes(noise(5 * MIB, 7))
    ship(other)
    assert "in s3://bucket/some/prefix/tier" in other.foldfs("tier", "status", other.dir).stdout
    want = trees.snapshot(other.dir)
    lose(other)
    third = replica_bucket.next_one()
    assert trees.snapshot(third.dir) == want
    third.stop()


SHIP_STEPS = ["ship_log", "ship_pack", "ship_files", "ship_root", "ship_published", "depot_write", "depot_written",
              "depot_remove", "place_write", "place_copied"]


def start_doomed(mount, point, count):
    """The daemon ends at the COUNT-th pass of that point, perhaps in the ship that a mount begins with."""
    mount.pool.environ["FOLDFS_FAULT"] = f"{point}:{count}=crash"
    try:
        mount.start()
    except AssertionError:
        return False
    finally:
        del mount.pool.environ["FOLDFS_FAULT"]
    return mount.foldfs("replica", "sync", mount.dir, code=None).returncode == 0


def clear_dead(mount):
    pid, mount.pid = mount.pid, None
    env.until(lambda: mount.pool.owner() is None, "the daemon has ended")
    env.run("umount", "-l", mount.dir, code=None)
    assert pid is None or os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 99, "the daemon did not come to that step"


@pytest.mark.parametrize("count", [3, *(pytest.param(n, marks=pytest.mark.full) for n in [1, 2, 5, 8])])
@pytest.mark.parametrize("point", SHIP_STEPS)
def test_killed_while_shipping(machines, point, count):
    """At any step: what lies in the place is the state before, or the one that was on its way; and it just goes on."""
    mount = machines.first(replicate_grace=0)
    fill(mount.dir)
    ship(mount)
    states = [trees.snapshot(mount.dir)]
    mount.stop()
    lives = start_doomed(mount, point, count)
    for i in range(12):
        if not lives:
            break
        (mount.dir / f"more{i}").write_bytes(noise(5 * MIB, 100 + i))
        (mount.dir / "again").write_bytes(noise(MIB, 200 + i))
        states.append(trees.snapshot(mount.dir))
        lives = mount.foldfs("replica", "sync", mount.dir, code=None).returncode == 0
        if lives:
            states = states[-1:]
    assert not lives, "the daemon did not come to that step"
    clear_dead(mount)
    other = machines.follower()
    assert trees.snapshot(other.dir) in states
    mount.start()
    assert trees.snapshot(mount.dir) == states[-1]
    ship(mount)
    ship(other)
    assert trees.snapshot(other.dir) == states[-1]
    kept = {path.name for path in Path(machines.place).glob("tier/*.part")} | \
           {path.name for path in Path(machines.place).glob("e*/*.tmp")}
    assert not kept
