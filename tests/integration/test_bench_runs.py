# SPDX-License-Identifier: MIT
"""The programs of bench/ run to their end, on little, and leave nothing mounted. What they measure then means nothing."""

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import env
import pytest

pytestmark = pytest.mark.foldfs

BENCH = Path(__file__).resolve().parents[2] / "bench"
ROWS = ["seq-write", "rand-write", "append-fsync", "seq-read-packed", "reread", "rand-read-1", "copy-stored", "creates",
        "unlinks", "destage-known"]
LITTLE = ["--rounds", "1", "--size", "16", "--files", "200", "--seconds", "1", "--device", "1", "--memory", "0"]


def bench(home, name, *words):
    """Runs it in HOME, whatever it makes being there; returns what it prints."""
    done = subprocess.run([BENCH / name, *words], cwd=home, capture_output=True, text=True, timeout=300 * env.SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.fspath(home) not in Path("/proc/self/mounts").read_text(encoding="utf-8")
    return done.stdout


def cells(text):
    """{first cell: the others} of a Markdown table."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


def test_compare(tmp_path):
    bench(tmp_path, "compare", *LITTLE, "--fs", "ext4,foldfs", "--rows", ",".join(ROWS), "--work", "work", "--out", "out",
          "--build", env.BUILD)
    results = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert results["failures"] == []
    for row in ROWS:
        want = {"foldfs"} if row.startswith("destage") else {"ext4", "foldfs"}
        assert {fs for fs, samples in results["samples"][row].items() if len(samples) == 1 and samples[0] > 0} == want, row
    table = cells((tmp_path / "out.txt").read_text(encoding="utf-8"))
    assert table["cp of a stored file, ms"][-1] in ("met", "**missed**")
    assert table["create + write 4 KiB + close, k/s"][-1] == "open"
    assert ElementTree.parse(tmp_path / "out.svg").getroot().tag.endswith("svg")


def test_trees_many(tmp_path):
    table = cells(bench(tmp_path, "trees", "many", "--files", "300", "--work", "work", "--build", env.BUILD))
    assert table["mount, s"][-1] in ("met", "**missed**") and float(table["daemon's anonymous memory, MB"][0]) > 1
    assert "create + write 4 KiB + close, s" in table


def test_stuck(tmp_path):
    table = cells(bench(tmp_path, "stuck", "--readers", "4", "--work", "work", "--build", env.BUILD))
    assert len(table["rename"]) == 2 and all(figure.count("/") == 2 for figure in table["rename"])


def test_run(mount):
    env.need_tool("fio")
    done = subprocess.run([BENCH / "run", "-s", "4m", "-t", "1", mount.dir, "seq-write", "seq-read-packed"],
                          capture_output=True, text=True, timeout=300 * env.SLOW,
                          env={**os.environ, "FOLDFS_BUILD": env.BUILD})
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and [line.split()[0] for line in lines] == ["seq-write", "seq-read-packed"], done
    assert float(lines[0].split()[-2]) > 0 and float(lines[1].split()[2]) > 0
    assert list(mount.dir.iterdir()) == []
