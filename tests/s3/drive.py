# SPDX-License-Identifier: MIT
"""Runs s3_drive, which asks an object store as C code of foldfs would."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FOLDFS_BUILD", SOURCE / "build")).resolve()
REQUIRE = os.environ.get("FOLDFS_TEST_REQUIRE") == "1"
SLOW = float(os.environ.get("FOLDFS_TEST_SLOW", "1"))


def lacking(reason):
    """Ends the test: skipped, or failed where nothing may be skipped."""
    if REQUIRE:
        pytest.fail(f"FOLDFS_TEST_REQUIRE is set, and {reason}", pytrace=False)
    pytest.skip(reason)


def until(condition, what, timeout=120):
    """Polls CONDITION until it is true; fails after TIMEOUT seconds."""
    deadline = time.monotonic() + timeout * SLOW
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout * SLOW:g} s still not: {what}"
        time.sleep(0.01)


class Drive:
    """A way to ask one place: run("get", "key", 0, 10) gives the answer as a dictionary."""

    def __init__(self, home, endpoint, place="s3://bucket/pre/fix", keys=None, **options):
        self.program = BUILD / "tests" / "s3" / "s3_drive"
        if not self.program.exists():
            lacking(f"{self.program} is not built (no libcurl, libcrypto or expat?)")
        self.home, self.place = Path(home), place
        self.options = {"endpoint": endpoint, "tries": 4, "backoff_ms": 10, "backoff_max_ms": 40,
                        "timeout_ms": 60000, **options}
        self.environ = {name: value for name, value in os.environ.items()
                        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}
        self.environ["HOME"] = str(home)
        if keys:
            self.environ["AWS_ACCESS_KEY_ID"], self.environ["AWS_SECRET_ACCESS_KEY"] = keys

    def start(self, *commands, **options):
        given = {**self.options, **options}
        words = [f"{name}={value}" for name, value in given.items() if value is not None]
        argv = [str(self.program), self.place, *words]
        for command in commands:
            argv += ["--", *map(str, command)]
        return subprocess.Popen(argv, env=self.environ, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def all(self, *commands, **options):
        """The answers to several commands of one client."""
        with self.start(*commands, **options) as running:
            out, err = running.communicate(timeout=120 * SLOW)
            assert running.returncode == 0 and not err, f"status {running.returncode}\n{out}{err}"
        return [json.loads(line) for line in out.splitlines()]

    def run(self, *command, **options):
        return self.all(command, **options)[0]

    def get(self, key, at, length, **options):
        """Answer and bytes of a range."""
        out = self.home / "out"
        out.unlink(missing_ok=True)
        answer = self.run("get", key, at, length, out, **options)
        return answer, out.read_bytes() if out.exists() else None

    def file(self, data, name="source"):
        path = self.home / name
        path.write_bytes(data)
        return path
