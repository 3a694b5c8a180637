"""Whether a server lives: checked at every `pulumi up`, mended where it does not."""

from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

if TYPE_CHECKING:
    from infra.dynamic.server_api import ServerApi

INPUTS = ("stack", "server_id", "name", "address", "host_key", "user", "identity_file", "proxy_command")


class LivenessProvider(ResourceProvider):
    """A server is alive when it runs and its SSH answers with the pinned host key; powering it on is the mending."""

    serialize_as_secret_always = False
    api: "ServerApi"

    def configure(self, req: ConfigureRequest) -> None:
        from infra.credentials import credentials
        from infra.dynamic.server_api import ServerApi

        found, _ = credentials(req.config.get("baretick:site"), req.config.get)
        self.api = ServerApi(found.endpoint, found.token)

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        from infra.dynamic.revive import fault

        # In a preview of something new the id is not known yet.
        known = isinstance(news.get("server_id"), int | float)
        reason = fault(self.api, news) if known else None
        return CheckResult(news, [CheckFailure("server_id", reason)] if reason else [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.dynamic.revive import revive

        revive(self.api, props)
        return CreateResult(str(props["name"]), {**props, "status": "running"})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        changed = any(olds.get(key) != news.get(key) for key in INPUTS)
        return DiffResult(changes=changed or self.api.status(int(news["server_id"])) != "running", replaces=[])

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        from infra.dynamic.revive import revive

        revive(self.api, news)
        return UpdateResult({**news, "status": "running"})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        status = self.api.status(int(props["server_id"]))
        # No id tells Pulumi that there is nothing here any more.
        return ReadResult(id_ if status else "", {**props, "status": status})


class Liveness(Resource, name="Liveness"):
    status: pulumi.Output[str]

    def __init__(self, resource_name: str, *, opts: pulumi.ResourceOptions | None = None, **props: Any) -> None:
        super().__init__(LivenessProvider(), resource_name, {**props, "status": None}, opts)
