"""Request parts that several families share: names, labels, the usual update, the actions of a resource."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BaseModel, StringConstraints

from infra.emulator.cloud import require
from infra.emulator.errors import not_found, taken
from infra.emulator.labels import check_labels
from infra.emulator.model import Action, Named, Record
from infra.emulator.web import action_json, cloud_of, ident, listed

Labels = Annotated[dict[str, str], AfterValidator(check_labels)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ACTION_FILTERS: dict[str, Callable[[Action], object]] = {"status": lambda a: a.status}


class Update(BaseModel):
    name: Name | None = None
    labels: Labels | None = None


class Protect(BaseModel):
    delete: bool


def require_unused(kind: str, name: str, others: Iterable[Named], but: int | None = None) -> None:
    if any(o.name == name and o.id != but for o in others):
        raise taken(kind)


def apply_update(kind: str, record: Named, change: Update, others: Iterable[Named]) -> None:
    if change.name is not None:
        require_unused(kind, change.name, others, but=record.id)
        record.name = change.name
    if change.labels is not None:
        record.labels = change.labels


def pick[R: Record](request: web.Request, table: Mapping[int, R], kind: str) -> R:
    return require(table, kind, ident(request))


def by_id_or_name[R: Named](table: Mapping[int, R], kind: str, key: int | str) -> R:
    """Requests may name a resource by its id or by its name."""
    for record in table.values():
        if str(record.id) == str(key) or record.name == key:
            return record
    raise not_found(kind, key)


def resource_routes(
    plural: str, index: Handler, create: Handler, show: Handler, update: Handler, delete: Handler
) -> list[web.RouteDef]:
    """/<plural> and /<plural>/{id}, each with the handlers of its methods."""
    return [
        web.get(f"/v1/{plural}", index),
        web.post(f"/v1/{plural}", create),
        web.get(f"/v1/{plural}/{{id}}", show),
        web.put(f"/v1/{plural}/{{id}}", update),
        web.delete(f"/v1/{plural}/{{id}}", delete),
    ]


def action_routes(plural: str, kind: str, act: Handler) -> list[web.RouteDef]:
    """`act` starts one; /<plural>/actions, /<plural>/actions/{id}, /<plural>/{id}/actions and one of one resource."""

    async def every(request: web.Request) -> web.Response:
        return listed(request, "actions", cloud_of(request).actions.of(kind), action_json, ACTION_FILTERS)

    async def of_one(request: web.Request) -> web.Response:
        actions = cloud_of(request).actions.of(kind, int(ident(request)))
        return listed(request, "actions", actions, action_json, ACTION_FILTERS)

    async def one(request: web.Request) -> web.Response:
        action = require(cloud_of(request).db.actions, "action", request.match_info["action"])
        if not any(r.type == kind and request.match_info.get("id", str(r.id)) == str(r.id) for r in action.resources):
            raise not_found("action", action.id)
        return web.json_response({"action": action_json(action)})

    return [
        web.get(f"/v1/{plural}/actions", every),
        web.get(f"/v1/{plural}/actions/{{action:\\d+}}", one),
        web.get(f"/v1/{plural}/{{id:\\d+}}/actions", of_one),
        web.get(f"/v1/{plural}/{{id:\\d+}}/actions/{{action:\\d+}}", one),
        web.post(f"/v1/{plural}/{{id}}/actions/{{command}}", act),
    ]


def dumped(record: BaseModel) -> dict[str, Any]:
    return record.model_dump()
