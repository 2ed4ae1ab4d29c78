# SPDX-License-Identifier: MIT
"""A bucket as the place of a tier, on the server of our own and on a real Ceph."""

import os
import subprocess

import pytest

import radosgw
from drive import BUILD, SLOW, lacking, until
from store_server import SECRETS, Server

pytestmark = pytest.mark.asan

MIB = 1 << 20


class Bucket:
    """Runs place_drive; each command's line comes back as words."""

    def __init__(self, endpoint, place, keys, home):
        self.program = BUILD / "tests" / "s3" / "place_drive"
        if not self.program.exists():
            lacking(f"{self.program} is not built (no libcurl, libcrypto or expat?)")
        self.endpoint, self.place, self.home = endpoint, place, home
        self.environ = {**os.environ, "HOME": str(home), "no_proxy": "*",
                        "AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}

    def all(self, *commands):
        argv = [self.program, self.place, self.endpoint]
        for command in commands:
            argv += [*map(str, command), "--"]
        done = subprocess.run(argv[:-1], env=self.environ, capture_output=True, text=True,
                              timeout=120 * SLOW)
        self.log = done.stderr
        assert done.returncode == 0, done.stderr
        return [line.split() for line in done.stdout.splitlines()]

    def run(self, *command):
        return self.all(command)[0]

    def file(self, data):
        path = self.home / "source"
        path.write_bytes(data)
        return path


@pytest.fixture
def own(tmp_path):
    server = Server()
    made = Bucket(server.endpoint, "s3://bucket/films", next(iter(SECRETS.items())), tmp_path)
    made.server = server
    yield made
    server.close()


@pytest.fixture(scope="module")
def ceph(tmp_path_factory):
    made = radosgw.Ceph(tmp_path_factory.mktemp("ceph"))
    made.make_bucket("films")
    yield made
    made.stop()


@pytest.fixture(params=["own", pytest.param("ceph", marks=pytest.mark.full)])
def bucket(request, tmp_path):
    if request.param == "own":
        return request.getfixturevalue("own")
    endpoint = request.getfixturevalue("ceph").endpoint
    place = f"s3://films/{request.node.name.split('[')[0]}"
    return Bucket(endpoint, place, radosgw.KEYS, tmp_path)


@pytest.mark.parametrize("size", [1, 300000, 17 * MIB + 5])
def test_a_pack_goes_and_is_read_by_ranges(bucket, size):
    bucket.place += f"/{size}"
    data = os.urandom(size)
    out = bucket.home / "out"
    half = size // 2
    answers = bucket.all(("put", 7, bucket.file(data)), ("size", 7), ("list",),
                         ("read", out, 7, half, 4096, 7, 0, 100, 7, size, 10, 8, 0, 10),
                         ("remove", 7), ("remove", 7), ("size", 7), ("list",))
    ends, begins = data[half:half + 4096], data[:100]
    assert answers == [["ok"], [str(size), "ok"], [f"7:{size}", "ok"],
                       [str(len(ends)), str(len(begins)), "0", "ENOENT", "ok"],
                       ["ok"], ["ok"], ["ENOENT"], ["ok"]]
    assert out.read_bytes() == ends + begins


def test_a_pack_is_replaced(bucket):
    bucket.run("put", 7, bucket.file(b"old and longer"))
    assert bucket.run("put", 7, bucket.file(b"new")) == ["ok"]
    assert bucket.run("size", 7) == ["3", "ok"]


def test_label(bucket):
    assert bucket.all(("label",), ("claim", 3), ("label",), ("claim", 4), ("label",)) == [
        ["ENOENT"], ["ok"], ["3", "ok"], ["EEXIST"], ["3", "ok"]]


def test_a_bucket_with_other_things_in_it(bucket):
    bucket.run("put", 7, bucket.file(b"x"))
    assert bucket.run("label") == ["ENOTEMPTY"]


def test_a_label_that_is_none(own):
    own.run("claim", 3)
    own.server.objects["films/foldfs-tier"].data = b"pool x\n"
    assert own.run("label") == ["ESTALE"]
    own.server.objects["films/foldfs-tier"].data = b"x" * 1000
    assert own.run("label") == ["ESTALE"]


@pytest.mark.parametrize("kind", ["reset", "lost"])
def test_a_put_that_fails_leaves_nothing(own, kind):
    own.server.fault(kind, "PUT", times=4)
    assert own.run("put", 7, own.file(b"x" * 1000)) == ["ECONNRESET"]
    assert not own.server.objects and "s3://bucket/films/packs/" in own.log


def test_interrupted_uploads_are_tidied(own):
    own.server.fault("hang", "partNumber=2|DELETE")
    argv = [own.program, own.place, own.endpoint, "put", "7", own.file(bytes(12 * MIB))]
    with subprocess.Popen(argv, env=own.environ) as running:
        until(lambda: own.server.count("partNumber=2"), "the second part is on its way")
        running.kill()
    assert len(own.server.uploads) == 1
    own.server.faults.clear()
    for upload in own.server.uploads.values():
        upload.begun -= 10
    assert own.run("tidy") == ["ok"] and not own.server.uploads


def test_a_denied_read_is_said(own):
    own.run("put", 7, own.file(b"x" * 1000))
    own.server.fault("status", "GET", status=403, code="AccessDenied")
    assert own.run("read", "/dev/null", 7, 0, 10) == ["EACCES", "ok"]
    assert "the server denies it (403 AccessDenied)" in own.log
