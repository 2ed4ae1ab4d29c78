# SPDX-License-Identifier: MIT
"""nghttpx before a server: speaks HTTP/2 over TLS with the client, and HTTP/1.1 with the server."""

import shutil
import socket
import subprocess
import time

from drive import SLOW, lacking


def certificate(home):
    """Paths of a new certificate for 127.0.0.1 and of its key."""
    if not shutil.which("openssl"):
        lacking("openssl is not installed")
    cert, key = home / "cert.pem", home / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


class Front:
    def __init__(self, server, home):
        self.program = shutil.which("nghttpx") or lacking("nghttpx is not installed (nghttp2-proxy)")
        self.server, self.home = server, home
        self.certificate, self.key = certificate(home)
        self.log = home / "access.log"

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        host, back = self.server.server_address[:2]
        self.endpoint = f"https://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [self.program, "--conf=/dev/null", f"--frontend=127.0.0.1,{port}",
             f"--backend={host},{back}", f"--accesslog-file={self.log}", "--workers=1",
             "--accesslog-format=$alpn $remote_port $request", self.key, self.certificate],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120 * SLOW
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError("nghttpx does not listen")

    def __exit__(self, *exc):
        self.process.terminate()
        self.process.wait()

    def lines(self):
        return [line.split(" ", 2) for line in self.log.read_text().splitlines()]

    def saw_http_2(self):
        return {line[0] for line in self.lines()} == {"h2"}

    def connections(self):
        return len({line[1] for line in self.lines()})
