# SPDX-License-Identifier: MIT
"""The helpers of the other tests are used here too."""

import sys
from pathlib import Path

import pytest

for folder in ("integration", "crash"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

import disks  # noqa: E402
import env  # noqa: E402

REPORT = []


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")


def pytest_terminal_summary(terminalreporter):
    for line in REPORT:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report():
    """Lines for the end of the run."""
    return REPORT


@pytest.fixture(scope="session")
def ram(request, tmp_path_factory):
    env.need_root()
    env.need_fuse()
    made = disks.Ram(tmp_path_factory.mktemp("ram"))
    yield made.path
    if not request.session.testsfailed:
        made.done()
