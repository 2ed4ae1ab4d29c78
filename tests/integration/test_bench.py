# SPDX-License-Identifier: MIT
"""foldfs bench: figures of some kind, advice, and nothing left behind. Not with sanitizers: it is about time."""

import json

import pytest

pytestmark = pytest.mark.foldfs


def test_bench_measures_and_leaves_nothing(mount):
    tree = json.loads(mount.foldfs("bench", "--json", mount.dir, timeout=120).stdout)
    for part, names in (("cpu", ("chunk", "digest", "compress", "decompress", "together")),
                        ("device", ("write", "read", "reread", "sync_ms")),
                        ("mount", ("write", "read", "reread", "sync_ms", "creates", "stats", "unlinks"))):
        assert all(tree[part][name] > 0 for name in names), tree
    assert tree["advice"] and tree["cpu"]["ratio"] > 1.2
    assert list(mount.dir.iterdir()) == []
    mount.stop()
    done = mount.foldfs("bench", mount.pool.path, timeout=120)
    assert "was not measured" in done.stdout and "compress" in done.stdout
    mount.start()
