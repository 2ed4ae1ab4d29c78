# SPDX-License-Identifier: MIT
"""Each path to an allocation fails once: see memory.py. The quick run takes a sample."""

import os
import random
import tempfile
from pathlib import Path

import pytest

import faults
import memory
import power

KINDS = ["live", "tour", "recover", "repair", "restore"]
SAMPLE = int(os.environ.get("FOLDFS_FAULTS", "60")) // 3


@pytest.fixture
def home(ram):
    return Path(tempfile.mkdtemp(dir=ram))


def scenario(kind, home):
    template = faults.make_pool(home)
    run = getattr(memory, kind)
    return memory.Scenario(run, template) if kind in ("live", "tour") else memory.Scenario(
        run, *memory.killed(template, home))


def survive(kind, home, most=None):
    tried = scenario(kind, home)
    there = sorted(tried.sites(home / "whole"))
    chosen = there if most is None else random.Random(1).sample(there, min(most, len(there)))
    failures = tried.try_sites(home, chosen)
    power.REPORT.append(f"failing allocations ({kind}): {len(chosen) - len(failures)} of {len(chosen)} "
                        f"survived, of {len(there)} there are")
    if failures:
        raise AssertionError(f"{len(failures)} of {len(chosen)} failing allocations did harm:\n"
                             + "\n".join(failures[:20]))


@pytest.mark.parametrize("kind", KINDS)
def test_failing_allocations(kind, home):
    survive(kind, home, SAMPLE)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_failing_allocation(kind, home):
    survive(kind, home)
