# SPDX-License-Identifier: MIT
"""Pools that are shipped to a place, and machines that take them over or follow them."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import env
import pools
from pattern import noise, text

sys.path.append(str(Path(__file__).resolve().parents[1] / "s3"))
import store_server  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
OPTIONS = {"cache_size": "8M", "pack_size": "4M", "gc_interval": 0, "tier_interval": "1h", "replicate": "1h",
           "replicate_lease": "2s"}


class MadeOfReplica(pools.Pool):
    """A pool that mkfs.foldfs makes of a replica; HOW is --from, --follow, or None. Its programs run INSIDE of something."""

    def __init__(self, home, how, place, environ, inside=(), **options):
        home.mkdir(exist_ok=True)
        self.how, self.place, self.more, self.inside = how, place, environ, inside
        super().__init__(home, **options)

    def run(self, name, *args, **more):
        return env.run(*self.inside, env.binary(name), *args, env=self.environ, **more)

    def mkfs(self, code=0, **options):
        self.environ.update(self.more)
        text = pools.options_text(options)
        of = [self.how, self.place] if self.how else []
        return self.run("mkfs.foldfs", *of, *(["-o", text] if text else []), self.path, code=code)


@pytest.fixture
def machines(new_mount, home):
    """Functions: `first` makes a pool that is shipped, `next_one` takes it over elsewhere and mounts it,
    `follower` makes one that follows, and mounts it."""
    made = []

    class Machines:
        place = str(home / "replica")
        environ = {}

        def first(self, **options):
            (home / "replica").mkdir(exist_ok=True)
            mount = new_mount(mkfs={"reserve_size": "1M"}, **{**OPTIONS, "replicate_to": self.place, **options})
            return mount

        def pool(self, how="--from", inside=(), environ=None, **options):
            home_of = home / f"machine{len(made)}"
            return MadeOfReplica(home_of, how, self.place, environ or self.environ, inside,
                                 **{"reserve_size": "1M", **options})

        def mounted(self, pool, **options):
            mount = pools.Mount(pool, **{"cache_size": "8M", **options})
            made.append(mount)
            return mount.start()

        def next_one(self, more=None, **options):
            return self.mounted(self.pool(**(more or {})), **{"gc_interval": 0, **options})

        def follower(self, more=None, **options):
            return self.mounted(self.pool("--follow", **(more or {})), **{"follow_interval": "1h", **options})

    yield Machines()
    pools.stop_all(made)


@pytest.fixture
def replica_bucket(machines):
    server = store_server.Server()
    keys = next(iter(store_server.SECRETS.items()))
    machines.place = "s3://bucket/some/prefix"
    machines.environ = {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1],
                        "AWS_ENDPOINT_URL": server.endpoint}
    before = dict(os.environ)
    os.environ.update(machines.environ)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]
    machines.server = server
    yield machines
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def close_server(request):
    yield
    for value in request.node.funcargs.values():
        server = getattr(value, "server", None)
        if isinstance(server, store_server.Server):
            server.close()


def replica(mount):
    return json.loads(mount.foldfs("replica", "status", "--json", mount.dir).stdout)


def ship(mount):
    return json.loads(mount.foldfs("replica", "sync", "--json", mount.dir).stdout)


def lose(mount):
    """The machine is gone, and its disk with it."""
    mount.kill()
    shutil.rmtree(mount.pool.path)


def fill(directory):
    """Something of everything."""
    (directory / "film").write_bytes(noise(9 * MIB, 1))
    (directory / "again").write_bytes(noise(9 * MIB, 1))
    (directory / "words").write_bytes(text(300 * KIB))
    (directory / "deep/er").mkdir(parents=True)
    for i in range(40):
        (directory / f"deep/er/small{i}").write_bytes(text(i * 100, i))
    (directory / "link").symlink_to("deep/er")
    os.link(directory / "words", directory / "deep/words too")
    os.setxattr(directory / "words", "user.note", b"of interest")
    with open(directory / "sparse", "wb") as file:
        file.seek(3 * MIB)
        file.write(b"end")
    os.chmod(directory / "words", 0o640)
