"""MinIO: its buckets as declared, and an app user that may use them and nothing else."""

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.host.fleet import ROOT, SANDBOX, Node, on

pytestmark = pytest.mark.site
UNIT = "minio"
DEFAULTS = yaml.safe_load(Path(ROOT, "roles", "minio", "defaults", "main.yml").read_text())
CLIENT = Path(ROOT, "roles", "minio", "module_utils", "minio_s3.py").read_text()

# Runs on the host, with what the role itself speaks S3 with; one line of JSON in, one out.
PROGRAM = """
import json, sys
asked = json.loads(sys.argv[1])
client = Client(asked["url"], asked["region"], asked["user"], json.loads(sys.stdin.readline()))
answers = []
for method, path, body in asked["requests"]:
    try:
        answers.append([200, client.request(method, path, body=body.encode()).decode()])
    except S3Error as error:
        answers.append([error.status, error.code])
print(json.dumps(answers))
"""


def as_app(node: Node, *requests: tuple[str, str, str]) -> list[Any]:
    """Status and body of each request, made on the host by the app's user."""
    asked = {
        "url": f"http://{node.ip}:9002",
        "region": DEFAULTS["minio_region"],
        "user": DEFAULTS["minio_users"][0]["name"],
        "requests": requests,
    }
    program = base64.b64encode((CLIENT + PROGRAM).encode()).decode()
    secret = json.dumps(node.vars["site_secrets"]["minio_app_secret"])
    run = f"python3 -c \"$(echo {program} | base64 -d)\" '{json.dumps(asked)}' <<'E'\n{secret}\nE"
    answers: list[Any] = json.loads(node.run(run))
    return answers


@on("minio")
def test_it_runs_and_starts_at_boot(node: Node) -> None:
    node.assert_running(UNIT)


@on("minio")
@pytest.mark.parametrize("port", [9001, 9002])
def test_it_listens_on_the_private_address_and_loopback_alone(node: Node, port: int) -> None:
    # MinIO reaches itself over loopback whatever address it is given.
    assert node.ip in node.listeners(port)
    assert node.listeners(port) <= {node.ip, "127.0.0.1", "::1"}


@on("minio")
def test_it_runs_unprivileged_in_a_sandbox(node: Node) -> None:
    facts = node.sandbox(UNIT)
    assert facts["User"] == "minio"
    assert {name: facts[name] for name in SANDBOX} == SANDBOX


@on("minio")
def test_it_takes_writes(node: Node) -> None:
    assert node.get(9002, "/minio/health/cluster")[0] == 200


@on("minio")
@pytest.mark.parametrize("bucket", [b["name"] for b in DEFAULTS["minio_buckets"]])
def test_the_app_reads_back_what_it_wrote_and_takes_it_away(node: Node, bucket: str) -> None:
    path, body = f"/{bucket}/host test/{uuid.uuid4().hex}", "as it was sent"
    answers = as_app(node, ("PUT", path, body), ("GET", path, ""), ("DELETE", path, ""), ("GET", path, ""))
    assert [status for status, _ in answers] == [200, 200, 200, 404]
    assert answers[1][1] == body


@on("minio")
def test_the_app_makes_and_removes_no_bucket(node: Node) -> None:
    bucket = DEFAULTS["minio_buckets"][0]["name"]
    answers = as_app(node, ("PUT", "/host-test-bucket", ""), ("DELETE", f"/{bucket}", ""))
    assert answers == [[403, "AccessDenied"], [403, "AccessDenied"]]


@on("minio")
def test_the_app_administers_nothing(node: Node) -> None:
    assert as_app(node, ("GET", "/minio/admin/v3/list-users", ""))[0][0] == 403


@on("minio")
def test_strangers_are_turned_away(node: Node) -> None:
    assert node.get(9002, f"/{DEFAULTS['minio_buckets'][0]['name']}")[0] == 403


@on("minio")
def test_its_secrets_are_for_root_alone(node: Node) -> None:
    file = node.host.file("/etc/minio/minio.env")
    assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
    commands = node.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")
    assert node.vars["site_secrets"]["minio_root_password"] not in commands
    assert node.vars["site_secrets"]["minio_app_secret"] not in commands
