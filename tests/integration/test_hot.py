# SPDX-License-Identifier: MIT
"""Files that are read again and again get a copy that the kernel reads itself; and whatever happens to
such a file, all who have it open or mapped see one content."""

import os
import signal

import pytest

import env
import people
import pools
from loops import Loop
from mapping import mapped
from pattern import Shadow, noise, text
from syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate)

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

SIZE = 1 << 20


@pytest.fixture
def hot(new_mount):
    """A mount with a file that is hot."""
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(SIZE))
    heat(mount, "f")
    return mount


def store(mount, name, data):
    (mount.dir / name).write_bytes(data)
    mount.destage()


def stats(mount):
    return mount.json("stats", mount.pool.path)["hot"]


def read(path):
    with open(path, "rb", buffering=0) as file:
        return file.read()


def heat(mount, name, times=3):
    """Reads until there is a copy. One that is called off, as the file is not at rest yet, is made when it
    is opened again."""
    made, called_off = stats(mount)["made"], -1

    def copied():
        nonlocal called_off
        now = stats(mount)
        if now["made"] == made and now["called_off"] != called_off:
            called_off = now["called_off"]
            for _ in range(times):
                read(mount.dir / name)
        return now["made"] > made

    env.until(copied, f"{name} has a copy")


def opens_hot(mount, act):
    """What act() returns, and how many opens meanwhile were of a copy."""
    before = stats(mount)["opens"]
    result = act()
    return result, stats(mount)["opens"] - before


def released(mount, but=0):
    """The kernel does not wait for RELEASE. BUT: opens that are not over, or were refused."""
    def all_released():
        requests = mount.json("stats", mount.pool.path)["requests"]
        return requests["release"] + but == sum(requests[kind] for kind in ("open", "create", "tmpfile"))
    env.until(all_released, "every open file is released")


def is_hot(mount, name="f", but=0):
    released(mount, but)
    return opens_hot(mount, lambda: read(mount.dir / name))[1] == 1


def test_third_read_makes_a_copy_and_the_daemon_reads_no_more(new_mount):
    mount = new_mount(destage_delay=600)
    store(mount, "f", text(SIZE))
    for _ in range(2):
        read(mount.dir / "f")
        assert stats(mount)["made"] + stats(mount)["waiting"] == 0
    heat(mount, "f", times=1)
    found = stats(mount)
    assert found["files"] == 1 and found["bytes"] >= SIZE
    released(mount)
    before = mount.stats()
    for _ in range(3):
        with open(mount.dir / "f", "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == text(SIZE)
    after = mount.stats()
    assert after["requests"]["read"] == before["requests"]["read"]
    assert after["counters"]["read_bytes"] == before["counters"]["read_bytes"]
    assert after["hot"]["opens"] == before["hot"]["opens"] + 3
    assert after["staging_bytes"] == 0, "a copy is not staged data"


def test_reads_go_on_while_the_daemon_sleeps(hot):
    with open(hot.dir / "f", "rb", buffering=0) as file:
        os.kill(hot.pid, signal.SIGSTOP)
        try:
            assert file.read() == noise(SIZE)
        finally:
            os.kill(hot.pid, signal.SIGCONT)


def test_what_was_opened_but_not_read_gets_no_copy(new_mount):
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(8 * SIZE))
    store(mount, "small", noise(50_000))
    for _ in range(10):
        os.close(os.open(mount.dir / "f", os.O_RDONLY))
        read(mount.dir / "small")
    found = stats(mount)
    assert found["made"] == found["waiting"] == 0


@pytest.mark.parametrize("options", [{"materialise_limit": 0}, {"mode": "mediated"},
                                     {"strictatime": True}, {"materialise_limit": "512K"}])
def test_off(new_mount, options):
    mount = new_mount(destage_delay=600, **options)
    store(mount, "f", noise(SIZE))
    for _ in range(10):
        assert read(mount.dir / "f") == noise(SIZE)
    found = stats(mount)
    assert found["made"] == found["waiting"] == found["opens"] == 0


