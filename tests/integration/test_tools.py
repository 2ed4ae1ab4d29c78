# SPDX-License-Identifier: MIT
"""The programs beside the mount: what du and df count, what fsck finds, logs, services, namespaces."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

import env
import pools
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20


# ---- du


def du(mount, *names):
    return mount.json("du", *(mount.dir / name for name in names))


def near(value, wanted, slack=64 << 10):
    return abs(value - wanted) <= slack


def test_du_tells_shared_from_exclusive(mount):
    (mount.dir / "alone").write_bytes(noise(4 * MIB, 1))
    (mount.dir / "twin").write_bytes(noise(4 * MIB, 2))
    (mount.dir / "other").write_bytes(noise(4 * MIB, 2))
    mount.destage()
    alone, twin = du(mount, "alone", "twin")
    assert alone["apparent"] == twin["apparent"] == alone["logical"] == 4 * MIB
    assert near(alone["stored"], 4 * MIB) and alone["shared"] == 0
    assert near(twin["stored"], 4 * MIB) and twin["exclusive"] == 0
    assert alone["path"] == str(mount.dir / "alone")
    os.unlink(mount.dir / "other")
    mount.sync()
    twin, = du(mount, "twin")
    assert twin["shared"] == 0 and near(twin["exclusive"], 4 * MIB)


def test_du_of_a_tree_counts_within_it_once(mount):
    for name in ("a/x", "a/b/y", "c"):
        (mount.dir / name).parent.mkdir(exist_ok=True, parents=True)
        (mount.dir / name).write_bytes(noise(2 * MIB, 7 if name != "c" else 8))
    os.link(mount.dir / "a/x", mount.dir / "a/link")
    mount.destage()
    tree, = du(mount, "a")
    assert tree["files"] == 2 and tree["directories"] == 2
    assert tree["apparent"] == 4 * MIB
    assert near(tree["stored"], 2 * MIB) and tree["shared"] == 0
    everything, = du(mount, ".")
    assert near(everything["exclusive"], 4 * MIB)
    of_pool, = mount.json("du", mount.pool.path)
    assert of_pool["apparent"] == everything["apparent"]


def test_du_of_a_clone_and_of_holes(mount):
    (mount.dir / "one").write_bytes(noise(3 * MIB))
    with open(mount.dir / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(noise(MIB, 3))
    mount.destage()
    env.run("cp", mount.dir / "one", mount.dir / "two")
    mount.destage()
    one, two, sparse = du(mount, "one", "two", "sparse")
    assert one["exclusive"] == two["exclusive"] == 0 and near(two["shared"], 3 * MIB)
    assert sparse["apparent"] == 1 << 40 and near(sparse["logical"], MIB)


def test_du_wants_paths_of_one_mount(mount, home):
    (mount.dir / "f").write_text("x")
    done = mount.foldfs("du", mount.dir / "f", home, code=1)
    assert str(home) in done.stderr
    done = mount.foldfs("du", mount.dir / "nothing", code=1)
    assert "nothing" in done.stderr


def test_df_adds_up(mount):
    (mount.dir / "f").write_bytes(noise(4 * MIB))
    (mount.dir / "g").write_bytes(noise(4 * MIB))
    (mount.dir / "z").write_bytes(b"text " * MIB)
    mount.destage()
    df = mount.json("df")
    assert df["files"] == 3 and df["directories"] == 1 and df["inodes"] == 4
    assert df["destaged"] == df["logical"] == 13 * MIB == df["apparent"]
    assert df["unique"] < 9 * MIB + MIB and df["compressed"] < df["unique"]
    assert df["ratios"]["dedup"] == pytest.approx(df["destaged"] / df["unique"])
    parts = sum(df[part] for part in ("packs", "index", "log", "staging", "cache", "reserve"))
    assert df["used"] == parts and df["damaged_rows"] == 0


# ---- fsck


@pytest.fixture
def filled(pool):
    mount = pools.Mount(pool).start()
    for number in range(5):
        (mount.dir / f"f{number}").write_bytes(noise(700_000, number))
    mount.destage()
    mount.stop()
    return pool


def test_fsck_names_a_damaged_frame(filled):
    pack = next((filled.path / "packs").glob("*.pack"))
    with open(pack, "r+b") as file:
        file.seek(80)
        file.write(b"\xff" * 8)
    done = filled.fsck("-n", code=4)
    assert "is damaged" in done.stdout and "error" in done.stdout and done.stderr == ""
    tree = json.loads(filled.fsck("-n", "--json", code=4).stdout)
    assert tree["clean"] is False and tree["errors"] > 0
    assert tree["errors"] == [entry["kind"] for entry in tree["found"]].count("error")


def test_fsck_names_a_missing_pack(filled):
    pack = next((filled.path / "packs").glob("*.pack"))
    pack.rename(filled.home / "away")
    done = filled.fsck("-n", code=4)
    assert "is missing" in done.stdout


def test_fsck_after_a_crash_finds_nothing(mount):
    for number in range(30):
        (mount.dir / f"f{number}").write_bytes(noise(200_000, number))
    mount.kill()
    done = mount.pool.fsck("-n", "-f", "-v")
    assert "clean" in done.stdout
    mount.start()


# ---- the daemon's surroundings


def test_the_log_lands_in_the_pool(pool):
    mount = pools.Mount(pool)
    environ = {k: v for k, v in pool.environ.items() if k != "JOURNAL_STREAM"}
    env.run(env.binary("mount.foldfs"), pool.path, mount.dir, "-o", "log_level=debug",
            env=environ)
    mount.pid = pool.owner()
    try:
        assert (pool.path / "foldfs.log").exists()
        assert os.readlink(f"/proc/{mount.pid}/fd/2") == str(pool.path / "foldfs.log")
        assert os.readlink(f"/proc/{mount.pid}/cwd") == "/"
    finally:
        mount.stop()
    pool.fsck()


def test_the_daemon_keeps_no_descriptor_of_its_caller(pool):
    """A pipe from mount.foldfs ends with it: whoever reads it does not wait for the daemon."""
    mount = pools.Mount(pool)
    done = subprocess.run([env.binary("mount.foldfs"), "-v", pool.path, mount.dir],
                          env=pool.environ, capture_output=True, timeout=60 * env.SLOW)
    mount.pid = pool.owner()
    assert done.returncode == 0
    mount.stop()


def test_systemd_is_told(pool, home):
    mount = pools.Mount(pool)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(home / "notify"))
        server.settimeout(60)
        env.run(env.binary("mount.foldfs"), pool.path, mount.dir, "-o", f"log={mount.log}",
                env={**pool.environ, "NOTIFY_SOCKET": str(home / "notify")})
        text = server.recv(4096).decode()
    mount.pid = pool.owner()
    assert "READY=1" in text.splitlines() and f"MAINPID={mount.pid}" in text.splitlines()
    mount.stop()


def test_foreground(pool):
    mount = pools.Mount(pool)
    daemon = subprocess.Popen([env.binary("mount.foldfs"), "--foreground", pool.path, mount.dir],
                              env=pool.environ, stderr=subprocess.PIPE, text=True)
    env.until(lambda: os.path.ismount(mount.dir), "mounted")
    (mount.dir / "f").write_text("x")
    pool.run("umount.foldfs", mount.dir)
    assert daemon.wait(60) == 0


def test_a_pool_with_an_odd_name(pool):
    odd = pool.home / "a, b\\c d"
    pool.path.rename(odd)
    pool.path = odd
    mount = pools.Mount(pool, directory=pool.home / "m, n\\o p").start()
    (mount.dir / "f").write_text("x")
    assert mount.stats()["pool"] == str(odd)
    pool.run("umount.foldfs", odd)
    assert not os.path.ismount(mount.dir)
    mount.start()
    assert (mount.dir / "f").read_text() == "x"
    mount.stop()


def test_a_very_long_pool_path(home):
    """Longer than the address of a socket may be."""
    place = home
    for _ in range(4):
        place = place / ("long" * 20)
    place.mkdir(parents=True)
    mount = pools.Mount(pools.Pool(place), directory=home / "mnt").start()
    assert mount.stats()["mounted"] is True
    mount.stop()


def test_a_copy_in_another_namespace_does_not_hold_umount(mount):
    """Everything is synced, the sentence says who goes on, and the daemon ends with the copy."""
    env.need_tool("unshare")
    copy = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c",
                             "echo; exec sleep 600"], stdout=subprocess.PIPE)
    copy.stdout.readline()
    try:
        (mount.dir / "f").write_bytes(noise(MIB))
        done = mount.pool.run("umount.foldfs", mount.dir)
        assert "namespace" in done.stderr and not os.path.ismount(mount.dir)
        assert pools.alive(mount.pid)
    finally:
        copy.kill()
        copy.wait()
    pid, mount.pid = mount.pid, None
    env.until(lambda: not pools.alive(pid), "the daemon has ended", timeout=60)
    pools.reap(pid)
    mount.start()
    assert (mount.dir / "f").read_bytes() == noise(MIB)


def test_options_of_mkfs_stay_with_the_pool(home):
    pool = pools.Pool(home, destage_delay="7s", cache_size="32M", label="my pool")
    text = (pool.path / "foldfs.conf").read_text()
    assert "destage_delay = 7000ms" in text and "cache_size = 32M" in text and "label" not in text
    mount = pools.Mount(pool).start()
    stats = mount.stats()
    assert stats["label"] == "my pool" and stats["cache"]["region_bytes"] == 32 * MIB
    mount.stop()


def test_sync_destages_what_was_there_and_returns_under_constant_writing(new_mount):
    mount = new_mount(destage_delay=0, zstd_level=19)    # slow: destage is never done
    stop = threading.Event()

    def write_on(number):
        turn = 0
        while not stop.is_set():
            text = noise(100_000, 1000 * number + turn).hex().encode()
            (mount.dir / f"again{number}").write_bytes(text)
            (mount.dir / f"{number}.{turn % 10}").write_bytes(text[1000:])
            turn += 1

    writers = [threading.Thread(target=write_on, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        for turn in range(2):
            path = mount.dir / f"before{turn}"
            path.write_bytes(noise(400_000, 7 + turn))
            mount.foldfs("sync", "--destage", mount.dir, timeout=60)
            file, = du(mount, path.name)
            assert file["staged"] == 0 and near(file["stored"], 400_000), file
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_sync_waits_for_what_begins_anew_behind_a_writer(new_mount):
    """When a stretch behind the writer is stored the rest of the file is scheduled. Every close in the
    daemon is slowed down, which stretches the moment between the two: nobody may find it idle there."""
    env.need_tool("strace")
    mount = new_mount(staging_limit="48M", zstd_level=9)
    path = mount.dir / "large"
    slow = subprocess.Popen(["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=close",
                             "-e", "inject=close:delay_enter=100000", "-p", str(mount.pid)])
    try:
        env.until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{mount.pid}/status").read_text(),
                  "strace has attached")
        with open(path, "wb", buffering=0) as file:
            file.write(noise(21 * MIB).hex().encode())
            env.until(lambda: file.write(b"more") and mount.stats()["destage"]["active_files"],
                      "a stretch behind the writer is being stored")
        mount.destage()
        file, = du(mount, path.name)
    finally:
        slow.terminate()
        slow.wait()
    assert file["staged"] == 0, file


def test_strangers_may_not_ask(mount):
    """The socket is for root and the pool's owner."""
    env.need_tool("setpriv")
    done = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups",
                           env.binary("foldfs"), "stats", mount.dir],
                          env=mount.pool.environ, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1


def test_the_log_on_another_device(home):
    wal = home / "wal"
    wal.mkdir()
    pool = pools.Pool(home, wal_dir=wal)
    mount = pools.Mount(pool).start()
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.kill()
    assert any(path.name.startswith("wal-") for path in wal.iterdir())
    mount.start()
    (mount.dir / "g").write_bytes(noise(MIB))
    mount.stop()
    second = home / "second"
    done = pool.run("mkfs.foldfs", "-o", f"wal_dir={wal}", second, code=1)
    assert "belongs to another pool" in done.stderr and not second.exists()
    (home / "file").touch()
    for name, why in (("nowhere", "No such file"), ("file", "Not a directory")):
        done = pool.run("mkfs.foldfs", "-o", f"wal_dir={home}/{name}", second, code=1)
        assert f"{home}/{name} (wal_dir)" in done.stderr and why in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and not second.exists()
    mount.start()
    assert (mount.dir / "g").read_bytes() == noise(MIB)
    mount.stop()
