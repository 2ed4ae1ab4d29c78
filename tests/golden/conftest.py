# SPDX-License-Identifier: MIT
"""The helpers of the integration tests are used here too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import env  # noqa: E402
import goldens  # noqa: E402


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """Function that gives a golden pool's path, to be copied and not touched."""
    goldens.need_tools()
    base = tmp_path_factory.mktemp("golden")
    made = {}

    def get(name):
        if name not in made:
            made[name] = goldens.unpack(name, base / name)
        return made[name]

    return get


@pytest.fixture
def place(tmp_path):
    """A directory for one test; what is still mounted there afterwards goes."""
    yield tmp_path
    for mounted in [line.split()[4] for line in open("/proc/self/mountinfo")]:
        if Path(mounted).is_relative_to(tmp_path):
            env.run("umount", "-l", mounted, code=None)
