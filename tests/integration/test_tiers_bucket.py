# SPDX-License-Identifier: MIT
"""Packs in an object store: ranges are read of them, a server that is down costs its files alone."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import env
import pools
from pattern import noise, text
from test_tiers import check, clear_dead, fill, fresh, hot, move, packs, sealed, status, tier_of
from test_tiers_level import prose

sys.path.append(str(Path(__file__).resolve().parents[1] / "s3"))
import store_server  # noqa: E402

pytestmark = pytest.mark.foldfs

KIB, MIB = 1 << 10, 1 << 20


class Handler(store_server.Handler):
    """Counts the bytes of packs that it sends."""

    def send(self, reply, kind):
        if self.command == "GET" and self.path.endswith(".pack"):
            with self.server.lock:
                self.server.bytes_sent += len(reply.body)
        super().send(reply, kind)


@pytest.fixture
def server():
    made = store_server.Server()
    made.RequestHandlerClass, made.bytes_sent = Handler, 0
    yield made
    made.close()


@pytest.fixture
def bucket(server, new_mount):
    """Function that makes a pool with a tier `far` in the server's bucket. The server outlives its mounts."""

    def make(extra="", timeout="1m", **options):
        mount = new_mount(mkfs={"reserve_size": "1M"}, **{"cache_size": "64M", "pack_size": "4M",
                                                         "tier_interval": "1h", "gc_interval": 0, **options})
        mount.stop()
        keys = next(iter(store_server.SECRETS.items()))
        mount.pool.environ["AWS_ACCESS_KEY_ID"], mount.pool.environ["AWS_SECRET_ACCESS_KEY"] = keys
        (mount.pool.path / "foldfs.conf").write_text(
            f"[tier far]\nplace = s3://bucket/some/prefix\nendpoint = {server.endpoint}\ntimeout = {timeout}\n{extra}")
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                mount.pool.environ.pop(name, None)
        mount.start()
        return mount

    return make


def objects(server):
    return sorted(key.rsplit("/")[-1] for key in server.objects if key.endswith(".pack"))


def quiet(mount):
    for pattern in ["lies in tier far, which is absent", "s3://bucket"]:
        mount.expect_log(pattern)


@pytest.mark.asan
def test_packs_move_to_a_bucket_and_back(bucket, server):
    mount = bucket(extra="class = STANDARD_IA\n")
    data = fill(mount)
    before = hot(mount)
    move(mount, "far", mount.dir)
    assert objects(server) == before and hot(mount) == []
    assert {stored.storage_class for key, stored in server.objects.items() if key.endswith(".pack")} == {"STANDARD_IA"}
    check(mount, data)
    mount.remount()
    check(mount, data)
    assert tier_of(mount, "far")["packs"] == len(before)
    assert "in s3://bucket/some/prefix" in mount.foldfs("tier", "status", mount.dir).stdout
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)
    assert not result["damage"] and not result["absent_bytes"] and result["bytes_done"] == result["bytes_total"]
    mount.foldfs("tier", "recall", mount.dir)
    assert objects(server) == [] and hot(mount) == before
    check(mount, data)


def moves(mount, *words):
    """A `foldfs tier` that runs on its own."""
    return subprocess.Popen([env.binary("foldfs"), "tier", *words], env=mount.pool.environ, stdout=subprocess.DEVNULL)


def put_so_far(server):
    return {line.rsplit("/")[-1] for line in server.asked if line.startswith("PUT") and line.endswith(".pack")}


@pytest.mark.asan
def test_packs_move_side_by_side(bucket, server):
    """While the store has one wait, others are on their way."""
    mount = bucket()
    data = fill(mount)
    before, answers = hot(mount), threading.Event()
    server.fault("pause", r"^PUT .*\.pack", until=answers)
    moving = moves(mount, "move", "far", mount.dir)
    try:
        env.until(lambda: len(put_so_far(server)) > 1, "more than one pack is on its way")
    finally:
        answers.set()
    assert moving.wait(60) == 0
    assert objects(server) == before and not hot(mount)
    check(mount, data)


