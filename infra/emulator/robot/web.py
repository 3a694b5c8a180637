"""The webservice on the wire: Basic auth, form bodies, JSON back, and the faults that strike on the way."""

import asyncio
import base64
import binascii
import json
import logging

from aiohttp import web

from infra.emulator.cut import cut
from infra.emulator.faults import FaultRule
from infra.emulator.robot.errors import RobotRefusal
from infra.emulator.robot.form import Call
from infra.emulator.robot.service import Answer, RobotService

log = logging.getLogger(__name__)

BODY_MOST = 1024 * 1024


def make_robot_app(service: RobotService) -> web.Application:
    app = web.Application(client_max_size=BODY_MOST)

    async def handle(request: web.Request) -> web.StreamResponse:
        store = service.account.store
        struck = service.account.faults.on_request("robot", request.method, request.path)
        if struck:
            store.save()
        for rule in struck:
            if rule.kind == "slow":
                await asyncio.sleep(rule.seconds)
        losses = [rule for rule in struck if rule.kind != "slow"]
        if losses and not losses[0].after:
            return _lose(request, losses[0])
        answer = await _ask(service, request)
        if request.method != "GET":
            store.save()
            log.info("robot %s %s %s", request.method, request.path, answer.status)
        if losses:
            return _lose(request, losses[0])
        return _respond(answer)

    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _ask(service: RobotService, request: web.Request) -> Answer:
    body = (await request.read()).decode(errors="replace")
    call = Call.of(request.method, request.path.rstrip("/") or "/", body, dict(request.query))
    try:
        return await service.answer(call, _login(request), request.remote or "?")
    except Exception as error:
        log.exception("robot %s %s", request.method, request.path)
        refusal = RobotRefusal(500, "INTERNAL_ERROR", f"emulator fault, see its log: {type(error).__name__}: {error}")
        return Answer(500, refusal.body())


def _login(request: web.Request) -> tuple[str, str] | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def _respond(answer: Answer) -> web.Response:
    if answer.body is None:
        return web.Response(status=answer.status)
    return web.Response(status=answer.status, body=json.dumps(answer.body).encode(), content_type="application/json")


def _lose(request: web.Request, rule: FaultRule) -> web.Response:
    if rule.kind == "reset":
        return cut(request)
    code = rule.code or {401: "UNAUTHORIZED", 403: "RATE_LIMIT_EXCEEDED", 409: "CONFLICT"}.get(rule.status, "")
    if not code:
        # Maintenance and gateways answer in HTML.
        text = f"<html><body><h1>{rule.status}</h1>{rule.message}</body></html>"
        return web.Response(status=rule.status, text=text, content_type="text/html")
    more = {rule.max_field: rule.max_request, "interval": rule.interval} if code == "RATE_LIMIT_EXCEEDED" else {}
    return _respond(Answer(rule.status, RobotRefusal(rule.status, code, rule.message, **more).body()))
