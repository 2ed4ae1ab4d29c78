# SPDX-License-Identifier: MIT
"""The block cache's file takes no room that others will want, and says why when there is none of it."""

import os

import pytest

import loops
import pools

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20


def mounted(home, loop, **options):
    mount = pools.Mount(loop.pool(home, **options))
    mount.expect_log("cache: ")
    mount.start()
    return mount


@pytest.fixture
def large_loop(home):
    """A tenth of it is much more than the log's next segment, which is prepared before the region or after it."""
    made = loops.Loop(home, 2 << 30)
    yield made
    made.close()


def test_a_tenth_of_the_disk_is_left(home, large_loop):
    loop = large_loop
    mount = mounted(home, loop, cache_size="0")
    mount.stop()
    tenth = os.statvfs(loop.dir).f_blocks * os.statvfs(loop.dir).f_frsize // 10
    for room in range(0, 400, 40):
        size = loop.avail() // MIB - room
        mount.start(cache_size=f"{size}M")
        assert 64 * MIB <= mount.stats()["cache"]["region_bytes"] <= size * MIB
        assert loop.avail() >= tenth - 40 * MIB  # the index and the log were given some
        mount.stop()
        (mount.pool.path / "cache" / "region").unlink()


def test_what_it_has_it_keeps(home, loop):
    mount = mounted(home, loop, cache_size="64M")
    mount.stop()
    loop.fill(loop.avail() - 45 * MIB)
    mount.start()
    assert mount.stats()["cache"]["region_bytes"] == 64 * MIB
    mount.stop()


@pytest.mark.parametrize("size", ["0", "4095K"])
def test_who_wants_none_gets_its_room_back(home, loop, size):
    mount = mounted(home, loop, cache_size="64M")
    mount.stop()
    assert sorted(os.listdir(mount.pool.path / "cache")) == ["region", "table"]
    mount.start(cache_size=size)
    assert os.listdir(mount.pool.path / "cache") == []
    mount.stop()


def test_less_than_the_least_is_no_lack_of_space(home, loop):
    mount = mounted(home, loop, cache_size="4095")
    assert mount.stats()["cache"]["region_bytes"] == 0
    said = mount.log.read_text()
    assert "too small to be of use" in said and "No space" not in said
    mount.stop()