@pytest.mark.asan
def test_a_pack_that_two_ask_for_moves_for_one_after_the_other(bucket, server, home):
    (home / "near").mkdir()
    mount = bucket(extra=f"[tier near]\nplace = {home / 'near'}\n")
    data = {}
    for name in ("both", "one"):
        data[name] = noise(3 * MIB, len(name))
        (mount.dir / name).write_bytes(data[name])
        sealed(mount)
    answers = threading.Event()
    server.fault("pause", r"^PUT .*\.pack", until=answers)
    far = moves(mount, "move", "far", mount.dir / "both")
    try:
        env.until(lambda: put_so_far(server), "its pack is on its way")
        near = moves(mount, "move", "near", mount.dir)
        env.until(lambda: packs(home / "near"), "the other one has moved")
        assert not put_so_far(server) & set(packs(home / "near")), "the first is left alone meanwhile"
    finally:
        answers.set()
    assert far.wait(60) == 0 and near.wait(60) == 0
    assert len(packs(home / "near")) == 2 and not hot(mount) and not objects(server)
    check(mount, data)


@pytest.mark.asan
def test_packs_are_compressed_anew_on_their_way(bucket, server, home):
    """Into a bucket, and out of one to a directory."""
    (home / "cold").mkdir()
    mount = bucket(extra=f"level = 1\n[tier cold]\nplace = {home / 'cold'}\nlevel = 9\n", cache_size=0, zstd_level=0)
    data = {f"f{seed}": b"".join(prose(MIB, seed * 4 + part) for part in range(2)) for seed in range(3)}
    for name, content in data.items():
        (mount.dir / name).write_bytes(content)
    mount.destage()
    mount.remount()
    before, stored = hot(mount), mount.pool.stored_bytes()
    move(mount, "far", mount.dir)
    there = objects(server)
    assert len(there) == len(before) and not set(there) & set(before) and not hot(mount)
    sent = sum(len(item.data) for key, item in server.objects.items() if key.endswith(".pack"))
    assert sent < stored / 2
    check(mount, data)
    assert not json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)["damage"]
    move(mount, "cold", mount.dir)
    assert not objects(server) and packs(home / "cold")
    assert sum(path.stat().st_size for path in (home / "cold").glob("*.pack")) < sent * 0.97
    mount.remount()
    check(mount, data)
    mount.stop()
    mount.check_pool()


def test_killed_while_uploading_what_was_compressed_anew(bucket, server):
    mount = bucket(extra="level = 3\n", cache_size=0, zstd_level=0)
    data = {"f": prose(9 * MIB, 3)}
    (mount.dir / "f").write_bytes(data["f"])
    mount.destage()
    for point in ["move_recoded", "move_compared", "move_switched"]:
        mount.stop()
        mount.pool.environ["FOLDFS_FAULT"] = f"{point}:1=crash"
        mount.start()
        move(mount, "far", mount.dir, code=None)
        clear_dead(mount)
        del mount.pool.environ["FOLDFS_FAULT"]
        mount.start()
        check(mount, data)
        assert tier_of(mount, "far")["packs"] == len(objects(server))
        assert tier_of(mount, "hot")["packs"] == len(hot(mount))
    move(mount, "far", mount.dir)
    assert not hot(mount)
    check(mount, data)


