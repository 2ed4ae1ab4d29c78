# SPDX-License-Identifier: MIT
"""`server` is a small object store in this process, `drive` the way to have it asked."""

import pytest

from drive import Drive
from store_server import SECRETS, Server


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def drive(server, tmp_path):
    return Drive(tmp_path, server.endpoint, keys=next(iter(SECRETS.items())))
