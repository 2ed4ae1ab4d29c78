# SPDX-License-Identifier: MIT
"""Golden errors: golden pools, damaged as edits.py says, and to the letter what the programs say of each.

FOLDFS_GOLDEN_RECORD=1 writes errors/ anew instead of comparing: read what `git diff` shows then."""

import os
import shutil

import pytest

import edits
import goldens
from transcript import Transcript

ERRORS = goldens.HERE / "errors"
RECORD = os.environ.get("FOLDFS_GOLDEN_RECORD") == "1"
CLEAN, CORRECTED, LEFT, REFUSED = 0, 1, 4, 8    # status of fsck.foldfs
LATE = ("log-", "staging-")     # what these damage has no sum, or may be an earlier state


def damage(golden, place, name):
    pool_name, changes = edits.DAMAGES[name]
    pool = goldens.copy(golden(pool_name), place)
    for change in changes:
        change(pool, golden)
    return Transcript(pool, place / "mnt"), goldens.expected(pool_name)


def never_other_bytes(name, wanted, found):
    """What is read is what was written, or an error."""
    if found is not None and not name.startswith(LATE):
        for path, facts in found.items():
            if path in wanted and "data" in facts:
                assert facts["data"] == wanted[path].get("data"), f"{path} has other bytes"


def repair(said, name, wanted):
    """Looks, repairs, looks again: whoever says that all was corrected must find nothing more."""
    looked = said.fsck("-n")
    mended = said.fsck("-y")
    assert looked or mended in (CLEAN, REFUSED), said.text()
    if mended == LEFT and "-y -f" in said.text():
        mended = said.fsck("-y", "-f")
    if mended == CORRECTED:
        assert said.fsck("-n") == CLEAN, said.text()
    if mended in (CLEAN, CORRECTED):
        found = said.look(wanted)
        never_other_bytes(name, wanted, found)
        assert found is not None or mended == CLEAN, said.text()


@pytest.mark.parametrize("name", edits.DAMAGES)
def test_what_is_said_of_damage(golden, place, name):
    first, wanted = damage(golden, place / "mounted", name)
    never_other_bytes(name, wanted, first.look(wanted))
    second, wanted = damage(golden, place / "checked", name)
    repair(second, name, wanted)
    text = first.text() + "\n" + second.text()
    for pool in (first.pool, second.pool):
        shutil.rmtree(pool)
    file = ERRORS / f"{name}.txt"
    if RECORD:
        ERRORS.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def test_every_recorded_error_belongs_to_a_damage():
    assert {path.stem for path in ERRORS.iterdir()} == set(edits.DAMAGES)


@pytest.mark.parametrize("name", ["log-segments-swapped", "log-header-altered", "log-middle-frame"])
def test_what_is_given_up_of_the_log_is_kept(golden, place, name):
    said, _ = damage(golden, place, name)
    before = {path.name: path.read_bytes() for path in said.pool.glob("wal/wal-*")}
    if name != "log-middle-frame":
        assert said.fsck("-y") == LEFT, said.text()
        assert {path.name: path.read_bytes() for path in said.pool.glob("wal/wal-*")} == before
    assert said.fsck("-y", "-f") == CORRECTED, said.text()
    kept = {path.name: path.read_bytes() for path in said.pool.glob("wal/*.damaged")}
    assert kept == {f"{path}.damaged": data for path, data in before.items() if any(data)}
