# SPDX-License-Identifier: MIT
"""What the daemon does to staging files, by the calls that it makes; a sanitizer would not be preloaded beside."""

import pytest

from pattern import noise

pytestmark = pytest.mark.foldfs


@pytest.mark.parametrize("mode", ["auto", "mediated"])
def test_a_new_file_is_not_truncated(new_mount, mode):
    """To nothing, which it is already: ext4 would then write all of it at the close (auto_da_alloc), and destage
    once more."""
    mount = new_mount(mode=mode, destage_delay=600)
    mount.stop()
    calls = mount.pool.count_calls("staging")
    mount.start()
    (mount.dir / "f").write_bytes(noise(1 << 20))
    made = [line.split()[1] for line in calls.read_text().splitlines()]
    assert "create" in made
    assert "ftruncate" not in made
