# SPDX-License-Identifier: MIT
"""The daemon dies: killed at random moments, and at every fault point in turn. The backing filesystem
goes on, so what was written stays; what only the daemon knew is gone.
"""

import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import env
import power
from actors import GENERAL
from disks import POOL_OPTIONS, Served, fsck

ALL = GENERAL
POINTS = ("write", "fdatasync", "fsync", "fsync_dir", "rename", "wal_write", "wal_sync", "wal_allocate",
          "checkpoint", "pack_create", "pack_write", "pack_read")
LIMIT = 100000


@pytest.fixture
def pool(ram):
    home = Path(tempfile.mkdtemp(dir=ram))
    env.run(env.binary("mkfs.foldfs"), "-o", POOL_OPTIONS, home / "pool")
    return home / "pool"


def live_and_die(pool, workload, progress, rounds=2):
    """Runs the workload until the daemon is dead, or to its end. Returns the actors and the daemon's
    status: 0 after a clean unmount."""
    actors = power.make_actors(workload, progress)
    chooser = random.Random(workload.seed)
    for _ in range(rounds):
        served = Served(pool, pool.parent / "live", workload.options, workload.environ)
        progress.served = served
        try:
            served.start()
        except AssertionError:
            env.run("umount", "-l", served.dir, code=None)
            return actors, served.process.returncode
        try:
            power.take_turns(actors, served.dir, workload, chooser)
        except (OSError, sqlite3.Error):
            if served.alive():
                try:
                    served.process.wait(5)
                except subprocess.TimeoutExpired:
                    served.kill()
                    raise
            return actors, served.bury()
        for actor in actors:
            actor.sync_begins()
        env.run("umount", served.dir, code=None)
        if status := served.bury():
            return actors, status
        for actor in actors:
            actor.sync_ends()
    return actors, 0


def check_after(pool, actors, progress, options):
    served = Served(pool, pool.parent / "after", options).start()
    try:
        for actor in actors:
            actor.check(served.dir, *progress.of.get(actor.name, (0, 0)))
        served.unmount()
    except BaseException as exc:
        served.kill() if served.alive() else served.bury()
        exc.add_note(served.log_text()[-2000:])
        raise
    fsck(pool)


def killed_once(pool, seed):
    chooser = random.Random(seed)
    workload = power.Workload(ALL, steps=3, seed=seed)
    progress = power.Progress()
    delay = chooser.random() * 0.02

    def kill():
        timer = threading.Timer(delay, lambda: progress.served.process.send_signal(signal.SIGKILL))
        timer.daemon = True
        timer.start()

    progress.at, progress.action = chooser.randrange(1, 500), kill
    actors, _ = live_and_die(pool, workload, progress)
    check_after(pool, actors, progress, workload.options)


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random(pool, seed):
    killed_once(pool, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 400))
def test_killed_at_random_often(pool, seed):
    killed_once(pool, seed)


def numbers(growth):
    """1, 2, 3 … growing further apart."""
    n = 1
    while n < LIMIT:
        yield n
        n = max(n + 1, int(n * growth))


def die_at_point(ram, point, growth):
    """Crashes at passes through the point, until there are no more. Returns how many."""
    tried = 0
    for n in numbers(growth):
        home = Path(tempfile.mkdtemp(dir=ram))
        env.run(env.binary("mkfs.foldfs"), "-o", POOL_OPTIONS, home / "pool")
        workload = power.Workload(ALL, steps=2, seed=n, environ={"FOLDFS_FAULT": f"{point}:{n}=crash"})
        progress = power.Progress()
        actors, status = live_and_die(home / "pool", workload, progress)
        try:
            check_after(home / "pool", actors, progress, workload.options)
        except AssertionError as exc:
            raise AssertionError(f"{point}:{n}=crash: {exc}") from exc
        env.run("rm", "-r", home)
        if status == 0:
            break
        assert status == 99, f"{point}:{n}=crash: the daemon ended with status {status}"
        tried += 1
    print(f"{point}: {tried} of {tried} crashes survived, the last at pass {n} or before")
    return tried


@pytest.mark.parametrize("point", POINTS)
def test_crash_at_a_fault_point(ram, point):
    die_at_point(ram, point, 4)


@pytest.mark.full
@pytest.mark.parametrize("point", POINTS)
def test_crash_at_every_pass(ram, point):
    die_at_point(ram, point, 1.1)