def test_df_counts_copies(hot):
    df = hot.json("df")
    assert df["materialised"] == stats(hot)["bytes"] >= SIZE
    assert df["used"] >= df["packs"] + df["materialised"] + df["staging"]
    assert df["staging"] == 0
    assert "hot copies" in hot.foldfs("df", hot.dir).stdout


def test_holes_stay_holes(new_mount):
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "wb") as file:
        file.write(noise(SIZE))
        file.truncate(64 * SIZE)
        file.seek(100 * SIZE)
        file.write(noise(SIZE, 2))
    mount.destage()
    heat(mount, "f")
    assert stats(mount)["bytes"] < 3 * SIZE
    with open(mount.dir / "f", "rb", buffering=0) as file:
        assert file.read(SIZE) == noise(SIZE)
        assert os.pread(file.fileno(), SIZE, 100 * SIZE) == noise(SIZE, 2)
        assert not any(os.pread(file.fileno(), SIZE, 50 * SIZE))
        assert os.lseek(file.fileno(), SIZE, os.SEEK_DATA) == 100 * SIZE
        assert file.seek(0, os.SEEK_END) == 101 * SIZE


def test_limit_and_the_hotter_one_wins(new_mount):
    mount = new_mount(destage_delay=600, materialise_limit="3M")
    for n in range(3):
        store(mount, f"f{n}", noise(SIZE + 100_000, n))
    heat(mount, "f0")
    heat(mount, "f1")
    for _ in range(3):      # as hot as the others, which is not enough
        read(mount.dir / "f2")
    env.until(lambda: stats(mount)["waiting"] == 0, "f2 was thought of")
    found = stats(mount)
    assert (found["files"], found["made"], found["dropped"]) == (2, 2, 0)
    assert is_hot(mount, "f1")
    heat(mount, "f2", times=12)
    found = stats(mount)
    assert (found["files"], found["made"], found["dropped"]) == (2, 3, 1)
    assert found["bytes"] <= found["limit_bytes"] == 3 << 20
    assert is_hot(mount, "f1") and is_hot(mount, "f2") and not is_hot(mount, "f0")


def test_atime(hot):
    os.utime(hot.dir / "f", ns=(10**18, 10**18 + 1))
    read(hot.dir / "f")
    assert os.stat(hot.dir / "f").st_atime_ns > 10**18 + 1


# What changes a file, and the shadow it is measured by.

def overwrite(path, shadow):
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"new" * 1000, 5000)
    shadow.write(5000, b"new" * 1000)


def overwrite_write_only(path, shadow):
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"only" * 1000, 50_000)
    os.close(fd)
    shadow.write(50_000, b"only" * 1000)


def append(path, shadow):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, noise(10_000, 5))
    os.close(fd)
    shadow.write(len(shadow.data), noise(10_000, 5))


