# SPDX-License-Identifier: MIT
"""What the client asks and how it signs it, with a server that does as S3 does."""

import os
import threading
import time

import pytest

import nghttpx
from drive import SLOW, until

pytestmark = pytest.mark.asan

KEY = "pre/fix/a"
MIB = 1 << 20


def test_range(server, drive):
    data = os.urandom(3 * MIB)
    drive.run("put", "a", drive.file(data))
    assert server.objects[KEY].data == data
    answer, got = drive.get("a", 1000, MIB)
    assert answer["err"] == "ok" and got == data[1000:1000 + MIB]
    assert answer["size"] == len(data) and answer["etag"] == server.objects[KEY].etag


def test_whole(drive, tmp_path):
    data = os.urandom(100000)
    answers = drive.all(("put", "a", drive.file(data)), ("read", "a", 100000, tmp_path / "out"),
                        ("read", "a", 99999), ("put", "none", drive.file(b"", "empty")),
                        ("read", "none", 10, tmp_path / "none"))
    assert [answer["err"] for answer in answers] == ["ok", "ok", "EFBIG", "ok", "ok"]
    assert (tmp_path / "out").read_bytes() == data
    assert (tmp_path / "none").read_bytes() == b""


def test_head(server, drive):
    answers = drive.all(("put", "a", drive.file(b"12345"), "meta=owner:me"), ("head", "a"),
                        ("head", "b"))
    assert answers[1]["size"] == 5 and answers[1]["meta"] == {"owner": "me"}
    assert abs(answers[1]["mtime"] - time.time()) < 3600
    assert answers[2]["err"] == "ENOENT"


def test_part_of_a_file_or_of_memory(server, drive):
    data = os.urandom(50000)
    path = drive.file(data)
    drive.all(("put", "a", path, "at=100", "len=2000"),
              ("put", "b", path, "at=7", "len=2000", "memory"),
              ("put", "c", path, "at=9", "len=2000", "calls"))
    assert server.objects[KEY].data == data[100:2100]
    assert server.objects["pre/fix/b"].data == data[7:2007]
    assert server.objects["pre/fix/c"].data == data[9:2009]


def test_a_range_that_may_be_short(drive, tmp_path):
    out = tmp_path / "out"
    answers = drive.all(("put", "a", drive.file(b"0123456789")), ("get-short", "a", 8, 100, out),
                        ("get-short", "a", 10, 100), ("get-short", "a", 2, 3))
    assert [answer["count"] for answer in answers[1:]] == [2, 0, 3]
    assert all(answer["err"] == "ok" for answer in answers) and out.read_bytes() == b"89"


def test_storage_class(server, drive):
    drive.run("put", "a", drive.file(b"x"), "class=GLACIER_IR")
    assert server.objects[KEY].storage_class == "GLACIER_IR"


def test_nothing_is_overwritten(server, drive):
    drive.run("put", "a", drive.file(b"first"), "new")
    answer = drive.run("put", "a", drive.file(b"second"), "new")
    assert answer["err"] == "EEXIST" and answer["status"] == 412
    assert "there is such an object already" in answer["text"] and "s3://bucket/pre/fix/a" in answer["text"]
    assert server.objects[KEY].data == b"first"


def test_only_the_version_expected_is_replaced(server, drive):
    etag = drive.run("put", "a", drive.file(b"first"))["etag"]
    assert drive.run("put", "a", drive.file(b"second"), f"if={etag}")["err"] == "ok"
    assert drive.run("put", "a", drive.file(b"third"), f"if={etag}")["err"] == "ESTALE"
    assert server.objects[KEY].data == b"second"
    assert drive.run("get", "a", 0, 2, "/dev/null", etag)["err"] == "ESTALE"


def test_delete(server, drive):
    answers = drive.all(("put", "a", drive.file(b"x")), ("delete", "a"), ("delete", "a"))
    assert [answer["err"] for answer in answers] == ["ok"] * 3
    assert not server.objects


def test_many_are_deleted_a_thousand_at_a_time(server, drive):
    for i in range(2500):
        server.objects[f"pre/fix/d{i}"] = None
    server.objects["pre/fix/other"] = None
    assert drive.run("delete-many", "d", 2500)["err"] == "ok"
    assert list(server.objects) == ["pre/fix/other"]
    assert server.count(r"POST .*\?delete=") == 3


def test_list(server, drive):
    drive.all(("times", 25, "put", "k%", drive.file(b"12345")),
              ("put", "other", drive.file(b"", "empty")))
    server.objects["elsewhere"] = server.objects["pre/fix/k1"]
    server.page = 10
    answer = drive.run("list", "k")
    assert answer["count"] == 25 and server.count("list-type") == 3
    assert [entry[0] for entry in answer["entries"]] == sorted(f"k{i}" for i in range(25))
    assert all(entry[1:] == [5, 1767323045] for entry in answer["entries"])
    assert drive.run("list", "")["count"] == 26
    assert drive.run("list", "nothing")["count"] == 0


