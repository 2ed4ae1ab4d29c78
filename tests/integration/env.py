# SPDX-License-Identifier: MIT
"""What the tests run against: the build, the machine's abilities, and what to do without them.

FOLDFS_BUILD            the build directory (default: build in the source tree)
FOLDFS_TEST_REFERENCE=1 a plain directory stands in for the mount: shows that the tests are right
FOLDFS_TEST_REQUIRE=1   a test that would be skipped for want of something fails instead (./check)
FOLDFS_TEST_MODES       I/O modes to run the data tests in (default: native,mediated)
FOLDFS_TEST_SOURCES     where fetched source trees are kept (default: build/test-sources)
FOLDFS_TEST_SLOW        factor for every deadline (sanitizers, slow disks)
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FOLDFS_BUILD", SOURCE / "build")).resolve()
REFERENCE = os.environ.get("FOLDFS_TEST_REFERENCE") == "1"
REQUIRE = os.environ.get("FOLDFS_TEST_REQUIRE") == "1"
# Not the default (auto): test_transport.py switches io_uring on for the whole machine while it runs.
TRANSPORT = os.environ.get("FOLDFS_TEST_TRANSPORT", "dev")
MODES = os.environ.get("FOLDFS_TEST_MODES", "native,mediated").split(",")
SLOW = float(os.environ.get("FOLDFS_TEST_SLOW", "1"))


def lacking(reason):
    """Ends the test: skipped, or failed where nothing may be skipped."""
    if REQUIRE:
        pytest.fail(f"FOLDFS_TEST_REQUIRE is set, and {reason}", pytrace=False)
    pytest.skip(reason)


def need_tool(*names):
    for name in names:
        if not shutil.which(name):
            lacking(f"{name} is not installed")


def need_root():
    if os.geteuid() != 0:
        lacking("this needs root")


def need_fuse():
    need_root()
    if not os.path.exists("/dev/fuse"):
        lacking("there is no /dev/fuse")


def binary(name):
    """Path of one of our own programs."""
    path = BUILD / name
    if not path.exists():
        lacking(f"{path} is not built")
    return str(path)


def run(*argv, code=0, timeout=120, **options):
    """Runs a command to its end. CODE: the expected status, or None for any."""
    argv = [os.fspath(arg) for arg in argv]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="surrogateescape", timeout=timeout * SLOW, **options)
    assert code is None or done.returncode == code, (
        f"{' '.join(argv)}: status {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done


def until(condition, what, timeout=120, interval=0.01):
    """Polls CONDITION until it is true and returns its value; fails after TIMEOUT seconds."""
    deadline = time.monotonic() + timeout * SLOW
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {timeout * SLOW:g} s still not: {what}"
        time.sleep(interval)
        interval = min(interval * 1.5, 0.25)
    return value
