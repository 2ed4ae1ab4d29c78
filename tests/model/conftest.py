# SPDX-License-Identifier: MIT
"""The helpers of the integration tests are used here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run on the sanitizer build")
    config.addinivalue_line("markers", "full: takes long; left out of the quick run")