def test_keys_of_others_are_listed_as_they_are(server, drive):
    drive.run("put", "a", drive.file(b"x"))
    server.objects["pre/fix/ä & <b>+%"] = server.objects[KEY]
    assert {entry[0] for entry in drive.run("list", "")["entries"]} == {"a", "ä & <b>+%"}


def test_no_prefix(server, tmp_path, drive):
    drive.place = "s3://bucket"
    drive.all(("put", "a", drive.file(b"x")), ("get", "a", 0, 1))
    assert list(server.objects) == ["a"] and drive.run("list", "")["entries"][0][0] == "a"


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", ".", "a b", "a?b", "ä", "a" * 1000])
def test_bad_keys(server, drive, key):
    assert drive.run("head", key)["err"] == "EINVAL"
    assert not server.asked


def test_long_objects_go_up_in_parts(server, drive):
    data = os.urandom(17 * MIB)
    answer = drive.run("put", "a", drive.file(data), "new", "meta=owner:me", part_size=5 * MIB)
    assert answer["err"] == "ok"
    assert server.objects[KEY].data == data and answer["etag"] == server.objects[KEY].etag
    assert server.objects[KEY].meta["x-amz-meta-owner"] == "me"
    assert server.count("partNumber") == 4 and not server.uploads
    asked = len(server.asked)
    assert drive.run("put", "a", drive.file(data), "new", part_size=5 * MIB)["err"] == "EEXIST"
    assert len(server.asked) == asked + 1  # it is asked first


@pytest.mark.parametrize("size", [100, MIB + 1, 5 * MIB, 23 * MIB + 17])
def test_bytes_that_are_brought_once(server, drive, size):
    """By calls, in order; what has to be sent again comes from memory."""
    data = os.urandom(size)
    server.fault("reset", "PUT", times=2)
    server.fault("status", "PUT", times=2, status=503, code="SlowDown")
    assert drive.run("put", "a", drive.file(data), "calls", part_size=5 * MIB, tries=9)["err"] == "ok"
    assert server.objects[KEY].data == data
    answer = drive.run("put", "a", drive.file(data), f"len={size + 1}", "calls", part_size=5 * MIB)
    assert answer["err"] == "EUCLEAN" and not server.uploads


def test_old_uploads_are_aborted(server, drive):
    class Begun:
        def __init__(self, key, age):
            self.key, self.begun, self.parts, self.meta = key, time.time() - age, {}, {}
    for i in range(25):
        server.uploads[f"old{i}"] = Begun(f"pre/fix/p/{i}", 7200)
    server.uploads["young"] = Begun("pre/fix/p/0", 60)
    server.uploads["others"] = Begun("pre/fix2/p", 7200)
    server.page = 10
    answer = drive.run("abort-old", "p/", 3600)
    assert answer["err"] == "ok" and answer["count"] == 25
    assert sorted(server.uploads) == ["others", "young"]


def test_many_at_once_on_few_connections(server, drive):
    drive.run("put", "a", drive.file(os.urandom(MIB)))
    server.connections = server.most_active = 0
    answer = drive.run("times", 400, "get", "a", 100, 5000, active=8)
    assert answer["errors"] == {"ok": 400}
    assert server.connections <= 8 and 1 < server.most_active <= 8


def test_readers_go_before_uploads(server, drive):
    """Hanging uploads leave places to readers."""
    drive.run("put", "a", drive.file(b"12345"))
    go_on = threading.Event()
    server.fault("pause", "PUT", until=go_on)
    server.most_active = 0
    running = drive.start(("times", 40, "put", "p%", drive.file(b"x")), active=8)
    until(lambda: server.most_active >= 6, "as many uploads as may be are at work")
    go_on.set()
    out, err = running.communicate(timeout=120 * SLOW)
    assert '{"ok":40}' in out, out + err
    assert server.most_active == 6  # three quarters of 8


def test_http_2_is_used_where_it_is_offered(drive, server, tmp_path):
    with nghttpx.Front(server, tmp_path) as front:
        drive.options.update(endpoint=front.endpoint, ca=front.certificate)
        data = os.urandom(MIB)
        answers = drive.all(("put", "a", drive.file(data)), ("times", 50, "get", "a", 0, 1000))
        assert answers[0]["err"] == "ok" and answers[1]["errors"] == {"ok": 50}
        assert front.connections() <= 2 and front.saw_http_2()


def test_sums_of_payloads_are_sent(server, drive):
    """A server that sees other bytes than were hashed refuses them; they are sent again."""
    server.fault("flip", "PUT", times=1)
    data = os.urandom(100)
    assert drive.run("put", "a", drive.file(data))["err"] == "ok"
    assert server.objects[KEY].data == data and server.count("PUT") == 2
