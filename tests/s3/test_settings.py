# SPDX-License-Identifier: MIT
"""Credentials, regions, endpoints and certificates: where they come from, and what is said when they don't."""

import os

import pytest

import nghttpx
from drive import Drive
from store_server import SECRETS, Server

pytestmark = pytest.mark.asan

KEY_ID, SECRET = next(iter(SECRETS.items()))
PAIR = f"aws_access_key_id = {KEY_ID}\naws_secret_access_key={SECRET}\n"


@pytest.fixture
def bare(server, tmp_path):
    """A drive without credentials."""
    return Drive(tmp_path, server.endpoint)


def write(home, name, text):
    (home / ".aws").mkdir(exist_ok=True)
    (home / ".aws" / name).write_text(text)


def test_none(bare):
    answer = bare.run("head", "a")
    assert answer["err"] == "ENOKEY"
    assert "AWS_ACCESS_KEY_ID" in answer["text"] and ".aws/credentials" in answer["text"]


def test_half_a_pair(bare):
    bare.environ["AWS_ACCESS_KEY_ID"] = KEY_ID
    assert bare.run("head", "a")["err"] == "EINVAL"
    del bare.environ["AWS_ACCESS_KEY_ID"]
    write(bare.home, "credentials", f"[default]\naws_access_key_id={KEY_ID}\n")
    assert bare.run("head", "a")["err"] == "EINVAL"


@pytest.mark.parametrize("name,section", [("credentials", "default"), ("config", "default"),
                                          ("credentials", "other"), ("config", "profile other")])
def test_files(server, bare, name, section):
    write(bare.home, name, f"# mine\n[nobody]\naws_access_key_id=x\n[{section}]\n; so\n{PAIR}"
                           "s3 =\n  aws_access_key_id = nested\n[last]\naws_secret_access_key=y\n")
    if "other" in section:
        assert bare.run("head", "a")["err"] == "ENOKEY"
        bare.environ["AWS_PROFILE"] = "other"
    assert bare.run("put", "a", bare.file(b"x"))["err"] == "ok"


def test_a_file_of_another_name(bare):
    path = bare.home / "keys"
    path.write_text(f"[default]\r\n{PAIR}".replace("\n", "\r\n"))
    bare.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(path)
    assert bare.run("put", "a", bare.file(b"x"))["err"] == "ok"


def test_a_long_session_token(server, bare):
    server.token = "t" * 2000
    write(bare.home, "credentials", f"[default]\n{PAIR}aws_session_token = {server.token}\n")
    assert bare.run("put", "a", bare.file(b"x"))["err"] == "ok"
    server.token = "newer"
    assert bare.run("head", "a")["err"] == "EACCES"


def test_renewed_credentials_are_read_again(server, bare):
    write(bare.home, "credentials", "[default]\naws_access_key_id=OLD\naws_secret_access_key=old\n")
    running = bare.start(("head", "a"), ("sleep", 3000), ("put", "a", bare.file(b"x")))
    assert "EACCES" in running.stdout.readline()
    write(bare.home, "credentials", f"[default]\n{PAIR}")
    assert '"ok"' in running.stdout.readline()
    running.communicate(timeout=60)


def test_region_and_endpoint_of_files(server, bare):
    bare.options["endpoint"] = None
    write(bare.home, "credentials", f"[default]\n{PAIR}")
    write(bare.home, "config", f"[default]\nregion = eu-x-9\nendpoint_url = {server.endpoint}\n")
    assert bare.run("put", "a", bare.file(b"x"))["err"] == "ok"
    assert server.regions == {"eu-x-9"}
    bare.environ["AWS_REGION"] = "eu-x-10"
    assert bare.run("head", "a")["err"] == "ok"
    assert server.regions == {"eu-x-9", "eu-x-10"}
    assert bare.run("head", "a", region="eu-x-11")["err"] == "ok"
    assert "eu-x-11" in server.regions
    bare.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert bare.run("head", "a", tries=1)["err"] == "ECONNREFUSED"


@pytest.mark.parametrize("place", ["", "bucket", "s3:/bucket", "s3://", "s3://ab", "s3://bu cket",
                                   "s3://bucket/a b", "s3://bucket/a//b", "s3://bucket/../x",
                                   "s3://bucket/" + "x" * 600, "s3://bucket?x"])
def test_bad_places(drive, place):
    drive.place = place
    answer = drive.run("head", "a")
    assert answer["err"] == "EINVAL" and answer["text"].endswith(".")


@pytest.mark.parametrize("options", [
    {"endpoint": "ftp://host"}, {"endpoint": "host"}, {"endpoint": "http://u:p@host"},
    {"endpoint": "http://host/path"}, {"endpoint": "http://host?x"}, {"endpoint": "http://"},
    {"region": "a:b"}, {"active": 0}, {"active": 1000}, {"part_size": 1000}, {"tries": 0},
    {"ca": "/nonexistent"}])
def test_bad_options(drive, options):
    answer = drive.run("head", "a", **options)
    assert answer["err"] == "EINVAL" and answer["text"].endswith(".")


def test_slashes_at_the_end_do_not_matter(server, drive):
    drive.place = "s3://bucket/pre/"
    drive.run("put", "a", drive.file(b"x"))
    assert list(server.objects) == ["pre/a"]


def test_the_bucket_in_the_host(server, drive):
    """Names below localhost are this machine; the server then sees the bucket in Host only."""
    server.bucket_in_host = True
    port = server.server_address[1]
    answer = drive.run("put", "a", drive.file(b"x"), endpoint=f"http://localhost:{port}", style="host")
    assert answer["err"] == "ok" and list(server.objects) == ["pre/fix/a"]
    assert server.hosts == {f"bucket.localhost:{port}"}


@pytest.fixture
def tls(tmp_path):
    """A server with a certificate of its own."""
    cert, key = nghttpx.certificate(tmp_path)
    made = Server(tls=(cert, key))
    made.cert = cert
    yield made
    made.close()


def test_tls(tls, tmp_path):
    drive = Drive(tmp_path, tls.endpoint, keys=(KEY_ID, SECRET), ca=tls.cert)
    data = os.urandom(3 << 20)
    assert drive.run("put", "a", drive.file(data))["err"] == "ok"
    assert drive.get("a", 5, 2000000)[1] == data[5:2000005]


def test_certificates_are_verified(tls, tmp_path):
    drive = Drive(tmp_path, tls.endpoint, keys=(KEY_ID, SECRET))
    answer = drive.run("head", "a")
    assert answer["err"] == "EPROTO" and "ca=" in answer["text"] and not tls.asked
    port = tls.server_address[1]
    answer = drive.run("head", "a", endpoint=f"https://localhost:{port}", ca=tls.cert)
    assert answer["err"] == "EPROTO" and not tls.asked  # it is another host's