@pytest.mark.asan
@pytest.mark.parametrize("compressed", [False, True])
def test_a_small_read_fetches_a_frame_and_once(bucket, server, compressed):
    mount = bucket()
    data = b"".join(text(20_000, seed) for seed in range(200)) if compressed else noise(4 * MIB)
    (mount.dir / "f").write_bytes(data)
    move(mount, "far", mount.dir)
    with open(mount.dir / "f", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        before = server.bytes_sent
        assert os.pread(file.fileno(), 4096, 2 * MIB) == data[2 * MIB:2 * MIB + 4096]
        fetched = server.bytes_sent - before
        assert 0 < fetched <= 640 * KIB
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        again = server.bytes_sent
        assert os.pread(file.fileno(), 4096, 2 * MIB) == data[2 * MIB:2 * MIB + 4096]
        assert server.bytes_sent == again  # from the block cache


@pytest.mark.asan
def test_what_is_read_in_order_is_fetched_ahead(bucket, server):
    """At most as much again as has been read; what is read here and there is not."""
    mount = bucket(read_ahead_kb=0)
    data = noise(16 * MIB)
    (mount.dir / "f").write_bytes(data)
    move(mount, "far", mount.dir)
    mount.remount()
    before = server.bytes_sent
    with open(mount.dir / "f", "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)     # the kernel shall not
        for at in range(15 * MIB, 0, -3 * MIB):
            assert os.pread(file.fileno(), 4096, at) == data[at:at + 4096]
        assert server.bytes_sent - before < 3 * MIB
        before = server.bytes_sent
        for at in range(0, 4 * MIB, 128 * KIB):
            assert os.pread(file.fileno(), 128 * KIB, at) == data[at:at + 128 * KIB]
        env.until(lambda: server.bytes_sent - before > 5 * MIB, "more has been fetched than was read")
        assert server.bytes_sent - before < 9 * MIB
    check(mount, {"f": data})


@pytest.mark.asan
def test_a_server_that_is_down_costs_its_files_alone(bucket, server):
    mount = bucket(timeout="3s", cache_size=0)
    quiet(mount)
    data = fill(mount, files=1)
    sealed(mount)
    data["f1"] = noise(4 * MIB, 9)
    (mount.dir / "f1").write_bytes(data["f1"])
    move(mount, "far", mount.dir / "f1")
    server.fault("status", status=503, match=r"\.pack")
    with pytest.raises(OSError) as caught:
        fresh(mount.dir / "f1")
    assert caught.value.errno == errno.EIO
    assert fresh(mount.dir / "f0") == data["f0"]
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir, timeout=300).stdout)
    assert not result["damage"] and result["absent_bytes"]
    server.faults.clear()
    env.until(lambda: reads(mount.dir / "f1"), "the server has answered again")
    check(mount, data)
    assert not json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)["damage"]


def reads(path):
    try:
        return fresh(path)
    except OSError:
        return None


@pytest.mark.asan
def test_no_server_at_the_mount(bucket, server):
    mount = bucket(timeout="3s", tier_interval="1s")
    quiet(mount)
    data = fill(mount, files=1)
    move(mount, "far", mount.dir)
    mount.stop()
    server.fault("status", status=503)
    mount.start()
    assert tier_of(mount, "far")["absent"]
    with pytest.raises(OSError):
        fresh(mount.dir / "f0")
    server.faults.clear()
    env.until(lambda: not tier_of(mount, "far")["absent"], "the server is there again")
    check(mount, data)


@pytest.mark.asan
@pytest.mark.parametrize("kind, more", [("status", {"status": 403, "code": "AccessDenied"}), ("flip", {})])
def test_an_upload_that_fails_leaves_the_pack_where_it_was(bucket, server, kind, more):
    mount = bucket(timeout="10s")
    quiet(mount)
    data = fill(mount, files=1)
    before = hot(mount)
    server.fault(kind, match=r"^PUT .*\.pack", **more)
    move(mount, "far", mount.dir, code=1)
    assert hot(mount) == before and objects(server) == []
    server.faults.clear()
    move(mount, "far", mount.dir)
    assert hot(mount) == []
    check(mount, data)


