# SPDX-License-Identifier: MIT
"""Servers and networks that fail: what is tried again, what is not, and what is said about it."""

import json
import os
import signal
import time

import pytest

from store_server import SECRETS

pytestmark = pytest.mark.asan

MIB = 1 << 20


@pytest.fixture
def stored(server, drive):
    """An object of 100000 bytes, `a`."""
    data = os.urandom(100000)
    drive.run("put", "a", drive.file(data))
    server.asked.clear()
    return data


@pytest.mark.parametrize("status,code", [(500, "InternalError"), (502, ""), (503, "SlowDown"),
                                         (504, ""), (429, ""), (400, "RequestTimeout")])
def test_what_passes_is_tried_again(server, drive, stored, status, code):
    server.fault("status", times=2, status=status, code=code)
    answer, got = drive.get("a", 10, 1000)
    assert answer["err"] == "ok" and got == stored[10:1010]
    assert len(server.asked) == 3


@pytest.mark.parametrize("status,err", [(500, "EIO"), (503, "EAGAIN"), (504, "EIO")])
def test_but_not_for_ever(server, drive, stored, status, err):
    server.fault("status", status=status, code="Broken", message="try\nlater\x7f[0m")
    answer = drive.run("get", "a", 0, 10)
    assert answer["err"] == err and answer["status"] == status and len(server.asked) == 4
    assert answer["text"].startswith("s3://bucket/pre/fix/a: GET: the server ")
    assert f"({status} Broken: try?later?[0m)" in answer["text"]
    assert answer["text"].endswith("(given up after 4 tries).")


@pytest.mark.parametrize("status,code,err,word", [
    (403, "AccessDenied", "EACCES", "the server denies it (403 AccessDenied: because)"),
    (403, "RequestTimeTooSkewed", "EACCES", "set this machine's clock"),
    (403, "SignatureDoesNotMatch", "EACCES", "AWS_SECRET_ACCESS_KEY"),
    (403, "InvalidAccessKeyId", "EACCES", "AWS_ACCESS_KEY_ID"),
    (400, "ExpiredToken", "EKEYEXPIRED", "renew them"),
    (404, "NoSuchKey", "ENOENT", "no such object"),
    (404, "NoSuchBucket", "ENXIO", "no such bucket"),
    (403, "QuotaExceeded", "ENOSPC", "quota"),
    (301, "PermanentRedirect", "EACCES", "names the region eu-x-9"),
    (403, "InvalidObjectState", "EREMOTEIO", "restore"),
    (412, "PreconditionFailed", "ESTALE", "version"),
    (501, "NotImplemented", "EOPNOTSUPP", "does not know"),
    (418, "Teapot", "EIO", "(418 Teapot: because)")])
def test_decisions_are_final(server, drive, stored, status, code, err, word):
    server.fault("status", status=status, code=code, message="because",
                 headers={"x-amz-bucket-region": "eu-x-9"} if status == 301 else {})
    answer = drive.run("get", "a", 0, 10)
    assert answer["err"] == err and answer["code"] == code and word in answer["text"]
    assert len(server.asked) == 1


def test_a_wrong_clock_is_named(server, drive, stored):
    server.fault("status", status=403, code="RequestTimeTooSkewed",
                 headers={"Date": "Tue, 01 Jan 2019 00:00:00 GMT"})
    answer = drive.run("get", "a", 0, 10)
    assert " s ahead (403 RequestTimeTooSkewed" in answer["text"]


@pytest.mark.parametrize("kind,word", [
    ("whole", "the whole object in place of a range"), ("unranged", "did not say which range"),
    ("shifted", "another range"), ("long", "wrong length"), ("unsaid", "more bytes than")])
def test_other_bytes_than_asked_for(server, drive, stored, kind, word):
    server.fault(kind, "GET")
    answer, got = drive.get("a", 10, 5000)
    assert answer["err"] == "EPROTO" and word in answer["text"] and got is None


def test_a_whole_object_is_not_downloaded_in_place_of_a_range(server, drive):
    drive.run("put", "a", drive.file(bytes(30 * MIB)), part_size=64 * MIB)
    server.fault("whole", "GET")
    answer = drive.run("get", "a", 0, 100)
    assert answer["err"] == "EPROTO" and server.count("GET") == 1


