# SPDX-License-Identifier: MIT
"""A small object store in this process, which does as S3 does until a test says otherwise.

It keeps objects in memory, checks every signature and every payload's sum, and remembers what it was
asked. `server.fault(...)` has it do wrong: see Fault.
"""

import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import sigv4

SECRETS = {"AKTEST": "SKTEST/with+odd=characters"}
PAGE = 1000


class Fault:
    """What is done, and to which requests: a regular expression of `METHOD path?query`, and how often
    (None: always). Kinds:

    status      answers STATUS with the error CODE, and HEADERS
    garbage     answers STATUS with the bytes BODY
    cut         announces the whole body, sends half of it and closes
    long        sends more than the range has, and says so
    unsaid      the same without saying how long it is (chunked)
    whole       200 with everything in place of a range
    unranged    206 without Content-Range
    shifted     206 with the Content-Range of other bytes, and these
    reset       resets the connection without an answer
    hang        answers nothing until the server is closed
    slow        a byte of the body every 0.4 s
    pause       waits for the event UNTIL, then does it
    flip        takes a byte of the payload for another
    lost        does what it is asked, then resets the connection without an answer
    """

    def __init__(self, kind, match=".", times=None, **more):
        self.kind, self.match, self.left, self.more = kind, re.compile(match), times, more


class Upload:
    def __init__(self, key, meta, begun):
        self.key, self.meta, self.begun, self.parts = key, meta, begun, {}


class Stored:
    def __init__(self, data, meta, etag=None, storage_class=None):
        self.data, self.meta, self.mtime = data, meta, time.time()
        self.etag = etag or f'"{hashlib.md5(data).hexdigest()}"'
        self.storage_class = storage_class


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, bucket="bucket", tls=None, address="127.0.0.1"):
        super().__init__((address, 0), Handler)
        self.bucket, self.objects, self.uploads = bucket, {}, {}
        self.secrets, self.token = dict(SECRETS), None
        self.lock = threading.RLock()
        self.faults, self.asked, self.connections = [], [], 0
        self.active = self.most_active = 0
        self.closing = threading.Event()
        self.page = PAGE
        self.bucket_in_host = False
        self.regions, self.hosts = set(), set()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True,
                                              do_handshake_on_connect=False)
        self.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def fault(self, kind, match=".", times=None, **more):
        self.faults.append(Fault(kind, match, times, **more))

    def take_fault(self, request):
        with self.lock:
            for fault in self.faults:
                if fault.left != 0 and fault.match.search(request):
                    if fault.left:
                        fault.left -= 1
                    return fault
        return None

    def count(self, match):
        """How many requests were of that kind."""
        with self.lock:
            return sum(1 for line in self.asked if re.search(match, line))

    def handle_error(self, request, client_address):
        pass  # clients that go away are part of the tests


class Reply(Exception):
    def __init__(self, status, body=b"", headers=()):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, dict(headers)


