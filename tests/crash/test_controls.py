# SPDX-License-Identifier: MIT
"""The tests of power cuts would notice: a daemon that leaves out a sync must not survive them."""

import pytest

import power
import test_promises  # noqa: F401 (its scenarios are actors)

CONTROLS = {
    "fdatasync:1+=skip": ("smallfiles", "overwriter"),
    "wal_sync:1+=skip": ("smallfiles", "namer"),
    "fsync_dir:1+=skip": ("large_unsynced_beside_small_synced",),
    "lmdb_sync:1+=skip": ("smallfiles", "renamestorm", "namer"),
    "keep_dirty:1+=skip": ("smallfiles", "rewriter"),  # what a tick has left to destage, no sync finds
}
SYNCS = {"keep_dirty:1+=skip": 0.3}
OPTIONS = {"keep_dirty:1+=skip": "wal_sync_interval=100ms,destage_delay=600s"}


@pytest.mark.parametrize("fault", CONTROLS)
def test_a_missing_sync_is_noticed(images, ram, fault):
    """Without syncs of their own, other writes' flushes hide much: several seeds are allowed."""
    for seed in range(1, 7):
        workload = power.Workload(CONTROLS[fault], steps=8, rounds=2, seed=seed,
                                  environ={"FOLDFS_FAULT": fault}, syncs=SYNCS.get(fault, 0.0),
                                  options=OPTIONS.get(fault, power.MOUNT_OPTIONS))
        home = ram / f"{fault.split(':')[0]}{seed}"
        recording = power.record(images("ext4"), home, workload)
        states = power.plan(recording, 200, seed, marked=True).states
        outcome = power.run_states(recording, states, home, stop_after=1)
        power.forget(home)
        if outcome.failures:
            print(f"{fault}: noticed after {outcome.tried} states: {outcome.failures[0][1][:300]}")
            return
    pytest.fail(f"{fault} goes unnoticed")
