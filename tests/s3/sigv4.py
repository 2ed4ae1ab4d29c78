# SPDX-License-Identifier: MIT
"""AWS Signature Version 4 of S3 requests, computed from AWS's description of it and from nothing else:
it judges what the client signs.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
import re
import time
from urllib.parse import quote, unquote

HEADER = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/"
                    r"(?P<service>[^/]+)/aws4_request, SignedHeaders=(?P<signed>[^,]+), "
                    r"Signature=(?P<signature>[0-9a-f]{64})")


def canonical_query(query):
    """Names and values encoded, sorted by name."""
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    encoded = sorted((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~"))
                     for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def canonical_request(method, path, query, headers, signed):
    """HEADERS: {lower-case name: value}."""
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed]
    return "\n".join([method, quote(unquote(path), safe="/-_.~"), canonical_query(query),
                      "".join(lines), ";".join(signed), headers["x-amz-content-sha256"]])


def signing_key(secret, date, region, service):
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def signature(request, stamp, region, secret):
    """Of a canonical request made at STAMP (20261121T202807Z)."""
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = signing_key(secret, stamp[:8], region, "s3")
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def sign(method, host, path, keys, region="us-east-1"):
    """Headers of a request without a body."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {"host": host, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
               "x-amz-date": stamp}
    request = canonical_request(method, path, "", headers, sorted(headers))
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys[0]}/{stamp[:8]}/{region}/s3/aws4_request, "
        f"SignedHeaders={';'.join(sorted(headers))}, "
        f"Signature={signature(request, stamp, region, keys[1])}")
    return headers


def complaint(method, path, query, headers, secrets):
    """What is wrong with a request's signature: an S3 error code, or None. SECRETS: {key id: secret}."""
    match = HEADER.fullmatch(headers.get("authorization", ""))
    if not match or "x-amz-content-sha256" not in headers:
        return "AccessDenied"
    if match["id"] not in secrets:
        return "InvalidAccessKeyId"
    signed = match["signed"].split(";")
    needed = {name for name in headers if name.startswith("x-amz-")} | {"host"}
    if signed != sorted(signed) or not needed <= set(signed) or match["service"] != "s3":
        return "SignatureDoesNotMatch"
    request = canonical_request(method, path, query, headers, signed)
    if not headers["x-amz-date"].startswith(match["date"]):
        return "SignatureDoesNotMatch"
    good = signature(request, headers["x-amz-date"], match["region"], secrets[match["id"]])
    return None if hmac.compare_digest(good, match["signature"]) else "SignatureDoesNotMatch"
