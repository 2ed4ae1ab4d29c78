# SPDX-License-Identifier: MIT
"""Threads that receive requests run where the one process runs that makes them, and anywhere when there are several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import env

pytestmark = pytest.mark.foldfs

# Asks for names that are not there, as long as its parent lives.
ASK = """
import os, sys
directory, processor = sys.argv[1], int(sys.argv[2])
if processor >= 0:
    os.sched_setaffinity(0, {processor})
number = 0
while os.getppid() != 1:
    number += 1
    os.path.exists(f"{directory}/{os.getpid()}-{number}")
"""


class Caller:
    def __init__(self, mount, processor=-1):
        self.process = subprocess.Popen([sys.executable, "-c", ASK, mount.dir, str(processor)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def receivers(mount):
    """Where each thread that receives requests may run."""
    places = []
    for task in Path(f"/proc/{mount.pid}/task").iterdir():
        try:
            if (task / "comm").read_text() == "fuse_worker\n":
                places.append(os.sched_getaffinity(int(task.name)))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return places


@pytest.fixture
def processors():
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("this needs two processors")
    return mine


def lookups(mount):
    return mount.stats()["requests"]["lookup"]


@pytest.mark.asan
def test_receivers_follow_a_caller(new_mount, processors):
    mount = new_mount(transport="dev")
    for processor in processors[:2] * 2:
        with Caller(mount, processor):
            env.until(lambda p=processor: {p} in receivers(mount), "a receiver runs where its caller does")
    with Caller(mount), Caller(mount):
        env.until(lambda: set(processors) in receivers(mount) and
                  all(place == set(processors) for place in receivers(mount)), "receivers run anywhere")


def test_receivers_stay_where_they_are(new_mount, processors):
    mount = new_mount(transport="dev", near_caller="no")
    with Caller(mount, processors[0]):
        env.until(lambda: lookups(mount) > 2000, "requests have been answered")
        assert all(place == set(processors) for place in receivers(mount))


# Alone, until receivers have come to it; then what others than receivers answer.
SYNC = """
import os, sys
directory, processor = sys.argv[1], int(sys.argv[2])
os.sched_setaffinity(0, {processor})
for number in range(1000):
    os.path.exists(f"{directory}/{number}")
with open(f"{directory}/f", "wb") as file:
    file.write(b"something")
    os.fsync(file.fileno())
"""


def test_other_threads_are_not_confined(new_mount, processors):
    """What a receiver has work done by begins anywhere, though threads inherit where they may run."""
    mount = new_mount(transport="dev")
    env.run(sys.executable, "-c", SYNC, mount.dir, str(processors[0]))
    assert {processors[0]} in receivers(mount)
    waiters = [int(task.name) for task in Path(f"/proc/{mount.pid}/task").iterdir()
               if (task / "comm").read_text() == "waiter\n"]
    assert waiters
    assert all(os.sched_getaffinity(waiter) == set(processors) for waiter in waiters)
