# SPDX-License-Identifier: MIT
"""foldfs bench: figures of some kind, advice, and nothing left behind, however it ends."""

import fcntl
import json
import os
import signal
import subprocess

import env
import pools
import pytest

pytestmark = pytest.mark.foldfs

FIGURES = {
    "cpu": ("chunk", "digest", "compress", "decompress", "together"),
    "device": ("write", "read", "reread", "sync_ms", "sync_late_ms", "bytes"),
    "mount": ("write", "read", "reread", "sync_ms", "sync_late_ms", "creates", "stats", "unlinks", "bytes"),
    "stored": ("destage", "read", "reread", "bytes"),
}
PARTS = {"write", "read", "reread", "sync", "creates", "stats", "unlinks", "destage"}


def left_in(pool):
    """Files of the bench in the pool, with or without a name."""
    return [path for path in pool.path.rglob("*bench*")]


def test_bench_measures_and_leaves_nothing(mount):
    tree = json.loads(mount.foldfs("bench", "--json", mount.dir, timeout=120).stdout)
    for part, names in FIGURES.items():
        if part == "stored" and "destage" in tree[part]["cut_short"]:
            names = ("destage", "bytes")
        assert all(tree[part][name] > 0 for name in names), tree
    assert all(set(tree[part]["cut_short"]) <= PARTS for part in ("device", "mount", "stored"))
    assert tree["advice"] and tree["cpu"]["ratio"] > 1.2
    assert list(mount.dir.iterdir()) == [] and left_in(mount.pool) == []
    env.until(lambda: mount.stats()["staging_bytes"] == 0, "nothing is staged")


def test_bench_of_a_pool_that_is_not_mounted(mount):
    mount.stop()
    done = mount.foldfs("bench", mount.pool.path, timeout=120)
    assert "was not measured" in done.stdout and "compress" in done.stdout
    assert "destage a large file" not in done.stdout
    assert left_in(mount.pool) == []
    mount.start()


def test_what_is_read_of_the_stored_file_comes_from_packs(mount):
    before = mount.stats()
    done = mount.foldfs("bench", mount.dir, timeout=120).stdout
    after = mount.stats()
    assert "What is stored in it" in done and "destage a large file" in done
    assert after["destage"]["bytes"] - before["destage"]["bytes"] >= 8 << 20
    assert after["counters"]["read_bytes"] - before["counters"]["read_bytes"] >= 8 << 20
    new = after["packer"]["bytes_new"] - before["packer"]["bytes_new"]
    assert new >= 8 << 20
    assert after["packer"]["bytes_stored"] - before["packer"]["bytes_stored"] < 0.75 * new


@pytest.mark.asan
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["large", "f0", "stored"])
def test_a_bench_that_is_interrupted_leaves_nothing(mount, name, number):
    bench = subprocess.Popen([env.binary("foldfs"), "bench", mount.dir], env=mount.pool.environ,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        env.until(lambda: list(mount.dir.glob(f".foldfs-bench-*/{name}")), f"{name} is there")
        bench.send_signal(number)
        out, err = bench.communicate(timeout=120 * env.SLOW)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == -number and out == "" and err == ""
    assert list(mount.dir.iterdir()) == [] and left_in(mount.pool) == []
    env.until(lambda: mount.stats()["staging_bytes"] == 0, "nothing is staged")


def test_what_a_killed_bench_left_goes_with_the_next_and_nothing_else(mount):
    others = mount.dir / ".foldfs-bench-kept"
    filled = mount.dir / ".foldfs-bench-1"
    of_another = mount.dir / ".foldfs-bench-2"
    under_way = mount.dir / ".foldfs-bench-3"
    kept = [others / "f0", filled / "letter", of_another / "f0", under_way / "f0"]
    for path in kept:
        path.parent.mkdir()
        path.write_text("mine")
    os.chown(of_another, 1, 1)
    held = os.open(under_way, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        bench = subprocess.Popen([env.binary("foldfs"), "bench", mount.dir], env=mount.pool.environ,
                                 stdout=subprocess.DEVNULL)
        try:
            env.until(lambda: list(mount.dir.glob(".foldfs-bench-*/large")), "it has begun")
        finally:
            bench.kill()
            bench.wait()
        left, = mount.dir.glob(".foldfs-bench-*/large")
        (left.parent / "f3999").write_text("of the bench")
        mount.foldfs("bench", mount.dir, timeout=120)
    finally:
        os.close(held)
    assert sorted(mount.dir.rglob("*")) == sorted(kept + [path.parent for path in kept])
