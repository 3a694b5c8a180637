"""S3 and MinIO's admin interface over the standard library: signed requests, and the admin payloads' encryption.

There is no client of MinIO's in Debian, and an administrative one from elsewhere would need a mirror of its own.
"""

import datetime
import hashlib
import hmac
import os
import urllib.error
import urllib.parse
import urllib.request

ADMIN = "/minio/admin/v3/"
# How an admin payload was encrypted: its key by PBKDF2, sealed with AES-GCM.
PBKDF2_AES_GCM = b"\x02"
PBKDF2_ROUNDS = 8192
CHUNK = 16 * 1024


class S3Error(Exception):
    """An answer other than 2xx; `code` as S3 and MinIO name it."""

    def __init__(self, status, code, what):
        super().__init__(f"{what}: {status} {code}")
        self.status = status
        self.code = code


class Client:
    def __init__(self, url, region, access_key, secret_key, timeout=30):
        self.url = url.rstrip("/")
        self.host = urllib.parse.urlsplit(url).netloc
        self.region = region
        self.access_key = access_key
        self.secret_key = secret_key
        self.timeout = timeout

    def admin(self, method, call, query=None, body=b"", secret=False):
        """A call of the admin interface; `secret` bodies go encrypted with the caller's own secret key."""
        return self.request(method, ADMIN + call, query, encrypt(self.secret_key, body) if secret else body)

    def request(self, method, path, query=None, body=b"", headers=None):
        """The body of the answer, or S3Error."""
        quoted = urllib.parse.quote(path)
        listed = sorted((query or {}).items())
        asked = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}" for k, v in listed)
        signed = self.sign(method, quoted, asked, body, headers or {})
        request = urllib.request.Request(  # noqa: S310 - the address is http(s), from the role
            f"{self.url}{quoted}{'?' + asked if asked else ''}",
            data=body or (b"" if method in ("PUT", "POST") else None),
            method=method,
            headers=signed,
        )
        # The site's own address: no proxy of the environment stands between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            code = between(text, "<Code>", "</Code>") or between(text, '"Code":"', '"') or error.reason
            detail = between(text, "<Message>", "</Message>") or between(text, '"Message":"', '"')
            what = f"{method} {path}" + (f" ({detail})" if detail else "")
            raise S3Error(error.code, code, what) from None
        except urllib.error.URLError as error:
            raise S3Error(0, "Unreachable", f"{self.url}: {error.reason}") from None

    def sign(self, method, path, query, body, extra):
        """AWS Signature Version 4, in headers."""
        now = datetime.datetime.now(datetime.UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": digest, "x-amz-date": stamp, **extra}
        names = ";".join(sorted(headers))
        listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join([method, path, query, listed, names, digest])
        scope = f"{day}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def between(text, before, after):
    found = text.partition(before)[2].partition(after)
    return found[0] if found[1] else ""


def encrypt(password, data):
    """`data` as MinIO's admin interface takes secrets: salt, algorithm, nonce, then one sealed chunk."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(data) > CHUNK:
        raise ValueError(f"an admin payload of {len(data)} bytes does not fit into one chunk of {CHUNK}")
    salt, nonce = os.urandom(32), os.urandom(8)
    cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, PBKDF2_ROUNDS, 32))
    # The stream's own seal (counter 0) goes into every chunk's; 0x80 marks the chunk as the last one.
    seal = cipher.encrypt(nonce + (0).to_bytes(4, "little"), b"", b"")
    chunk = cipher.encrypt(nonce + (1).to_bytes(4, "little"), data, b"\x80" + seal)
    return salt + PBKDF2_AES_GCM + nonce + chunk