@pytest.mark.asan
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_umount_does_not_wait_for_a_server_that_hangs(bucket, server, method):
    """A pack is on its way there, or back; nothing of it is lost, and what is left of it goes later."""
    mount = bucket(timeout="10m")
    quiet(mount)
    data = fill(mount, files=2)
    mount.remount()
    before = hot(mount)
    if method == "GET":
        move(mount, "far", mount.dir)
    server.fault("hang", f"^{method} .*pack")
    words = ["move", "far"] if method == "PUT" else ["recall"]
    moving = subprocess.Popen([env.binary("foldfs"), "tier", *words, mount.dir], env=mount.pool.environ,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    env.until(lambda: server.count(f"^{method} .*pack"), "the server is asked")
    pid, mount.pid = mount.pid, None
    mount.unmount()
    env.until(lambda: not pools.alive(pid), "the daemon has ended")
    assert pools.reap(pid) in (0, None) and moving.wait(60)
    server.faults.clear()       # fsck.foldfs does wait
    mount.check_pool()
    mount.start()
    check(mount, data)
    mount.foldfs("tier", "recall", mount.dir)
    assert hot(mount) == before
    mount.gc()
    mount.remount()
    assert not objects(server)
    check(mount, data)


def test_others_go_on_while_one_file_waits_for_a_server(bucket, server):
    """Its readers do; who opens it does not, be they more than the daemon has threads."""
    mount = bucket(timeout="10m", cache_size=0)
    data = fill(mount, files=2)
    name = next(iter(data))
    path = mount.dir / name
    move(mount, "far", mount.dir)
    mount.remount()
    go_on, found = threading.Event(), []
    server.fault("pause", "^GET .*pack", until=go_on)
    asked = server.count("^GET .*pack")

    def read():
        with open(path, "rb", buffering=0) as file:
            found.append(file.read(100_000))

    reader = threading.Thread(target=read)
    reader.start()
    env.until(lambda: server.count("^GET .*pack") > asked, "the server is asked")
    openers = [threading.Thread(target=lambda: os.close(os.open(path, os.O_RDONLY))) for _ in range(12)]
    for opener in openers:
        opener.start()
    try:
        (mount.dir / "other").write_bytes(b"content")
        env.until(lambda: not any(opener.is_alive() for opener in openers), "the file is open")
        assert not found, "the reader still waits"
    finally:
        go_on.set()
    reader.join()
    assert found == [data[name][:100_000]]


def copy_over(fd, source):
    """Not as a clone: it begins beside what the file has in memory."""
    os.pwrite(fd, b"begin", 0)
    with open(source, "rb") as file:
        left, to = 100_000, 5
        while left:
            done = os.copy_file_range(file.fileno(), fd, left, None, to)
            left, to = left - done, to + done


def lengthen(fd, how, size):
    """What is staged ends in a block of which the tier has the rest."""
    os.pwrite(fd, bytes(4096), 0)
    how(fd, size + 1000)


CHANGES = {
    "write": lambda fd, cold, size: os.pwrite(fd, b"x", size // 2),
    "small write": lambda fd, cold, size: os.pwrite(fd, b"x", 5),
    "truncate": lambda fd, cold, size: lengthen(fd, os.ftruncate, size),
    "allocate": lambda fd, cold, size: lengthen(fd, lambda file, end: os.posix_fallocate(file, 0, end), size),
    "copy": lambda fd, cold, size: copy_over(fd, cold),
}


def changed(change, before):
    """What the file reads as after it."""
    size = len(before)
    if "write" in change:
        at = size // 2 if change == "write" else 5
        return before[:at] + b"x" + before[at + 1:]
    if change == "copy":
        return b"begin" + before[:100_000]
    return bytes(4096) + before[4096:] + bytes(1000)


@pytest.mark.parametrize("change", list(CHANGES))
def test_others_go_on_while_changes_wait_for_a_server(bucket, server, change):
    """More of them than the daemon has threads to receive requests; each needs what lies in the bucket."""
    mount = bucket(timeout="10m", cache_size=0)
    quiet(mount)
    size = 20_001 if change == "small write" else 300_001
    data = {f"f{i}": noise(size, i) for i in range(12)}
    for name, content in data.items():
        (mount.dir / name).write_bytes(content)
        mount.destage()
    move(mount, "far", mount.dir)
    mount.remount()
    before = server.count("^GET .*pack")
    answers = threading.Event()
    server.fault("pause", "^GET .*pack", until=answers)
    done = []

    def work(name):
        flags = os.O_RDWR | os.O_CREAT if change == "copy" else os.O_WRONLY
        fd = os.open(mount.dir / ("copy of " + name if change == "copy" else name), flags)
        CHANGES[change](fd, mount.dir / name, size)
        done.append(name)
        os.close(fd)

    def go_on():
        (mount.dir / "new").write_bytes(b"content")
        assert (mount.dir / "new").read_bytes() == b"content"
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(mount.dir)}
        assert [sizes[name] for name in data] == [size] * 12
        for name in data:   # the kernel itself has readers wait until direct writes are through
            os.close(os.open(mount.dir / name, os.O_WRONLY))
        os.rename(mount.dir / "new", mount.dir / "renamed")
        os.unlink(mount.dir / "renamed")
        if change == "copy":    # what is written the kernel itself has locked
            os.rename(mount.dir / "f11", mount.dir / "f1 and 10")
        done.append("others")

    threads = [threading.Thread(target=work, args=[name], daemon=True) for name in data]
    others = threading.Thread(target=go_on, daemon=True)
    try:
        for thread in threads:
            thread.start()
        env.until(lambda: server.count("^GET .*pack") >= before + 12, "all of them wait")
        others.start()
        env.until(lambda: not others.is_alive(), "nobody else waits")
        assert done == ["others"]
    finally:
        answers.set()
        server.faults.clear()
    for thread in threads:
        thread.join()
    assert sorted(done[1:]) == sorted(data)
    for name, content in data.items():
        now = ("copy of " + name) if change == "copy" else name
        assert fresh(mount.dir / now) == changed(change, content), name


def test_the_daemon_ends_while_a_write_waits_for_a_server(bucket, server):
    """Nothing was written, and the writer is told."""
    mount = bucket(timeout="10m", cache_size=0)
    quiet(mount)
    mount.expect_log("write refused: Input/output error")
    data = {"f": noise(300_001)}
    (mount.dir / "f").write_bytes(data["f"])
    move(mount, "far", mount.dir)
    mount.remount()
    before = server.count("^GET .*pack")
    answers = threading.Event()
    server.fault("pause", "^GET .*pack", until=answers)
    refused = []

    def write():
        fd = os.open(mount.dir / "f", os.O_WRONLY)
        try:
            os.pwrite(fd, b"x", 100_000)
        except OSError as exc:
            refused.append(exc.errno)
        os.close(fd)

    writer = threading.Thread(target=write, daemon=True)
    try:
        writer.start()
        env.until(lambda: server.count("^GET .*pack") > before, "the server is asked")
        pid, mount.pid = mount.pid, None
        os.kill(pid, signal.SIGTERM)
        env.until(lambda: not pools.alive(pid), "the daemon has ended")
        writer.join()
    finally:
        answers.set()
        server.faults.clear()
    assert len(refused) == 1
    assert pools.reap(pid) in (0, None)
    mount.check_pool()
    mount.start()
    check(mount, data)


def test_killed_while_uploading(bucket, server):
    """Neither the object nor parts of it are left where the index does not know of them."""
    mount = bucket()
    data = fill(mount, files=2)
    before = hot(mount)
    for point in ["move_compared", "move_switched"]:
        mount.stop()
        mount.pool.environ["FOLDFS_FAULT"] = f"{point}:1=crash"
        mount.start()
        move(mount, "far", mount.dir, code=None)
        pid, mount.pid = mount.pid, None
        os.waitpid(pid, 0)
        env.run("umount", "-l", mount.dir, code=None)
        del mount.pool.environ["FOLDFS_FAULT"]
        mount.start()
        assert sorted(hot(mount) + objects(server)) == before
        assert not server.uploads
        check(mount, data)


def test_garbage_in_a_bucket_is_collected(bucket, server):
    mount = bucket()
    data = fill(mount, files=4)
    move(mount, "far", mount.dir)
    stored = len(objects(server))
    for name in ["f0", "f2"]:
        os.unlink(mount.dir / name)
        del data[name]
    mount.gc()
    assert len(objects(server)) < stored
    check(mount, data)


def test_a_bucket_with_other_things_in_it_is_refused(new_mount, bucket, server):
    server.objects["some/prefix/precious"] = store_server.Stored(b"data", {})
    with pytest.raises(AssertionError, match="has other files in it"):
        bucket()


@pytest.mark.asan
def test_warming_up(bucket, server):
    """What was warmed needs no server any more; the pack stays where it is."""
    mount = bucket()
    data = {f"dir/f{i}": noise(2 * MIB, i) for i in range(3)}
    (mount.dir / "dir").mkdir()
    for name, content in data.items():
        (mount.dir / name).write_bytes(content)
    move(mount, "far", mount.dir)
    result = json.loads(mount.foldfs("warm", "--json", mount.dir).stdout)
    assert result == {"files": 3, "bytes_read": 6 * MIB, "files_failed": 0}
    server.fault("status", status=503, match=r"\.pack")
    check(mount, data)
    assert hot(mount) == []
    assert "No such file" in mount.foldfs("warm", mount.dir / "none", code=1).stderr
    server.faults.clear()


def test_a_class_that_the_server_has_not(bucket, server):
    """As a Ceph says it, which was told of no classes."""
    mount = bucket(extra="class = STANDARD_IA\n")
    quiet(mount)
    data = fill(mount, files=1)
    server.fault("status", r"^PUT .*\.pack", status=400, code="InvalidArgument")
    move(mount, "far", mount.dir, code=1)
    assert "see that it has that" in mount.log.read_text()
    check(mount, data)


def test_what_cannot_be_warmed(bucket, server):
    mount = bucket(cache_size=0)
    quiet(mount)
    fill(mount, files=1)
    move(mount, "far", mount.dir)
    mount.remount()
    server.fault("status", status=403, code="AccessDenied", match=r"\.pack")
    assert "f0: Input/output error" in mount.foldfs("warm", mount.dir, code=1).stderr
    server.faults.clear()
    for words in [["warm", mount.pool.path], ["warm", mount.dir, mount.pool.path], ["tier", "pin", mount.pool.path],
                  ["tier", "unpin", mount.pool.path]]:
        assert "is a pool: " in mount.foldfs(*words, code=1).stderr
    assert "user.foldfs.tier" not in os.listxattr(mount.pool.path)
    mount.foldfs("warm", mount.dir)


def test_status_names_the_bucket(bucket):
    mount = bucket()
    far = next(tier for tier in status(mount)["tiers"] if tier["name"] == "far")
    assert far["place"] == "s3://bucket/some/prefix" and far["total"] is None


def at_rest(bucket, server):
    """All packs in the bucket, nothing mounted; the key of one of them, and the files' content."""
    mount = bucket(cache_size=0)
    quiet(mount)
    data = fill(mount, files=2)
    sealed(mount)
    move(mount, "far", mount.dir)
    mount.stop()
    return mount, data, sorted(key for key in server.objects if key.endswith(".pack"))[1]


def lost(mount, data):
    return [name for name in data if reads(mount.dir / name) != data[name]]


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["rotten", "cut", "gone"])
def test_a_damaged_object_of_which_there_is_a_copy(bucket, server, kind):
    """As a move leaves it that was interrupted: nothing is lost."""
    mount, data, key = at_rest(bucket, server)
    whole = server.objects[key].data
    (mount.pool.path / "packs" / key.rsplit("/")[-1]).write_bytes(whole)
    middle = len(whole) // 2
    if kind == "rotten":
        server.objects[key].data = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]
    elif kind == "cut":
        server.objects[key].data = whole[:middle]
    else:
        del server.objects[key]
    found = mount.pool.fsck("-n", code=4).stdout
    assert ("but in packs/" if kind == "gone" else "its copy in packs/ is sounder") in found and "lost:" not in found
    done = mount.pool.fsck("-y", code=1).stdout
    assert "was found in packs/" in done and "lost:" not in done
    mount.pool.fsck("-n")
    mount.start()
    check(mount, data)
    assert key not in server.objects
    result = json.loads(mount.foldfs("scrub", "--json", mount.dir).stdout)
    assert not result["damage"]


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["cut", "gone"])
def test_a_damaged_object_costs_what_it_held_until_it_is_back(bucket, server, kind):
    mount, data, key = at_rest(bucket, server)
    stored, whole = server.objects[key], server.objects[key].data
    if kind == "cut":
        stored.data = whole[:len(whole) // 2]
    else:
        del server.objects[key]
    found = mount.pool.fsck("-n", code=4).stdout
    assert ("bytes, not" if kind == "cut" else "is missing") in found
    done = mount.pool.fsck("-y", code=1).stdout
    assert "lost: /f" in done and "left" not in done
    mount.pool.fsck("-n")
    mount.expect_log("cannot be read|lost|damaged")
    mount.start()
    assert 1 <= len(lost(mount, data)) <= 2
    (mount.dir / "new").write_bytes(b"goes on")
    mount.stop()
    stored.data = whole
    server.objects[key] = stored
    assert "is there again" in mount.pool.fsck("-y", "-f", code=1).stdout
    mount.start()
    check(mount, data)
