# SPDX-License-Identifier: MIT
"""A tier in a real Ceph of three osds that keep two copies of everything, of which one is killed: nothing is lost.

`bench/tiers` measures on the same Ceph; here it is only about bytes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import env
from pattern import noise
from test_tiers import check, fresh, hot, move, status

sys.path.append(str(Path(__file__).resolve().parents[1] / "s3"))
import radosgw  # noqa: E402

pytestmark = [pytest.mark.foldfs, pytest.mark.full]

MIB = 1 << 20
FILES, SIZE = 12, 16 * MIB


@pytest.fixture
def ceph(home):
    made = radosgw.Ceph(home, osds=3, copies=2)
    made.make_bucket("films")
    yield made
    made.stop()


@pytest.fixture
def mount(new_mount, ceph):
    made = new_mount(mkfs={"reserve_size": "1M"}, cache_size=0, pack_size="16M", tier_interval="1h", gc_interval=0)
    made.stop()
    environ = made.pool.environ
    environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"] = radosgw.KEYS
    environ["no_proxy"] = "*"
    (made.pool.path / "foldfs.conf").write_text(
        f"[tier far]\nplace = s3://films/some/prefix\nendpoint = {ceph.endpoint}\ntimeout = 10m\n")
    return made.start()


@pytest.fixture
def data(mount):
    """Half of it noise, half of it shrinks."""
    made = {f"f{i}": noise(SIZE, i) if i % 2 else noise(SIZE // 2, i).hex().encode() for i in range(FILES)}
    for name, content in made.items():
        (mount.dir / name).write_bytes(content)
    mount.destage()
    return made


def kill(ceph):
    assert ceph.script("kill-osd", ceph.dir, 2).returncode == 0


def test_an_osd_dies_while_packs_go_up(ceph, mount, data):
    moving = subprocess.Popen([env.binary("foldfs"), "tier", "move", "far", mount.dir], env=mount.pool.environ,
                              stdout=subprocess.DEVNULL)
    env.until(lambda: status(mount)["mover"]["packs_moved"] >= 2, "some packs are there")
    assert moving.poll() is None and hot(mount), "others are still to come"
    kill(ceph)
    assert moving.wait(600) == 0
    assert not hot(mount)
    check(mount, data)
    mount.remount()     # fsck.foldfs -n in between
    check(mount, data)
    mount.foldfs("tier", "recall", mount.dir, timeout=600)
    assert hot(mount)
    check(mount, data)


def test_an_osd_dies_while_packs_are_read(ceph, mount, data):
    move(mount, "far", mount.dir, timeout=600)
    assert not hot(mount)
    mount.remount()
    killed, first, wrong = threading.Event(), threading.Event(), []

    def read():
        """All files again and again, and once more when the osd is dead."""
        last = False
        while not last:
            last = killed.is_set()
            for name, content in data.items():
                try:
                    wrong.extend([name] if fresh(mount.dir / name) != content else [])
                except OSError as exc:
                    wrong.append(f"{name}: {exc}")
                first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(60)
    kill(ceph)
    killed.set()
    reader.join(600)
    assert not reader.is_alive() and not wrong
    mount.remount()
    check(mount, data)
