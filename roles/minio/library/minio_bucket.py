#!/usr/bin/python
"""Ansible module: a bucket as declared, through plain S3. Never removes a bucket or an object."""

import base64
import hashlib

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.minio_s3 import Client, S3Error, between

DOCUMENTATION = """
module: minio_bucket
short_description: Keep a bucket as declared
options:
  url: {description: Address of the S3 server., type: str, required: true}
  region: {description: Region to sign for., type: str, required: true}
  access_key: {description: Who asks., type: str, required: true}
  secret_key: {description: And their secret., type: str, required: true}
  name: {description: The bucket., type: str, required: true}
  versioning: {description: Keep what was overwritten., type: bool, default: false}
  expire_days: {description: "Remove objects after so many days; 0 keeps them.", type: int, default: 0}
"""

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
RULE = "baretick-expire"


class Bucket:
    def __init__(self, module):
        self.module = module
        names = ("url", "region", "access_key", "secret_key")
        self.client = Client(*(module.params[name] for name in names))
        self.path = "/" + module.params["name"]
        self.changes = []

    def keep(self):
        exists = self.exists()
        if not exists:
            self.change("made", "PUT", None, b"")
        if exists or not self.module.check_mode:
            self.keep_versioning()
            self.keep_expiry()

    def exists(self):
        try:
            self.client.request("HEAD", self.path)
        except S3Error as error:
            if error.status != 404:
                raise
            return False
        return True

    def keep_versioning(self):
        answer = self.client.request("GET", self.path, {"versioning": ""}).decode()
        enabled = between(answer, "<Status>", "</Status>") == "Enabled"
        if enabled != self.module.params["versioning"]:
            status = "Enabled" if self.module.params["versioning"] else "Suspended"
            body = f"<VersioningConfiguration {XMLNS}><Status>{status}</Status></VersioningConfiguration>"
            self.change(f"versioning {status.lower()}", "PUT", {"versioning": ""}, body.encode())

    def keep_expiry(self):
        wanted = self.module.params["expire_days"]
        try:
            answer = self.client.request("GET", self.path, {"lifecycle": ""}).decode()
        except S3Error as error:
            if error.code != "NoSuchLifecycleConfiguration":
                raise
            answer = ""
        now = int(between(answer, "<Days>", "</Days>") or 0)
        if now == wanted:
            return
        if wanted == 0:
            self.change("expires no more", "DELETE", {"lifecycle": ""}, b"")
            return
        body = (
            f"<LifecycleConfiguration {XMLNS}><Rule><ID>{RULE}</ID><Status>Enabled</Status>"
            f"<Filter><Prefix></Prefix></Filter><Expiration><Days>{wanted}</Days></Expiration>"
            "</Rule></LifecycleConfiguration>"
        )
        self.change(f"expires after {wanted} days", "PUT", {"lifecycle": ""}, body.encode())

    def change(self, what, method, query, body):
        self.changes.append(what)
        if not self.module.check_mode:
            # S3 wants this digest on configuration bodies: a transport checksum, not a safeguard.
            digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            self.client.request(method, self.path, query, body, {"content-md5": digest})


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "region": {"type": "str", "required": True},
            "access_key": {"type": "str", "required": True},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "name": {"type": "str", "required": True},
            "versioning": {"type": "bool", "default": False},
            "expire_days": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    bucket = Bucket(module)
    try:
        bucket.keep()
    except S3Error as error:
        module.fail_json(msg=f"bucket {module.params['name']}: {error}")
    module.exit_json(changed=bool(bucket.changes), changes=bucket.changes)


if __name__ == "__main__":
    main()
