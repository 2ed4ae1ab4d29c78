# SPDX-License-Identifier: MIT
"""The helpers of the integration tests are used here too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import disks  # noqa: E402
import env  # noqa: E402
import power  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")


def pytest_terminal_summary(terminalreporter):
    if power.TOTALS.tried:
        terminalreporter.write_line(power.TOTALS.line())
    for line in power.REPORT:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def ram(request, tmp_path_factory):
    """Stays when a test has failed, with its recording."""
    env.need_root()
    env.need_fuse()
    made = disks.Ram(tmp_path_factory.mktemp("ram"))
    yield made.path
    if not request.session.testsfailed:
        made.done()


@pytest.fixture(scope="session")
def images(ram):
    """Function that gives the image of a filesystem with an empty pool in it."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = disks.make_image(ram / f"{kind}.image", kind, ram / "making")
        return made[kind]

    return get