def test_a_range_beyond_the_end(drive, stored):
    answers = drive.all(("get", "a", 99999, 2), ("get", "a", 100000, 1))
    assert [answer["err"] for answer in answers] == ["EPROTO"] * 2
    assert all("shorter than the range" in answer["text"] for answer in answers)


@pytest.mark.parametrize("kind", ["cut", "reset"])
@pytest.mark.parametrize("command", [("get", "a", 10, 50000), ("read", "a", 100000), ("list", "")])
def test_broken_connections(server, drive, stored, kind, command):
    server.fault(kind, "GET", times=2)
    assert drive.run(*command)["err"] == "ok"
    assert len(server.asked) == 3
    server.fault(kind, "GET")
    answer = drive.run(*command)
    assert answer["err"] in ("EPROTO", "ECONNRESET") and "given up after 4 tries" in answer["text"]


def test_bytes_after_a_broken_try_are_the_right_ones(server, drive, stored):
    server.fault("cut", "GET", times=3)
    assert drive.get("a", 5, 90000)[1] == stored[5:90005]


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_uploads_that_break_are_sent_again(server, drive, size):
    data = os.urandom(size)
    server.fault("reset", "PUT", times=2)
    assert drive.run("put", "a", drive.file(data))["err"] == "ok"
    assert server.objects["pre/fix/a"].data == data and server.count("PUT") == 3


def test_bytes_changed_on_the_way_are_sent_again(server, drive):
    server.fault("status", "PUT", times=1, status=400, code="XAmzContentSHA256Mismatch")
    assert drive.run("put", "a", drive.file(b"12345"))["err"] == "ok"


@pytest.mark.parametrize("condition", ["new", "if"])
def test_a_lost_answer_to_a_conditional_put(server, drive, stored, condition):
    """The second try finds what the first has written: that is success, and nobody else's."""
    option = "new" if condition == "new" else f"if={server.objects['pre/fix/a'].etag}"
    key = "b" if condition == "new" else "a"
    server.fault("lost", "PUT", times=1)
    answer = drive.run("put", key, drive.file(b"mine"), option)
    assert answer["err"] == "ok" and server.objects[f"pre/fix/{key}"].data == b"mine"
    assert answer["etag"] == server.objects[f"pre/fix/{key}"].etag
    assert server.count("PUT") == 2 and server.count("HEAD") == 1


def test_a_lost_answer_and_somebody_elses_object(server, drive, stored):
    server.fault("reset", "PUT", times=1)
    answer = drive.run("put", "a", drive.file(b"mine"), "new")
    assert answer["err"] == "EEXIST" and server.objects["pre/fix/a"].data == stored


def test_a_failed_upload_in_parts_leaves_nothing(server, drive):
    server.fault("status", "partNumber=2", status=403, code="AccessDenied")
    answer = drive.run("put", "a", drive.file(bytes(20 * MIB)), part_size=5 * MIB)
    assert answer["err"] == "EACCES" and "PUT of part 2 of 4" in answer["text"]
    assert not server.uploads and not server.objects


def test_parts_are_tried_again(server, drive):
    data = os.urandom(12 * MIB)
    server.fault("status", "partNumber=2", times=2, status=503, code="SlowDown")
    server.fault("reset", "partNumber=3", times=1)
    assert drive.run("put", "a", drive.file(data), part_size=5 * MIB)["err"] == "ok"
    assert server.objects["pre/fix/a"].data == data


def test_a_completion_that_fails_late(server, drive):
    """200, and then an error in the body."""
    late = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>late</Message></Error>"
    data = os.urandom(6 * MIB)
    server.fault("garbage", "POST .*uploadId", times=2, body=late)
    assert drive.run("put", "a", drive.file(data), part_size=5 * MIB)["err"] == "ok"
    server.fault("garbage", "POST .*uploadId", body=late)
    answer = drive.run("put", "b", drive.file(data), part_size=5 * MIB)
    assert answer["err"] == "EIO" and "late" in answer["text"] and not server.uploads


