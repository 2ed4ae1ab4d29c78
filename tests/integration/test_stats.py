# SPDX-License-Identifier: MIT
"""foldfs stats and df: numbers that are there, that move, and that add up."""

import json
import os

import pytest

import env
from pattern import noise

pytestmark = [pytest.mark.asan, pytest.mark.foldfs]

MIB = 1 << 20


def numbers(tree, prefix=""):
    """{dotted name: number} of everything in a JSON tree."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(numbers(value, f"{prefix}{name}."))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[prefix + name] = value
    return found


def test_json_and_text_both_come(mount):
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.destage()
    for command in ("stats", "df"):
        tree = mount.json(command)
        assert isinstance(tree, dict) and numbers(tree)
        text = mount.foldfs(command, mount.dir).stdout
        assert text.strip() and not text.lstrip().startswith("{")


@pytest.mark.parametrize("mode", ["native", "mediated"])
def test_the_mode_is_visible(new_mount, mode):
    mount = new_mount(mode=mode)
    assert mount.stats()["mode"] == mode
    assert mode in mount.foldfs("stats", mount.dir).stdout


def test_auto_says_what_it_chose(new_mount):
    assert new_mount(mode="auto").stats()["mode"] in ("native", "mediated")


def test_stats_of_a_pool_that_is_not_mounted(mount):
    (mount.dir / "f").write_bytes(noise(MIB))
    mount.destage()
    mount.stop()
    tree = json.loads(mount.pool.run("foldfs", "stats", "--json", mount.pool.path).stdout)
    assert isinstance(tree, dict) and numbers(tree)
    mount.start()


def test_stats_by_pool_and_by_mount_point_agree(mount):
    by_mount = mount.json("df", mount.dir)
    by_pool = mount.json("df", mount.pool.path)
    assert by_mount.keys() == by_pool.keys()


def test_staged_bytes_go_down_to_nothing(new_mount):
    mount = new_mount(destage_delay=600)
    with open(mount.dir / "f", "w+b", buffering=0) as file:
        file.write(noise(4 * MIB))
        os.fsync(file.fileno())
    staged = {name: value for name, value in numbers(mount.stats()).items() if "stag" in name}
    assert any(value >= 4 * MIB for value in staged.values()), staged
    mount.destage()
    after = {name: value for name, value in numbers(mount.stats()).items() if "stag" in name}
    assert any(staged[name] >= 4 * MIB and after[name] == 0 for name in staged), after


def staging_bytes(mount):
    return mount.stats()["staging_bytes"]


def test_staged_bytes_of_a_nameless_file_go_with_it(mount):
    """They count against staging_limit: what stays behind would slow down every writer in the end."""
    fd = os.open(mount.dir / "f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, noise(4 * MIB))
    env.until(lambda: staging_bytes(mount) >= 4 * MIB, "its blocks are counted")
    os.unlink(mount.dir / "f")
    os.close(fd)
    env.until(lambda: not os.listdir(mount.pool.path / "staging"), "its staging file is removed")
    assert staging_bytes(mount) == 0


def test_staged_bytes_are_counted_once_after_a_remount(new_mount):
    mount = new_mount(destage_delay=600)
    (mount.dir / "f").write_bytes(noise(4 * MIB))
    mount.remount()
    assert 4 * MIB <= staging_bytes(mount) < 5 * MIB
    mount.destage()
    assert staging_bytes(mount) == 0


def test_staged_bytes_of_a_file_written_anew(new_mount):
    """More often than the ticker looks."""
    mount = new_mount(destage_delay=600)
    for number in range(3):
        (mount.dir / "f").write_bytes(noise(4 * MIB, number))
    mount.sync()
    assert mount.stats()["staging_bytes"] == 4 * MIB


def test_memory_of_a_file_without_names_is_given_back(mount):
    """Writers wait when memory_limit is reached, so what is counted has to go with its file."""
    with open(mount.dir / "f", "wb", buffering=0) as file:
        file.write(noise(100_000))
        mount.sync()
        assert mount.stats()["memory_bytes"] == 100_000
        os.unlink(mount.dir / "f")
    env.until(lambda: mount.stats()["memory_bytes"] == 0, "no content is in memory")


def test_df_shows_logical_and_stored(mount):
    (mount.dir / "one").write_bytes(noise(8 * MIB))
    (mount.dir / "two").write_bytes(noise(8 * MIB))
    mount.destage()
    df = numbers(mount.json("df"))
    assert any(16 * MIB <= value < 17 * MIB for name, value in df.items() if "logical" in name), df
    assert any(8 * MIB <= value < 9 * MIB for value in df.values()), df


def test_counters_survive_a_remount(mount):
    for number in range(20):
        (mount.dir / str(number)).write_bytes(noise(50_000, number))
    mount.destage()
    before = {n: v for n, v in numbers(mount.json("df")).items() if "logical" in n or "inode" in n}
    mount.remount()
    after = {n: v for n, v in numbers(mount.json("df")).items() if n in before}
    assert before and after == before


def test_commands_on_a_dead_end_fail_clearly(home):
    for command in ("stats", "df", "gc", "sync", "du"):
        done = env.run(env.binary("foldfs"), command, home / "nowhere", code=None)
        assert done.returncode not in (0, None) and str(home / "nowhere") in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""


def test_progress_stays_off_when_piped(mount):
    (mount.dir / "f").write_bytes(noise(8 * MIB))
    for command in (["sync", "--destage"], ["gc"]):
        done = mount.foldfs(*command, mount.dir)
        assert "\r" not in done.stdout + done.stderr and done.stderr == ""
