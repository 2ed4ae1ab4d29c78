# SPDX-License-Identifier: MIT
"""What bench/compare says of its goals: nothing is called met that the run did not show."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench" / "lib"))
import report  # noqa: E402

pytestmark = pytest.mark.foldfs

GOALS = [("passthrough", 3), ("floor", 0.85)]


def last_cells(samples, goals=GOALS, limit=None, ran=None):
    """Goals and verdict that the table has for one row with these figures, one a filesystem."""
    row = {"name": "creates", "title": "creates", "unit": "k/s", "caches": "none", "goals": goals,
           "limit": limit, "lower_is_better": False}
    results = {"rows": [row], "filesystems": ran or list(samples),
               "samples": {"creates": {name: [value] for name, value in samples.items()}}}
    line = list(report.table(results))[-1]
    return [cell.strip() for cell in line.split("|")[-3:-1]]


def test_met_when_each_goal_is_shown():
    _, verdict = last_cells({"passthrough": 4, "floor": 14, "foldfs": 12})
    assert verdict == "met"


def test_one_goal_that_was_not_run_leaves_it_open():
    goals, verdict = last_cells({"passthrough": 4, "foldfs": 12})
    assert goals == ">= 3 x passthrough: 3.00; >= 0.85 x floor: floor not run"
    assert verdict == "open"


def test_one_missed_goal_is_enough():
    goals, verdict = last_cells({"passthrough": 4, "foldfs": 11})
    assert "floor not run" in goals and verdict == "**missed**"


def test_over_io_uring_the_floor_is_that_over_io_uring():
    goals, verdict = last_cells({"passthrough": 4, "floor": 14, "foldfs": 12, "foldfs-rings": 20})
    assert goals.endswith("; over io_uring >= 3 x passthrough: 5.00; >= 0.85 x floor-rings: floor-rings not run")
    assert verdict == "met; over io_uring open"


def test_what_ran_and_failed_has_no_figure():
    goals, verdict = last_cells({"passthrough": 4, "foldfs": 12}, ran=["passthrough", "floor", "foldfs"])
    assert goals.endswith(">= 0.85 x floor: no figure of floor") and verdict == "open"


def test_the_row_of_another_filesystem():
    goals, verdict = last_cells({"foldfs": 12}, [("ext4:zstd", 0.9)])
    assert goals == ">= 0.9 x ext4:zstd: ext4 not run" and verdict == "open"


def test_nothing_is_said_where_foldfs_did_not_run():
    goals, verdict = last_cells({"passthrough": 4, "floor": 14}, limit=2.5)
    assert goals == ">= 3 x passthrough; >= 0.85 x floor; >= 2.5 k/s" and verdict == ""


@pytest.mark.parametrize("here, lost", [([80, 82, 84], True), ([91, 92, 93], False), ([60, 80, 100], False),
                                        ([120, 121, 122], False)])
def test_a_loss_is_more_than_what_is_allowed_and_than_the_spread(here, lost):
    samples = {"base": [99, 100, 101], "foldfs": here}
    assert report.is_loss(False, samples, ("base", "foldfs"), 10) == lost
    assert report.gain(False, samples["base"], here) == pytest.approx(here[1] - 100)


def test_a_loss_of_time_is_more_of_it():
    assert report.is_loss(True, {"base": [10, 10], "foldfs": [12, 12]}, ("base", "foldfs"), 10)
    assert not report.is_loss(True, {"base": [10, 10], "foldfs": [8, 8]}, ("base", "foldfs"), 10)


def test_what_was_not_measured_is_lost():
    assert report.is_loss(False, {"base": [1]}, ("base", "foldfs"), 10)
