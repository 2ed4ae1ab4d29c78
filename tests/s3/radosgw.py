# SPDX-License-Identifier: MIT
"""A real Ceph of one machine, brought by tests/tiers/ceph."""

import http.client
import os
import shutil
import socket
import subprocess

import pytest

import sigv4
from drive import SOURCE

SCRIPT = SOURCE / "tests" / "tiers" / "ceph"
KEYS = ("AKTEST", "SKTEST/with+odd=characters")


def free_port():
    """The first of three that nobody has."""
    for port in range(17480, 27480, 10):
        try:
            for offset in range(3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
    raise AssertionError("there are no free ports")


class Ceph:
    def __init__(self, home, osds=1, copies=1, address="127.0.0.1"):
        self.dir, self.port, self.address = home / "ceph", free_port(), address
        if os.geteuid() != 0:
            pytest.skip("a Ceph of our own needs root")
        if not shutil.which("radosgw") and self.script("install").returncode:
            pytest.skip("the packages of Ceph can't be had here")
        done = self.script("start", self.dir, osds, copies)
        if done.returncode:
            self.stop()
            raise AssertionError(done.stderr)
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def script(self, *words):
        environ = {**os.environ, "CEPH_PORT": str(self.port), "CEPH_ADDRESS": self.address,
                   "AWS_ACCESS_KEY_ID": KEYS[0], "AWS_SECRET_ACCESS_KEY": KEYS[1]}
        return subprocess.run([SCRIPT, *map(str, words)], env=environ, capture_output=True, text=True,
                              timeout=600)

    def make_bucket(self, name):
        host = f"127.0.0.1:{self.port}"
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("PUT", f"/{name}", headers=sigv4.sign("PUT", host, f"/{name}", KEYS))
        assert connection.getresponse().status == 200
        connection.close()

    def stop(self):
        self.script("stop", self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)