@pytest.mark.parametrize("body", [b"", b" \n", b"<html>fine</html>", b"<CompleteMultipartUploadResult>"])
def test_a_completion_is_what_its_answer_says(server, drive, body):
    """200, and nothing that says that there is an object."""
    server.fault("garbage", "POST .*uploadId", body=body)
    answer = drive.run("put", "a", drive.file(bytes(6 * MIB)), part_size=5 * MIB)
    assert answer["err"] == "EPROTO" and not server.objects and not server.uploads


@pytest.mark.parametrize("body", [b"<Error><Code>InternalError</Code></Error>",
                                  b"<?xml version='1.0'?> <Error><Code>InternalError</Code></Error>"])
def test_blanks_keep_the_connection_of_a_completion(server, drive, body):
    server.fault("garbage", "POST .*uploadId", times=1, body=b" \n " * 50 + body)
    assert drive.run("put", "a", drive.file(bytes(6 * MIB)), part_size=5 * MIB)["err"] == "ok"
    assert len(server.objects["pre/fix/a"].data) == 6 * MIB


def test_a_completion_whose_answer_is_cut(server, drive):
    server.fault("cut", "POST .*uploadId", times=1)
    answer = drive.run("put", "a", drive.file(bytes(6 * MIB)), "new", part_size=5 * MIB)
    assert answer["err"] == "ok" and len(server.objects["pre/fix/a"].data) == 6 * MIB


def test_lists_that_never_end(server, drive):
    """A server that does not know about going on gives the same page again and again."""
    server.fault("garbage", "list-type", body=(
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        b"<Contents><Key>pre/fix/a</Key><Size>1</Size></Contents></ListBucketResult>"))
    server.fault("garbage", "uploads", body=(
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        b"</ListMultipartUploadsResult>"))
    for answer in drive.run("list", ""), drive.run("abort-old", "p/", 0):
        assert answer["err"] == "EPROTO" and "makes no sense" in answer["text"]
    assert len(server.asked) == 4


def test_a_completion_whose_answer_is_lost(server, drive):
    server.fault("lost", "POST .*uploadId", times=1)
    answer = drive.run("put", "a", drive.file(bytes(6 * MIB)), "new", part_size=5 * MIB)
    assert answer["err"] == "ok" and len(server.objects["pre/fix/a"].data) == 6 * MIB


def test_a_file_that_is_too_short(server, drive):
    for length in (2000, 6 * MIB):
        answer = drive.run("put", "a", drive.file(b"x" * 1000), f"len={length}", part_size=5 * MIB)
        assert answer["err"] == "ENODATA" and "shorter than it should be" in answer["text"]
    assert not server.objects and not server.uploads


def test_no_server(drive, tmp_path):
    answer = drive.run("head", "a", endpoint="http://127.0.0.1:9", tries=2)
    assert answer["err"] == "ECONNREFUSED" and "see that the server is up" in answer["text"]
    answer = drive.run("head", "a", endpoint="http://nowhere.invalid", tries=2)
    assert answer["err"] == "EHOSTUNREACH"


def test_a_server_that_hangs(server, drive, stored):
    server.fault("hang")
    answer = drive.run("get", "a", 0, 10, timeout_ms=300)
    assert answer["err"] == "ETIMEDOUT"
    answer = drive.run("get", "a", 0, 10, stall_ms=1000, tries=1)
    assert answer["err"] == "ETIMEDOUT" and "given up after 1 try" in answer["text"]


def test_a_stall_is_tried_again(server, drive, stored):
    server.fault("hang", times=1)
    assert drive.get("a", 0, 10, stall_ms=1000)[1] == stored[:10]


def test_slow_is_not_dead(server, drive, stored):
    """Bytes that keep coming are no stall, however slowly they do."""
    server.fault("slow")
    answer, got = drive.get("a", 0, 12, stall_ms=4000, tries=1)
    assert answer["err"] == "ok" and got == stored[:12]


def test_retry_after(server, drive, stored):
    server.fault("status", times=1, status=503, code="SlowDown", headers={"Retry-After": "1"})
    begun = time.monotonic()
    assert drive.run("get", "a", 0, 10)["err"] == "ok"
    assert time.monotonic() - begun >= 1
    server.fault("status", status=503, code="SlowDown", headers={"Retry-After": "3000"})
    answer = drive.run("get", "a", 0, 10, timeout_ms=5000)
    assert answer["err"] == "EAGAIN" and "the server asks to wait for longer" in answer["text"]