def rewrite(path, shadow):
    path.write_bytes(noise(SIZE // 2, 7))
    shadow.truncate(0)
    shadow.write(0, noise(SIZE // 2, 7))


def shorten(path, shadow):
    os.truncate(path, 300_001)
    shadow.truncate(300_001)


def shorten_and_lengthen(path, shadow):
    os.truncate(path, 300_001)
    os.truncate(path, SIZE)
    shadow.truncate(300_001)
    shadow.truncate(SIZE)


def lengthen(path, shadow):
    os.truncate(path, 2 * SIZE)
    shadow.truncate(2 * SIZE)


def punch(path, shadow):
    with open(path, "r+b", buffering=0) as file:
        fallocate(file.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100_000, 200_000)
    shadow.clear(100_000, 200_000)


def zero(path, shadow):
    with open(path, "r+b", buffering=0) as file:
        fallocate(file.fileno(), FALLOC_ZERO_RANGE, 10, 5000)
    shadow.clear(10, 5000)


def copy_into(path, shadow):
    (path.parent / "source").write_bytes(noise(200_000, 9))
    src, dst = os.open(path.parent / "source", os.O_RDONLY), os.open(path, os.O_WRONLY)
    at = 0
    while at < 200_000:
        at += os.copy_file_range(src, dst, 200_000 - at, at, 4096 + at)
    os.close(src)
    os.close(dst)
    shadow.write(4096, noise(200_000, 9))


def store_in_mapping(path, shadow):
    with mapped(path) as mapping:
        mapping.write(70_000, b"by a mapping")
        mapping.sync()
    shadow.write(70_000, b"by a mapping")


def open_for_nothing(path, shadow):
    os.close(os.open(path, os.O_RDWR))


def change_attributes(path, shadow):
    os.chmod(path, 0o4755)
    os.chown(path, *people.ALICE)
    os.utime(path, ns=(10**18, 10**18))
    os.chmod(path, 0o644)


def clone(path, shadow):
    env.run("cp", path, path.parent / "clone")
    assert read(path.parent / "clone") == shadow.data


CHANGES = [overwrite, overwrite_write_only, append, rewrite, shorten, shorten_and_lengthen, lengthen,
           punch, zero, copy_into, store_in_mapping, open_for_nothing, change_attributes, clone]


def lasting(mount, shadow, but=0):
    """It is what it should be now, once stored, and after a remount."""
    assert read(mount.dir / "f") == shadow.data
    released(mount, but)
    mount.destage()
    assert read(mount.dir / "f") == shadow.data
    mount.remount()
    assert read(mount.dir / "f") == shadow.data
    assert os.stat(mount.dir / "f").st_size == len(shadow.data)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_change_of_a_hot_file(hot, change):
    shadow = Shadow(noise(SIZE))
    change(hot.dir / "f", shadow)
    lasting(hot, shadow)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_change_while_a_reader_has_it_open(hot, change):
    shadow = Shadow(noise(SIZE))
    with open(hot.dir / "f", "rb", buffering=0) as reader:
        assert reader.read(SIZE) == noise(SIZE)
        change(hot.dir / "f", shadow)
        assert os.fstat(reader.fileno()).st_size == len(shadow.data)
        assert os.pread(reader.fileno(), 4 * SIZE, 0) == shadow.data
        assert read(hot.dir / "f") == shadow.data
    lasting(hot, shadow)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_change_while_it_is_mapped(hot, change):
    """The mapping has outlived its descriptor, which is all that the daemon was told of."""
    shadow = Shadow(noise(SIZE))
    released(hot)
    with mapped(hot.dir / "f", os.O_RDONLY, writable=False) as mapping:
        assert mapping.read(0, SIZE) == noise(SIZE)
        released(hot)
        change(hot.dir / "f", shadow)
        length = min(SIZE, len(shadow.data)) // 4096 * 4096
        assert mapping.read(0, length) == shadow.data[:length]
        assert read(hot.dir / "f") == shadow.data
        released(hot)
    lasting(hot, shadow)


def test_writer_that_was_there_before(new_mount):
    """While somebody may write through the daemon, nobody reads past it."""
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(SIZE))
    writer = os.open(mount.dir / "f", os.O_WRONLY)
    heat(mount, "f")
    assert not is_hot(mount, but=1)
    with open(mount.dir / "f", "rb", buffering=0) as reader:
        os.pwrite(writer, b"written", 1000)
        assert os.pread(reader.fileno(), 7, 1000) == b"written"
        os.close(writer)
    shadow = Shadow(noise(SIZE))
    shadow.write(1000, b"written")
    lasting(mount, shadow)


def test_writer_beside_readers_that_come_and_go(hot):
    shadow = Shadow(noise(SIZE))
    first = os.open(hot.dir / "f", os.O_RDONLY)
    writer = os.open(hot.dir / "f", os.O_RDWR)
    second = os.open(hot.dir / "f", os.O_RDONLY)
    os.pwrite(writer, b"seen by all", 0)
    shadow.write(0, b"seen by all")
    for fd in first, second, writer:
        assert os.pread(fd, SIZE, 0) == shadow.data
    os.fsync(writer)
    os.close(writer)
    os.ftruncate(third := os.open(hot.dir / "f", os.O_WRONLY), SIZE // 2)
    shadow.truncate(SIZE // 2)
    assert os.pread(first, SIZE, 0) == shadow.data
    for fd in first, second, third:
        os.close(fd)
    assert stats(hot)["taken_over"] == 1
    lasting(hot, shadow)


def test_copy_that_became_staged_can_be_hot_again(hot):
    shadow = Shadow(noise(SIZE))
    with open(hot.dir / "f", "rb", buffering=0):
        overwrite(hot.dir / "f", shadow)
    released(hot)
    hot.destage()
    heat(hot, "f")
    assert is_hot(hot)
    assert read(hot.dir / "f") == shadow.data


def test_setuid_program_loses_its_bit(hot):
    os.chmod(hot.dir / "f", 0o4777)
    people.as_user(people.ALICE, overwrite, hot.dir / "f", Shadow())
    assert os.stat(hot.dir / "f").st_mode & 0o7777 == 0o777


@pytest.mark.parametrize("how", ["unlink", "rename_over", "exchange"])
def test_name_goes_while_it_is_read(hot, how):
    with open(hot.dir / "f", "rb", buffering=0) as reader, \
            mapped(hot.dir / "f", os.O_RDONLY, writable=False) as mapping:
        if how == "unlink":
            os.unlink(hot.dir / "f")
        else:
            (hot.dir / "g").write_bytes(b"g" * 1000)
            os.rename(hot.dir / "g", hot.dir / "f")
            assert read(hot.dir / "f") == b"g" * 1000
        assert reader.read() == noise(SIZE)
        reader.close()
        assert mapping.read(0, SIZE) == noise(SIZE)
    env.until(lambda: stats(hot)["files"] == 0, "the copy is gone")
    env.until(lambda: not list((hot.pool.path / "staging").iterdir()), "and its file")


def test_change_calls_off_the_making(new_mount):
    mount = new_mount(destage_delay=600, materialise_rate="1M")
    store(mount, "f", noise(8 * SIZE))
    for _ in range(3):
        read(mount.dir / "f")
    env.until(lambda: list((mount.pool.path / "staging").iterdir()), "copying has begun")
    with open(mount.dir / "f", "r+b", buffering=0) as file:
        file.write(b"changed")
    env.until(lambda: stats(mount)["called_off"] == 1, "it is called off")
    found = stats(mount)
    assert found["made"] == found["files"] == 0
    shadow = Shadow(noise(8 * SIZE))
    shadow.write(0, b"changed")
    lasting(mount, shadow)


def test_umount_leaves_no_copy(hot):
    hot.stop()
    assert not list((hot.pool.path / "staging").iterdir())
    hot.start()
    assert read(hot.dir / "f") == noise(SIZE)


def test_kill_leaves_no_copy_that_counts(hot):
    """What a dead daemon left is not believed, whatever it says now."""
    hot.kill()
    left = list((hot.pool.path / "staging").iterdir())
    assert len(left) == 1 and left[0].stat().st_size == SIZE
    with open(left[0], "r+b") as file:
        file.write(b"torn" * 10_000)
    done = hot.pool.fsck("-n", "-v")
    assert "staging/" in done.stdout and "next mount removes it" in done.stdout
    hot.start()
    assert not list((hot.pool.path / "staging").iterdir())
    assert read(hot.dir / "f") == noise(SIZE)
    heat(hot, "f")
    assert is_hot(hot) and read(hot.dir / "f") == noise(SIZE)


def test_kill_after_a_writer_took_the_copy(hot):
    shadow = Shadow(noise(SIZE))
    reader = os.open(hot.dir / "f", os.O_RDONLY)
    writer = os.open(hot.dir / "f", os.O_RDWR)
    os.pwrite(writer, b"durable", 123_456)
    os.fsync(writer)
    shadow.write(123_456, b"durable")
    hot.kill()
    os.close(reader)
    os.close(writer)
    hot.start()
    lasting(hot, shadow)


@pytest.mark.parametrize("point", ["hot_copy:1=crash", "hot_copy:5=crash", "hot_publish:1=crash"])
def test_death_while_copying(new_mount, point, monkeypatch):
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(8 * SIZE))
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = point
    mount.start()
    for _ in range(3):
        try:
            read(mount.dir / "f")
        except OSError:
            break
    env.until(lambda: mount.pool.owner() is None, "the daemon is dead")
    mount.pid = None
    env.run("umount", "-l", mount.dir)
    mount.pool.fsck("-n")
    del mount.pool.environ["FOLDFS_FAULT"]
    mount.start()
    assert read(mount.dir / "f") == noise(8 * SIZE)
    assert not list((mount.pool.path / "staging").iterdir())


@pytest.mark.parametrize("point", ["hot_copy:2=EIO", "hot_copy:1=ENOSPC", "hot_publish:1=EIO"])
def test_copy_that_fails_is_no_harm(new_mount, point):
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(4 * SIZE))
    mount.stop()
    mount.pool.environ["FOLDFS_FAULT"] = point
    mount.start()
    del mount.pool.environ["FOLDFS_FAULT"]
    for _ in range(3):
        read(mount.dir / "f")
    env.until(lambda: stats(mount)["failed"] == 1, "it failed")
    for _ in range(5):
        assert read(mount.dir / "f") == noise(4 * SIZE)
    found = stats(mount)
    assert found["failed"] == 1 and found["made"] == found["files"] == found["waiting"] == 0
    assert not list((mount.pool.path / "staging").iterdir())
    assert "could not be copied" in mount.log.read_text()


def test_writer_is_told_when_the_copy_cannot_be_taken_over(new_mount):
    mount = new_mount(destage_delay=600)
    store(mount, "f", noise(SIZE))
    mount.stop()
    mount.expect_log("open refused")
    mount.pool.environ["FOLDFS_FAULT"] = "hot_take_over:1=EIO"
    mount.start()
    del mount.pool.environ["FOLDFS_FAULT"]
    heat(mount, "f")
    shadow = Shadow(noise(SIZE))
    with open(mount.dir / "f", "rb", buffering=0) as reader:
        with pytest.raises(OSError):
            os.open(mount.dir / "f", os.O_RDWR)
        assert reader.read() == shadow.data
        overwrite(mount.dir / "f", shadow)
        assert os.pread(reader.fileno(), SIZE, 0) == shadow.data
    lasting(mount, shadow, but=1)


def test_copies_go_when_the_disk_gets_full(home):
    loop = Loop(home, 1 << 30)
    try:
        mount = pools.Mount(loop.pool(home), home / "mnt", destage_delay=600).start()
        try:
            for n in range(2):
                store(mount, f"f{n}", noise(8 * SIZE, n))
                heat(mount, f"f{n}")
            assert stats(mount)["files"] == 2
            used = open(mount.dir / "f0", "rb", buffering=0)
            loop.fill(loop.avail() - (24 << 20))
            with used:
                env.until(lambda: stats(mount)["files"] == 1, "the copy that nobody uses is gone")
                assert used.read() == noise(8 * SIZE, 0)
            loop.fill(max(0, loop.avail() - (24 << 20)))
            env.until(lambda: stats(mount)["files"] == 0, "and the other one, once it is closed")
            for n in range(2):
                for _ in range(4):
                    assert read(mount.dir / f"f{n}") == noise(8 * SIZE, n)
            env.until(lambda: stats(mount)["waiting"] == 0, "nothing waits")
            assert stats(mount)["files"] == 0, "there is no room for copies"
        finally:
            mount.stop()
    finally:
        loop.close()




def test_copies_go_before_anybody_is_told_that_the_disk_is_full(home):
    loop = Loop(home, 1 << 30)
    try:
        mount = pools.Mount(loop.pool(home), home / "mnt", destage_delay=600,
                            wal_sync_interval="1h").start()     # nobody looks at the disk by himself
        try:
            for n in range(5):
                store(mount, f"f{n}", noise(8 * SIZE, n))
                heat(mount, f"f{n}")
            loop.fill(loop.avail() - (8 << 20))
            os.statvfs(mount.dir)
            (mount.dir / "new").write_bytes(noise(SIZE, 9))
            assert stats(mount)["files"] == 0
            assert read(mount.dir / "new") == noise(SIZE, 9)
        finally:
            mount.stop()
    finally:
        loop.close()
