#!/usr/bin/python
"""Ansible module: a MinIO user that may use its buckets and nothing else."""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.minio_s3 import Client, S3Error

DOCUMENTATION = """
module: minio_user
short_description: Keep a MinIO user and its policy as declared
options:
  url: {description: Address of the server., type: str, required: true}
  region: {description: Region to sign for., type: str, required: true}
  access_key: {description: Who administers., type: str, required: true}
  secret_key: {description: And their secret., type: str, required: true}
  name: {description: The user., type: str, required: true}
  secret: {description: The user's secret., type: str, required: true}
  buckets: {description: What the user may use., type: list, elements: str, required: true}
"""


def policy(buckets):
    """List, read, write and delete in these buckets; not make, remove or configure any."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
                "Resource": sorted(f"arn:aws:s3:::{bucket}" for bucket in buckets),
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:ListMultipartUploadParts",
                    "s3:PutObject",
                ],
                "Resource": sorted(f"arn:aws:s3:::{bucket}/*" for bucket in buckets),
            },
        ],
    }


def normal(document):
    """A policy document in which order does not matter."""
    statements = []
    for statement in document.get("Statement", []):
        parts = {}
        for key, value in statement.items():
            parts[key] = sorted(value) if isinstance(value, list) else [value]
        statements.append(parts)
    return sorted(statements, key=json.dumps)


class User:
    def __init__(self, module):
        self.module = module
        self.name = module.params["name"]
        self.policy_name = f"baretick-{self.name}"
        names = ("url", "region", "access_key", "secret_key")
        self.client = Client(*(module.params[name] for name in names))
        self.changes = []

    def keep(self):
        wanted = policy(self.module.params["buckets"])
        if normal(self.found_policy()) != normal(wanted):
            body = json.dumps(wanted).encode()
            self.change("policy", "PUT", "add-canned-policy", {"name": self.policy_name}, body)
        user = self.found_user()
        if user.get("status") != "enabled" or not self.may_log_in():
            body = json.dumps({"secretKey": self.module.params["secret"], "status": "enabled"}).encode()
            self.change("user", "PUT", "add-user", {"accessKey": self.name}, body, secret=True)
        if user.get("policyName") != self.policy_name:
            query = {"policyName": self.policy_name, "userOrGroup": self.name, "isGroup": "false"}
            self.change("policy of the user", "PUT", "set-user-or-group-policy", query)

    def found_policy(self):
        try:
            answer = self.client.admin("GET", "info-canned-policy", {"name": self.policy_name, "v": "2"})
        except S3Error as error:
            if error.code != "XMinioAdminNoSuchPolicy":
                raise
            return {}
        return json.loads(answer).get("Policy", {})

    def found_user(self):
        try:
            return json.loads(self.client.admin("GET", "user-info", {"accessKey": self.name}))
        except S3Error as error:
            if error.code != "XMinioAdminNoSuchUser":
                raise
            return {}

    def may_log_in(self):
        """Whether the secret is the one declared: the server never shows it, so it has to be tried."""
        params = self.module.params
        client = Client(params["url"], params["region"], self.name, params["secret"])
        try:
            client.request("GET", "/")
        except S3Error as error:
            if error.code in ("SignatureDoesNotMatch", "InvalidAccessKeyId"):
                return False
            if error.code != "AccessDenied":
                raise
        return True

    def change(self, what, method, call, query, body=b"", secret=False):
        self.changes.append(what)
        if not self.module.check_mode:
            self.client.admin(method, call, query, body, secret)


def main():
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "region": {"type": "str", "required": True},
            "access_key": {"type": "str", "required": True},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "name": {"type": "str", "required": True},
            "secret": {"type": "str", "required": True, "no_log": True},
            "buckets": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    user = User(module)
    try:
        user.keep()
    except S3Error as error:
        module.fail_json(msg=f"user {module.params['name']}: {error}")
    module.exit_json(changed=bool(user.changes), changes=user.changes)


if __name__ == "__main__":
    main()
