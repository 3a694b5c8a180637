"""The SSH host key of a server, made before the server is: it is pinned everywhere before anyone connects."""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class HostKeyProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.keys import generate

        pair = generate(str(props["host"]))
        return CreateResult(
            str(props["host"]), {"host": props["host"], "private_key": pair.private, "public_key": pair.public}
        )

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        # A key stays for as long as its host: renewing one is `pulumi up --replace`.
        return DiffResult(changes=False)


class HostKey(Resource, name="HostKey"):
    """An ed25519 pair; the private half is secret in the state."""

    host: pulumi.Output[str]
    private_key: pulumi.Output[str]
    public_key: pulumi.Output[str]

    def __init__(self, name: str, host: str, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["private_key"])
        super().__init__(
            HostKeyProvider(),
            name,
            {"host": host, "private_key": None, "public_key": None},
            pulumi.ResourceOptions.merge(opts, secret),
        )
