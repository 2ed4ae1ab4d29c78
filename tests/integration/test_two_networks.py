# SPDX-License-Identifier: MIT
"""Machines that share a bucket and nothing else, each in a network namespace of its own."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import env
import pools
import trees
from pattern import noise, text
from replicas import MIB, MadeOfReplica, OPTIONS, fill, replica, ship

sys.path.append(str(Path(__file__).resolve().parents[1] / "s3"))
import radosgw  # noqa: E402
import store_server  # noqa: E402

pytestmark = pytest.mark.foldfs


class Machine:
    """A network namespace with one cable to the server, which can be pulled."""

    def __init__(self, number):
        self.name = f"foldfs-{os.getpid()}-{number}"
        self.link = f"fold{os.getpid() % 10000}-{number}"
        self.number = number
        self.address = f"10.213.{number}.1"    # the server's end

    def connect(self):
        env.run("ip", "netns", "add", self.name)
        env.run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "cable", "netns", self.name)
        env.run("ip", "address", "add", f"{self.address}/30", "dev", self.link)
        env.run("ip", "link", "set", self.link, "up")
        env.run("ip", "-n", self.name, "address", "add", f"10.213.{self.number}.2/30", "dev", "cable")
        env.run("ip", "-n", self.name, "link", "set", "cable", "up")
        env.run("ip", "-n", self.name, "link", "set", "lo", "up")

    @property
    def inside(self):
        """Not `ip netns exec`, which would hide what is mounted."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def cable(self, state):
        env.run("ip", "link", "set", self.link, state)

    def remove(self):
        env.run("ip", "netns", "del", self.name, code=None)
        env.run("ip", "link", "del", self.link, code=None)


@pytest.fixture
def networks():
    env.need_tool("ip", "nsenter")
    made = []
    try:
        for number in (1, 2):
            made.append(Machine(number))
            made[-1].connect()
    except AssertionError as reason:
        for machine in made:
            machine.remove()
        pytest.skip(f"no network namespaces with a cable between them can be made here: {reason}")
    yield made
    for machine in made:
        machine.remove()


class Own:
    """The object store of the tests."""

    def __init__(self):
        self.server = store_server.Server(address="0.0.0.0")
        self.port, self.keys = self.server.server_address[1], next(iter(store_server.SECRETS.items()))

    def stop(self):
        self.server.close()


@pytest.fixture(params=["own", pytest.param("ceph", marks=pytest.mark.full)])
def store(request, tmp_path_factory):
    if request.param == "own":
        made = Own()
    else:
        made = radosgw.Ceph(tmp_path_factory.mktemp("ceph"), address="0.0.0.0")
        made.keys = radosgw.KEYS
        made.make_bucket("bucket")
    yield made
    made.stop()


@pytest.fixture
def site(networks, store, home, monkeypatch):
    """Makes pools of one bucket on either machine, and mounts them; unmounts all in the end."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    made = []

    class Site:
        machines = networks

        def pool(self, machine, how, **options):
            environ = {"AWS_ACCESS_KEY_ID": store.keys[0], "AWS_SECRET_ACCESS_KEY": store.keys[1],
                       "AWS_ENDPOINT_URL": f"http://{machine.address}:{store.port}"}
            return MadeOfReplica(home / f"pool{len(made)}", how, "s3://bucket/shared", environ, machine.inside,
                                 reserve_size="1M", **options)

        def mounted(self, pool, **options):
            mount = pools.Mount(pool, **{"cache_size": "8M", "gc_interval": 0, **options})
            made.append(mount)
            return mount.start()

        def first(self, machine, **options):
            pool = self.pool(machine, None)
            return self.mounted(pool, **{**OPTIONS, "replicate_to": "s3://bucket/shared", **options})

        def takes_over(self, machine, **options):
            return self.mounted(self.pool(machine, "--from", replicate_lease="3s"), **options)

        def follows(self, machine, **options):
            return self.mounted(self.pool(machine, "--follow"), **{"follow_interval": "1h", **options})

    yield Site()
    pools.stop_all(made)


def same(owner, follower):
    ship(owner)
    assert ship(follower)["error"] is None
    want = trees.snapshot(owner.dir)
    assert trees.snapshot(follower.dir) == want
    return want


def test_two_machines_follow_each_other(site):
    """One has the pool and the other reads along; then it is the other way round."""
    one, two = site.machines
    owner = site.first(one)
    fill(owner.dir)
    owner.destage()
    ship(owner)
    reader = site.follows(two)
    same(owner, reader)
    (owner.dir / "film").unlink()
    (owner.dir / "more").write_bytes(noise(5 * MIB, 3))
    want = same(owner, reader)
    owner.stop()
    shutil.rmtree(owner.pool.path)
    second = site.takes_over(two)
    assert trees.snapshot(second.dir) == want
    back = site.follows(one)
    same(second, back)
    (second.dir / "words").write_bytes(text(2 * MIB, 9))
    second.destage()
    same(second, back)
    want = same(second, reader)     # which goes on with the new owner
    assert (reader.dir / "words").read_bytes() == text(2 * MIB, 9) and b"film" not in want


def test_a_machine_that_is_cut_off(site):
    """Its cable is pulled: another one takes over, and a follower of that sees nothing of what came late."""
    one, two = site.machines
    owner = site.first(one, replicate="300ms", replicate_lease="3s")
    fill(owner.dir)
    ship(owner)
    one.cable("down")
    (owner.dir / "late").write_bytes(b"nobody will see this")
    owner.sync()
    second = site.takes_over(two)
    (second.dir / "early").write_bytes(b"seen by all")
    ship(second)
    one.cable("up")
    owner.expect_log("has taken this pool over|could not be shipped")
    env.until(lambda: replica(owner)["lost"], "the first machine knows that it has lost the pool")
    reader = site.follows(one)
    want = same(second, reader)
    assert b"early" in want and b"late" not in want
    assert (owner.dir / "late").read_bytes() == b"nobody will see this"


@pytest.mark.full
def test_a_follower_that_is_cut_off(site):
    """It shows what it had, and catches up when the cable is in again."""
    one, two = site.machines
    owner = site.first(one)
    fill(owner.dir)
    ship(owner)
    reader = site.follows(two, follow_interval="300ms")
    before = trees.snapshot(reader.dir)
    two.cable("down")
    (owner.dir / "while away").write_bytes(noise(MIB, 30))
    ship(owner)
    reader.expect_log("it is tried on|cannot be reached|is absent")
    env.until(lambda: replica(reader)["error"], "the follower has noticed")
    assert sorted(os.listdir(reader.dir)) == sorted(
        name.decode() for name in before if name and b"/" not in name)
    two.cable("up")
    env.until(lambda: (reader.dir / "while away").exists(), "the follower has caught up")
    same(owner, reader)
