# SPDX-License-Identifier: MIT


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")