def error(status, code, message="", **headers):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Reply(status, body.encode(), headers)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def log_message(self, *args):
        pass

    def serve(self):
        server = self.server
        with server.lock:
            server.asked.append(f"{self.command} {self.path}")
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            self.exchange()
        finally:
            with server.lock:
                server.active -= 1

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    def exchange(self):
        fault = self.server.take_fault(f"{self.command} {self.path}")
        kind = self.kind = fault.kind if fault else None
        if kind == "hang":
            self.server.closing.wait()
            return self.reset()
        if kind == "reset":
            return self.reset()
        if kind == "pause":
            fault.more["until"].wait()
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if kind == "flip":
            self.body = bytes([self.body[0] ^ 1]) + self.body[1:]
        try:
            reply = self.faulty(fault) if kind in ("status", "garbage") else self.answer()
        except Reply as refused:
            reply = refused
        if kind == "lost":
            return self.reset()
        self.send(reply, kind)

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def faulty(self, fault):
        more = fault.more
        headers = more.get("headers", {})
        if fault.kind == "garbage":
            return Reply(more.get("status", 200), more["body"], headers)
        return error(more["status"], more.get("code", "Injected"), more.get("message", ""), **headers)

    def send(self, reply, kind):
        body, headers = reply.body, {"Date": formatdate(usegmt=True), **reply.headers}
        length = len(body)
        if kind == "long":
            body += b"more"
            length = len(body)
        elif kind == "unsaid":
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%s\r\n4\r\nmore\r\n0\r\n\r\n" % (len(body), body)
        elif kind == "unranged":
            headers.pop("Content-Range", None)
        elif kind == "cut":
            body = body[:len(body) // 2]
            self.close_connection = True
        self.send_response_only(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" not in headers and reply.status != 204:
            self.send_header("Content-Length", headers.get("Content-Length", str(length)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "slow":
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.closing.wait(0.4):
                    return
        else:
            self.wfile.write(body)

    # what S3 does

    def send_header(self, keyword, value):
        if keyword != "Content-Length" or not any(line.lower().startswith(b"content-length:")
                                                  for line in self._headers_buffer):
            super().send_header(keyword, value)

    def answer(self):
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        code = sigv4.complaint(self.command, path, query, headers, self.server.secrets)
        if code is None and headers.get("x-amz-security-token") != self.server.token:
            code = "InvalidToken"
        if code:
            raise error(403, code)
        said = headers["x-amz-content-sha256"]
        if said not in ("UNSIGNED-PAYLOAD", hashlib.sha256(self.body).hexdigest()):
            raise error(400, "XAmzContentSHA256Mismatch")
        if "expect" in headers and not headers["expect"]:
            raise error(400, "EmptyExpect")
        self.server.regions.add(sigv4.HEADER.fullmatch(headers["authorization"])["region"])
        self.server.hosts.add(headers["host"])
        if self.server.bucket_in_host:
            path = f"/{headers['host'].partition('.')[0]}{path}"
        bucket, _, key = unquote(path[1:]).partition("/")
        if bucket != self.server.bucket:
            raise error(404, "NoSuchBucket")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        with self.server.lock:
            return self.on_object(key) if key else self.on_bucket()

    def on_bucket(self):
        if self.command == "POST" and "delete" in self.query:
            return self.delete_many()
        if self.command == "GET" and "uploads" in self.query:
            return self.list_uploads()
        if self.command == "GET" and self.query.get("list-type") == "2":
            return self.list_objects()
        raise error(501, "NotImplemented")

    def on_object(self, key):
        if "uploads" in self.query or "uploadId" in self.query:
            return self.on_upload(key)
        return {"GET": self.get, "HEAD": self.get, "PUT": self.put,
                "DELETE": self.delete}[self.command](key)

    def conditions(self, key):
        found = self.server.objects.get(key)
        if self.headers.get("If-None-Match") == "*" and found:
            raise error(412, "PreconditionFailed")
        wanted = self.headers.get("If-Match")
        if wanted and (not found or found.etag.strip('"') != wanted.strip('"')):
            raise error(412, "PreconditionFailed")

    def meta(self):
        return {name.lower(): value for name, value in self.headers.items()
                if name.lower().startswith("x-amz-meta-")}

    def get(self, key):
        found = self.server.objects.get(key)
        if not found:
            raise error(404, "NoSuchKey")
        self.conditions(key)
        headers = {"ETag": found.etag, "Last-Modified": formatdate(found.mtime, usegmt=True),
                   **found.meta}
        if self.command == "HEAD":
            return Reply(200, b"", {**headers, "Content-Length": str(len(found.data))})
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not match or self.kind == "whole":
            return Reply(200, found.data, headers)
        first, last = int(match[1]), min(int(match[2]), len(found.data) - 1)
        if first > last:
            raise error(416, "InvalidRange")
        if self.kind == "shifted":
            first, last = first + 1, last + 1
        headers["Content-Range"] = f"bytes {first}-{last}/{len(found.data)}"
        return Reply(206, found.data[first:last + 1], headers)

    def put(self, key):
        self.conditions(key)
        stored = Stored(self.body, self.meta(), storage_class=self.headers.get("x-amz-storage-class"))
        self.server.objects[key] = stored
        return Reply(200, b"", {"ETag": stored.etag})

    def delete(self, key):
        self.server.objects.pop(key, None)
        return Reply(204)

    def delete_many(self):
        said = self.headers.get("Content-MD5")
        if not said:
            raise error(400, "MissingContentMD5")
        for element in ElementTree.fromstring(self.body).iter():
            if element.tag.endswith("Key"):
                self.server.objects.pop(element.text, None)
        return Reply(200, b"<DeleteResult></DeleteResult>")

    def list_objects(self):
        prefix, after = self.query.get("prefix", ""), self.query.get("continuation-token", "")
        keys = sorted(key for key in self.server.objects if key.startswith(prefix) and key > after)
        page, more = keys[:self.server.page], len(keys) > self.server.page
        items = "".join(
            f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
            f"<Size>{len(self.server.objects[key].data)}</Size></Contents>" for key in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return Reply(200, (
            "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
            f"<EncodingType>url</EncodingType><IsTruncated>{'true' if more else 'false'}</IsTruncated>"
            f"{token}{items}</ListBucketResult>").encode())

    def list_uploads(self):
        prefix = self.query.get("prefix", "")
        after = (self.query.get("key-marker", ""), self.query.get("upload-id-marker", ""))
        found = sorted((upload.key, name) for name, upload in self.server.uploads.items()
                       if upload.key.startswith(prefix) and (upload.key, name) > after)
        page, more = found[:self.server.page], len(found) > self.server.page
        items = "".join(
            f"<Upload><Key>{quote(key)}</Key><UploadId>{name}</UploadId><Initiated>"
            f"{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(self.server.uploads[name].begun))}"
            "</Initiated></Upload>" for key, name in page)
        markers = (f"<NextKeyMarker>{quote(page[-1][0])}</NextKeyMarker>"
                   f"<NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>") if more else ""
        return Reply(200, (
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{markers}{items}"
            "</ListMultipartUploadsResult>").encode())

    def on_upload(self, key):
        uploads = self.server.uploads
        if "uploads" in self.query:
            name = f"upload+{len(uploads) + 1}/="
            uploads[name] = Upload(key, self.meta(), time.time())
            return Reply(200, f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
                              "</InitiateMultipartUploadResult>".encode())
        upload = uploads.get(self.query["uploadId"])
        if not upload:
            raise error(404, "NoSuchUpload")
        if self.command == "DELETE":
            del uploads[self.query["uploadId"]]
            return Reply(204)
        if self.command == "PUT":
            etag = f'"{hashlib.md5(self.body).hexdigest()}"'
            upload.parts[int(self.query["partNumber"])] = (etag, self.body)
            return Reply(200, b"", {"ETag": etag})
        return self.complete(key, upload)

    def complete(self, key, upload):
        self.conditions(key)
        said = [(int(part[0].text), part[1].text) for part in ElementTree.fromstring(self.body)]
        if said != [(number, upload.parts[number][0]) for number in sorted(upload.parts)]:
            raise error(400, "InvalidPart")
        data = b"".join(upload.parts[number][1] for number, _ in said)
        stored = Stored(data, upload.meta, f'"{hashlib.md5(data).hexdigest()}-{len(said)}"')
        self.server.objects[key] = stored
        del self.server.uploads[self.query["uploadId"]]
        return Reply(200, f"<CompleteMultipartUploadResult><ETag>{escape(stored.etag)}</ETag>"
                          "</CompleteMultipartUploadResult>".encode())
