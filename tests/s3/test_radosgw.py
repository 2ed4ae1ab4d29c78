# SPDX-License-Identifier: MIT
"""The same against a real Ceph: three osds, two copies of everything."""

import itertools
import os
import time

import pytest

import radosgw
from drive import Drive

pytestmark = [pytest.mark.full, pytest.mark.asan]

MIB = 1 << 20
numbers = itertools.count()


@pytest.fixture(scope="module")
def ceph(tmp_path_factory):
    made = radosgw.Ceph(tmp_path_factory.mktemp("ceph"), osds=3, copies=2)
    yield made
    made.stop()


@pytest.fixture
def bucket(ceph):
    name = f"bucket-{next(numbers)}"
    ceph.make_bucket(name)
    return name


@pytest.fixture
def drive(ceph, bucket, tmp_path):
    return Drive(tmp_path, ceph.endpoint, f"s3://{bucket}/pre/fix", radosgw.KEYS)


def test_objects(drive, tmp_path):
    data = os.urandom(3 * MIB)
    answers = drive.all(("put", "a/b", drive.file(data), "new", "meta=owner:me"), ("head", "a/b"),
                        ("read", "a/b", 4 * MIB, tmp_path / "whole"), ("get", "a/b", 100, 65536),
                        ("get", "a/b", 3 * MIB - 5, 6), ("get-short", "a/b", 3 * MIB - 5, 6),
                        ("get-short", "a/b", 3 * MIB, 6), ("delete", "a/b"), ("delete", "a/b"),
                        ("head", "a/b"), ("get", "a/b", 0, 1))
    assert [answer["err"] for answer in answers] == [
        "ok", "ok", "ok", "ok", "EPROTO", "ok", "ok", "ok", "ok", "ENOENT", "ENOENT"]
    assert answers[1]["size"] == len(data) and answers[1]["meta"]["owner"] == "me"
    assert abs(answers[1]["mtime"] - time.time()) < 3600
    assert (tmp_path / "whole").read_bytes() == data
    assert [answers[i]["count"] for i in (3, 5, 6)] == [65536, 5, 0]


def test_conditions(drive):
    source = drive.file(b"12345")
    etag = drive.run("put", "a", source, "new")["etag"]
    answers = drive.all(("put", "a", source, "new"), ("put", "a", drive.file(b"other", "other"), f"if={etag}"),
                        ("put", "a", source, f"if={etag}"), ("get", "a", 0, 5, "/dev/null", etag))
    assert [answer["err"] for answer in answers] == ["EEXIST", "ok", "ESTALE", "ESTALE"]


def test_parts(drive, tmp_path):
    data = os.urandom(23 * MIB)
    answers = drive.all(("put", "long", drive.file(data), "new"), ("put", "long", drive.file(data), "new"),
                        ("read", "long", 23 * MIB, tmp_path / "whole"), ("abort-old", "", 0),
                        part_size=5 * MIB)
    assert [answer["err"] for answer in answers] == ["ok", "EEXIST", "ok", "ok"]
    assert (tmp_path / "whole").read_bytes() == data and answers[3]["count"] == 0


def test_killed_uploads_are_removed(drive):
    """Whenever the client is killed: there is an object, or an upload to be removed, or nothing yet."""
    source = drive.file(os.urandom(60 * MIB))
    removed = 0
    for i in range(40):
        running = drive.start(("put", f"long{i}", source), part_size=5 * MIB, parts_active=1)
        time.sleep(0.05 * i)
        running.kill()
        running.communicate()
        assert drive.run("abort-old", f"long{i}", 1000)["count"] == 0
        count = drive.run("abort-old", f"long{i}", 0)["count"]
        assert count + drive.run("list", f"long{i}")["count"] <= 1
        assert drive.run("abort-old", f"long{i}", 0)["count"] == 0
        removed += count
        if removed == 3:
            break
    assert removed > 0


def test_lists(drive):
    source = drive.file(b"x")
    answers = drive.all(("times", 2100, "put", "k%", source), ("put", "other", source), ("list", "k"),
                        ("list", ""), ("delete-many", "k", 2100), ("list", ""))
    assert answers[0]["errors"] == {"ok": 2100}
    assert answers[2]["count"] == 2100
    assert answers[3]["count"] == 2101 and answers[5]["entries"][0][0] == "other"
    assert {entry[0] for entry in answers[2]["entries"]} == {f"k{i}" for i in range(2100)}


def test_errors(ceph, drive, bucket):
    drive.place = "s3://no-such-bucket"
    answer = drive.run("list", "")
    assert answer["err"] == "ENXIO" and "NoSuchBucket" in answer["text"]
    drive.place = f"s3://{bucket}"
    drive.environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
    answer = drive.run("list", "")
    assert answer["err"] == "EACCES" and "SignatureDoesNotMatch" in answer["text"]
    drive.environ["AWS_ACCESS_KEY_ID"] = "wrong"
    answer = drive.run("list", "")
    assert answer["err"] == "EACCES" and "InvalidAccessKeyId" in answer["text"]


def test_an_osd_dies(ceph, drive, tmp_path):
    """While objects go up and come down: nothing fails, nothing is lost."""
    data = os.urandom(4 * MIB)
    source = drive.file(data)
    patient = {"timeout_ms": 300000, "tries": 100, "backoff_max_ms": 1000}
    writing = drive.start(("times", 60, "put", "up%", source), **patient)
    time.sleep(0.5)
    ceph.script("kill-osd", ceph.dir, 2)
    out, err = writing.communicate(timeout=400)
    assert '{"ok":60}' in out, out + err
    reading = drive.all(("times", 60, "get", "up%", 5, 3 * MIB), ("read", "up7", 4 * MIB, tmp_path / "seven"),
                        **patient)
    assert reading[0]["errors"] == {"ok": 60}
    assert (tmp_path / "seven").read_bytes() == data
    ceph.script("start-osd", ceph.dir, 2)
