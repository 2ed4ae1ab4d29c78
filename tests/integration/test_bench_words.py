# SPDX-License-Identifier: MIT
"""What the programs of bench/ do with words that make no sense: a line says so, and nothing is touched."""

import subprocess
from pathlib import Path

import env
import pytest

pytestmark = pytest.mark.foldfs

BENCH = Path(__file__).resolve().parents[2] / "bench"
SWITCH = Path("/sys/module/fuse/parameters/enable_uring")
COMPARE = ["compare", "--fs", "foldfs", "--rows", "creates", "--files", "100", "--memory", "1000"]
WRONG = [
    (["compare", "--fs", "nix"], "there is no filesystem nix"),
    ([*COMPARE, "--rounds", "0"], "less than 1"),
    ([*COMPARE, "--size", "-1"], "less than 1"),
    ([*COMPARE, "--out", "absent/x"], "no directory"),
    (["trees", "many", "--files", "0"], "less than 1"),
    (["stuck", "--readers", "0"], "less than 1"),
    ([*COMPARE, "--tar", "/etc/passwd"], "tar"),
]


def bench(home, name, *words):
    return subprocess.run([BENCH / name, *words], cwd=home, capture_output=True, text=True, timeout=60 * env.SLOW)


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_words_that_make_no_sense(tmp_path, words, said):
    done = bench(tmp_path, *words, "--work", tmp_path / "work", "--build", env.BUILD)
    assert done.returncode and said in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "said"), [(["absent"], "no directory"), (["-s", "x", "."], "-s wants"),
                                             (["-t", "0", "."], "-t wants"), ([".", "../fio/creates"], "no job")])
def test_run_with_words_that_make_no_sense(tmp_path, words, said):
    done = bench(tmp_path, "run", *words)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_regress_leaves_what_is_not_its_own(tmp_path):
    kept = tmp_path / "base" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    done = bench(tmp_path, "regress", "no-such-revision", "--work", tmp_path, "--build", tmp_path / "build")
    assert done.returncode and "in the way" in done.stderr
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("words", [["compare", "--fs", "foldfs", "--rows", "creates"], ["trees", "many"]])
def test_what_a_killed_run_left_is_told(tmp_path, words):
    mounted = tmp_path / "mnt"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", mounted], check=True)
    try:
        done = bench(tmp_path, *words, "--files", "100", "--work", tmp_path, "--build", env.BUILD)
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"a run that was killed has left {mounted} mounted")


@pytest.mark.skipif(SWITCH.exists() and "Y" in SWITCH.read_text(), reason="this kernel offers io_uring")
def test_io_uring_that_is_not_offered(tmp_path):
    done = bench(tmp_path, "stuck", "--transport", "io_uring", "--work", tmp_path, "--build", env.BUILD)
    assert done.returncode and "enable_uring" in done.stderr and len(done.stderr.splitlines()) == 1
