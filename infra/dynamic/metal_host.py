"""A dedicated server as Pulumi sees it: installed when it is made, brought up to date after, let go at the end.

What is on its disks and its contract outlive all that Pulumi does: destroying takes it off the vSwitch and clears its
firewall. Installing anew what was installed takes the server's number, typed by a person.
"""

from typing import Any

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

# What the host is to be, as data; and what became of it.
INPUTS = ("stack", "number", "hostname", "wanted", "identity_file", "proxy_command", "vswitch_id")
OUTPUTS = ("public_ipv4", "host_key", "install_id", "degraded")


class MetalHostProvider(ResourceProvider):
    serialize_as_secret_always = False
    site: str

    def configure(self, req: ConfigureRequest) -> None:
        from infra.dynamic.robot_access import follow_parent

        follow_parent()
        self.site = str(req.config.get("baretick:site"))

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        from infra.dynamic.robot_hosts import refusal

        reason = refusal(olds, news)
        return CheckResult(news, [CheckFailure("wanted", reason)] if reason else [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.dynamic.robot_hosts import bring_up

        return CreateResult(str(int(props["number"])), {**props, **bring_up(self.site, props)})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        changed = any(olds.get(key) != news.get(key) for key in INPUTS) or bool(olds.get("degraded"))
        # Another number is another server: the old one is let go first, as the new one gets its address.
        other = olds.get("number") != news.get("number")
        return DiffResult(changes=changed, replaces=["number"] if other else [], delete_before_replace=True)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        from infra.dynamic.robot_hosts import bring_up

        return UpdateResult({**news, **bring_up(self.site, news)})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from infra.dynamic.robot_hosts import look

        found = look(self.site, props)
        return ReadResult(id_ if found is not None else "", {**props, **(found or {})})

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        from infra.dynamic.robot_hosts import let_go

        let_go(self.site, props)


class MetalHost(Resource, name="MetalHost"):
    public_ipv4: pulumi.Output[str]
    host_key: pulumi.Output[str]
    install_id: pulumi.Output[str]
    degraded: pulumi.Output[str]

    def __init__(self, resource_name: str, *, opts: pulumi.ResourceOptions | None = None, **props: Any) -> None:
        super().__init__(MetalHostProvider(), resource_name, {**props, **dict.fromkeys(OUTPUTS)}, opts)
