# SPDX-License-Identifier: MIT
"""Each path to an allocation fails once, and each call that reads: see memory.py. The quick run takes a sample."""

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


def scenario(kind, home, faulty=memory.Scenario):
    template = faults.make_pool(home)
    run = getattr(memory, kind)
    return faulty(run, template) if kind in ("live", "tour") else faulty(run, *memory.killed(template, home))


def survive(tried, kind, home, what, most=None):
    there = sorted(tried.sites(home / "whole"))
    chosen = there if most is None else random.Random(1).sample(there, min(most, len(there)))
    results = tried.try_sites(home, chosen)
    failures, hits = [text for text, _ in results if text], sum(hit for _, hit in results)
    power.REPORT.append(f"failing {what} ({kind}): {len(chosen) - len(failures)} of {len(chosen)} "
                        f"survived, of {len(there)} there are; in {hits} runs one failed")
    assert 2 * hits > len(chosen), "most runs were without a fault"
    if failures:
        raise AssertionError(f"{len(failures)} of {len(chosen)} failing {what} did harm:\n"
                             + "\n".join(failures[:20]))


@pytest.mark.parametrize("kind", KINDS)
def test_failing_allocations(kind, home):
    survive(scenario(kind, home), kind, home, "allocations", SAMPLE)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_failing_allocation(kind, home):
    survive(scenario(kind, home), kind, home, "allocations")


@pytest.mark.parametrize("kind", KINDS)
def test_failing_reads(kind, home):
    survive(scenario(kind, home, memory.Reads), kind, home, "reads", SAMPLE)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_failing_read(kind, home):
    survive(scenario(kind, home, memory.Reads), kind, home, "reads")
