# SPDX-License-Identifier: MIT
"""Power cuts during whole workloads: every flush boundary and many moments between."""

import dataclasses
import os

import pytest

import power
from actors import GENERAL

ALL = GENERAL
FULL_STATES = int(os.environ.get("FOLDFS_CRASH_STATES", "20000"))
FULL_DISK = power.Workload(("glutton", "overwriter", "namer"), steps=4, rounds=2, room=96 << 20,
                           tolerant=True, options=power.MOUNT_OPTIONS + ",reserve_size=4M")
MIXED = power.Workload(ALL, steps=3, rounds=2, seed=1)


def test_mixed_workload(images, ram):
    """The short workload of every run: all flush boundaries, and 300 states at least."""
    power.survive(images("ext4"), ram / "mixed", MIXED, 300)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_filesystems(images, ram, kind):
    power.survive(images(kind), ram / kind, dataclasses.replace(MIXED, rounds=1, steps=2), 40,
                  whole=False)


def test_recovery_is_cut_too(images, ram):
    """The power goes again while a crashed pool is being mounted, destaged and unmounted."""
    recording = power.record(images("ext4"), ram / "first", MIXED)
    boundary = [s for s in power.plan(recording).states if s.mode == "none"]
    for state in boundary[len(boundary) // 3::len(boundary) // 3][:2]:
        power.survive_recovery(recording, state, ram / f"again{state.number}", 30)


def survive_full_disk(image, home, workload, at_least, whole=True):
    recording = power.record(image, home, workload)
    assert recording.actors[0].refused, f"the disk never was full: {recording.actors[0].refusal!r}"
    power.judge(recording, home, at_least, whole)
    power.forget(home)


def test_full_disk(images, ram):
    survive_full_disk(images("ext4"), ram / "full", dataclasses.replace(FULL_DISK, steps=2, rounds=1), 40,
                      whole=False)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("seed", (1, 2))
def test_full_disk_often(images, ram, seed, kind):
    survive_full_disk(images(kind), ram / f"full-{kind}-{seed}", dataclasses.replace(FULL_DISK, seed=seed), 0)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("actor", ALL + ("all",))
def test_everything(images, ram, actor, kind):
    """Every flush boundary of every workload on every filesystem, and FULL_STATES in all."""
    kinds = ALL if actor == "all" else (actor,)
    share = {"ext4": 0.6, "xfs": 0.2, "btrfs": 0.2}[kind]
    states = int(FULL_STATES * share / (len(ALL) + 1)) + 1
    steps = 12 if actor == "all" else 40
    for seed in (1, 2):
        workload = power.Workload(kinds, steps=steps, rounds=3, seed=seed, pause_s=3)
        power.survive(images(kind), ram / f"{actor}-{kind}-{seed}", workload, (states + 1) // 2)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_recovery_is_cut_too_often(images, ram, kind):
    recording = power.record(images(kind), ram / f"first-{kind}", MIXED)
    boundary = [s for s in power.plan(recording).states if s.mode == "none"]
    for state in boundary[len(boundary) // 8::len(boundary) // 8]:
        power.survive_recovery(recording, state, ram / f"again{kind}{state.number}", 60)
