"""A vSwitch of Robot's: found by name and VLAN, made where there is none, cancelled with the site."""

from typing import Any

import pulumi
from pulumi.dynamic import (
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

INPUTS = ("name", "vlan")


class VSwitchProvider(ResourceProvider):
    serialize_as_secret_always = False
    site: str

    def configure(self, req: ConfigureRequest) -> None:
        from infra.dynamic.robot_access import follow_parent

        follow_parent()
        self.site = str(req.config.get("baretick:site"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        from infra.dynamic.robot_hosts import ensure_vswitch

        ident = ensure_vswitch(self.site, props)
        return CreateResult(str(ident), {**props, "vswitch_id": ident})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds.get(k) != news.get(k) for k in INPUTS), replaces=[])

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        from infra.dynamic.robot_hosts import change_vswitch

        change_vswitch(self.site, int(id_), news)
        return UpdateResult({**news, "vswitch_id": olds["vswitch_id"]})

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        from infra.dynamic.robot_hosts import read_vswitch

        found = read_vswitch(self.site, int(id_), props)
        # No id tells Pulumi that there is nothing here any more.
        return ReadResult(id_ if found else "", found or props)

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        from infra.dynamic.robot_hosts import cancel_vswitch

        cancel_vswitch(self.site, int(id_), props)


class VSwitch(Resource, name="VSwitch"):
    vswitch_id: pulumi.Output[int]

    def __init__(self, resource_name: str, *, opts: pulumi.ResourceOptions | None = None, **props: Any) -> None:
        super().__init__(VSwitchProvider(), resource_name, {**props, "vswitch_id": None}, opts)
