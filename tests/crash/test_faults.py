# SPDX-License-Identifier: MIT
"""Every call that changes the pool fails once, in turn: see faults.py. The quick run takes a sample."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

import env
import faults
import power
from disks import Served, fsck

SAMPLE = int(os.environ.get("FOLDFS_FAULTS", "60"))


@pytest.fixture
def home(ram):
    return Path(tempfile.mkdtemp(dir=ram))


def survive(home, choose):
    template = faults.make_pool(home)
    there = faults.points(template, home / "whole")
    chosen = choose(there)
    failures = faults.try_points(template, home, chosen)
    power.REPORT.append(f"failing calls: {len(chosen) - len(failures)} of {len(chosen)} survived, of "
                        f"{len(there)} there are")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(chosen)} failing calls did harm:\n"
                             + "\n".join(failures[:5]))


def test_failing_calls(home):
    survive(home, lambda there: random.Random(1).sample(there, min(SAMPLE, len(there))))


@pytest.mark.full
def test_every_failing_call(home):
    survive(home, lambda there: there)


def test_pool_that_vanishes(home):
    """Its directory is removed below a mount: errors for everybody, and the daemon can be unmounted."""
    pool = faults.make_pool(home)
    served = Served(pool, home / "live", faults.WORKLOAD.options).start()
    (served.dir / "file").write_bytes(b"x" * 300000)
    env.run(env.binary("foldfs"), "sync", "--destage", served.dir)
    shutil.rmtree(pool)
    with pytest.raises(OSError):
        for i in range(100):
            with open(served.dir / f"file{i}", "wb") as file:
                file.write(b"y" * 300000)
                os.fsync(file.fileno())
    env.run("umount", served.dir)
    assert served.bury() >= 0, "the daemon died of a signal"
    assert "No such file or directory" in served.log_text()


def test_pool_that_is_moved(home):
    """The daemon holds its directory, wherever that goes."""
    pool = faults.make_pool(home)
    served = Served(pool, home / "live", faults.WORKLOAD.options).start()
    (served.dir / "before").write_bytes(b"x" * 300000)
    pool.rename(home / "elsewhere")
    (served.dir / "after").write_bytes(b"y" * 300000)
    served.unmount()
    fsck(home / "elsewhere")
    with power.mounted(home / "elsewhere", home, faults.WORKLOAD.options) as mount:
        assert (mount / "before").read_bytes() == b"x" * 300000
        assert (mount / "after").read_bytes() == b"y" * 300000