def test_cancel(server, drive, stored):
    server.fault("hang")
    for command in [("get", "a", 0, 10), ("put", "b", drive.file(b"x")), ("list", "")]:
        answer = drive.run("stop", 100, *command)
        assert answer["err"] == "ECANCELED"
    answer = drive.run("stop", 100, "times", 100, "get", "a", 0, 10, active=4)
    assert answer["errors"] == {"ECANCELED": 100}


def test_a_cancelled_upload_leaves_nothing(server, drive):
    server.fault("hang", "partNumber=2")
    answer = drive.run("stop", 1500, "put", "a", drive.file(bytes(20 * MIB)), part_size=5 * MIB)
    assert answer["err"] == "ECANCELED" and not server.uploads and not server.objects


@pytest.mark.parametrize("after_ms", [0, 20, 300])
def test_close_with_requests_under_way(server, drive, stored, after_ms):
    server.fault("hang", "a")
    source = drive.file(bytes(7 * MIB))
    for command in [("times", 60, "get", "a", 0, 10), ("times", 20, "put", "a%", source)]:
        answer = drive.run("close", after_ms, *command, active=8, part_size=5 * MIB)
        assert set(answer["errors"]) == {"ECANCELED"}, answer


def test_waiting_for_a_turn_is_bounded(server, drive, stored):
    server.fault("hang")
    answer = drive.run("times", 20, "get", "a", 0, 10, active=2, timeout_ms=500)
    assert answer["errors"] == {"ETIMEDOUT": 20}


@pytest.mark.parametrize("body", [
    b"", b"hello", b"<ListBucketResult>", b"<Other></Other>", b"\0" * 100,
    b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult><Contents><Key>&a;</Key></Contents></ListBucketResult>",
    b"<ListBucketResult><Contents><Key>elsewhere</Key></Contents></ListBucketResult>",
    b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
    b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    b"<ListBucketResult>" + b"<a>" * 50 + b"</a>" * 50 + b"</ListBucketResult>",
    b"<ListBucketResult>" + b"x" * 10000 + b"</ListBucketResult>",
    b"<ListBucketResult><Contents><Key>pre/fix/a</Key><Size>-1</Size></Contents></ListBucketResult>"])
def test_lists_that_make_no_sense(server, drive, body):
    server.fault("garbage", "GET", body=body)
    answer = drive.run("list", "")
    assert answer["err"] == "EPROTO" and "makes no sense" in answer["text"]


def test_an_endless_list(server, drive):
    server.fault("garbage", "GET", body=b"<ListBucketResult>" + b" " * (9 * MIB))
    assert drive.run("list", "")["err"] == "EFBIG"


def test_an_endless_error(server, drive, stored):
    server.fault("garbage", "GET", status=403, body=b"x" * (20 * MIB))
    assert drive.run("get", "a", 0, 10)["err"] == "EACCES"


def test_refused_deletes_are_told(server, drive):
    body = (b"<DeleteResult><Error><Key>pre/fix/d1</Key><Code>AccessDenied</Code>"
            b"<Message>no\x7f</Message></Error></DeleteResult>")
    server.fault("garbage", "POST", body=body)
    answer = drive.run("delete-many", "d", 3)
    assert answer["err"] == "EACCES" and "did not remove pre/fix/d1" in answer["text"]


def test_the_secret_is_nowhere(server, drive, stored):
    """Not in what is said, and not in what anybody sees of the process."""
    secret = SECRETS["AKTEST"]
    server.fault("status", status=403, code="SignatureDoesNotMatch", times=1)
    server.fault("hang")
    running = drive.start(("head", "a"), ("stop", 1000, "head", "a"))
    try:
        with open(f"/proc/{running.pid}/cmdline") as file:
            assert secret not in file.read()
        out, err = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
    assert secret not in out + err and "AKTEST" not in out + err
    assert json.loads(out.splitlines()[0])["err"] == "EACCES"
