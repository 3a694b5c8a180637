"""The HTTP side of the API: token, rate limit, JSON in and out, and every refusal in Hetzner's form."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel, ValidationError

from infra.emulator.cloud import Cloud
from infra.emulator.cut import cut
from infra.emulator.errors import CODES, ApiError, EmulatorError
from infra.emulator.faults import FaultRule
from infra.emulator.listing import Listed, page_of, select
from infra.emulator.model import Action

log = logging.getLogger(__name__)

CLOUD = web.AppKey("cloud", Cloud)
TOKEN_LENGTH = 64


class RateLimit:
    """Hetzner's bucket: so many requests an hour, one more as time passes. Larger here, for clients that poll fast."""

    def __init__(self, per_hour: int) -> None:
        self.per_hour = per_hour
        self._left = float(per_hour)
        self._at = time.monotonic()

    def take(self) -> dict[str, str]:
        """Headers of the answer; raises where nothing is left."""
        instant = time.monotonic()
        rate = self.per_hour / 3600
        self._left = min(float(self.per_hour), self._left + (instant - self._at) * rate)
        self._at = instant
        if self._left < 1:
            raise ApiError("rate_limit_exceeded", f"limit of {self.per_hour} requests per hour reached")
        self._left -= 1
        return self.headers()

    def headers(self) -> dict[str, str]:
        missing = (self.per_hour - self._left) / (self.per_hour / 3600)
        return {
            "RateLimit-Limit": str(self.per_hour),
            "RateLimit-Remaining": str(int(self._left)),
            "RateLimit-Reset": str(int(time.time() + missing)),
        }


def guard(limit: RateLimit) -> Middleware:
    """The middleware that every request passes."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        struck = await _struck(request)
        try:
            if request.path.startswith("/v1/"):
                _check_token(request)
                limit.take()
            if struck and not struck.after:
                return _lose(request, struck, limit)
            response = await handler(request)
        except ApiError as error:
            response = web.json_response(error.body(), status=error.status)
        except EmulatorError as error:
            response = web.json_response(ApiError("server_error", str(error)).body(), status=500)
        except web.HTTPMethodNotAllowed as error:
            refusal = ApiError("method_not_allowed", f"{error.method} is not allowed on {request.path}")
            response = web.json_response(refusal.body(), status=405)
        except web.HTTPNotFound:
            refusal = ApiError("not_found", f"the emulator has no {request.method} {request.path}")
            response = web.json_response(refusal.body(), status=404)
        except web.HTTPException:
            raise
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            refusal = ApiError("server_error", f"emulator fault, see its log: {type(error).__name__}: {error}")
            response = web.json_response(refusal.body(), status=500)
        if request.method not in ("GET", "HEAD"):
            # Also after a refusal: what is answered is what a restart will remember.
            request.app[CLOUD].store.save()
            log.info("%s %s %s", request.method, request.path, response.status)
        if struck and struck.after:
            return _lose(request, struck, limit)
        response.headers.update(limit.headers())
        return response

    return middleware


async def _struck(request: web.Request) -> FaultRule | None:
    """The injected loss or refusal that this request meets; injected slowness is waited out here."""
    if not request.path.startswith("/v1/"):
        return None
    cloud = request.app[CLOUD]
    struck = cloud.faults.on_request("hcloud", request.method, request.path)
    if struck:
        cloud.store.save()
    for rule in struck:
        if rule.kind == "slow":
            await asyncio.sleep(rule.seconds)
    return next((rule for rule in struck if rule.kind != "slow"), None)


def _lose(request: web.Request, rule: FaultRule, limit: RateLimit) -> web.Response:
    if rule.kind == "reset":
        return cut(request)
    if rule.status in (502, 504) and rule.code is None:
        # A gateway says so, and knows nothing of the API's errors.
        return web.Response(status=rule.status, text="<html>upstream</html>", content_type="text/html")
    headers = limit.headers()
    if rule.status == 429:
        headers |= {"RateLimit-Remaining": "0", "RateLimit-Reset": str(int(time.time() + rule.interval))}
        headers["Retry-After"] = str(rule.interval)
    body = {
        "error": {
            "code": rule.code or CODES.get(rule.status, "service_error"),
            "message": rule.message,
            "details": None,
        }
    }
    return web.json_response(body, status=rule.status, headers=headers)


def _check_token(request: web.Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ApiError("unauthorized", "no bearer token: send `Authorization: Bearer <64 characters>`")
    if len(token.strip()) != TOKEN_LENGTH:
        raise ApiError("unauthorized", f"the token has {len(token.strip())} characters; Hetzner's have {TOKEN_LENGTH}")


async def read[M: BaseModel](request: web.Request, model: type[M]) -> M:
    """The body as `model`, or invalid_input naming every field that is wrong."""
    raw = await request.read()
    try:
        document = json.loads(raw) if raw.strip() else {}
    except json.JSONDecodeError as error:
        raise ApiError("json_error", f"the body is not JSON: {error}") from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        fields: dict[str, list[str]] = {}
        for item in error.errors():
            fields.setdefault(".".join(map(str, item["loc"])) or "body", []).append(item["msg"])
        raise ApiError(
            "invalid_input",
            f"invalid input in field{'s' * (len(fields) > 1)} " + ", ".join(f"'{name}'" for name in fields),
            {"fields": [{"name": name, "messages": messages} for name, messages in fields.items()]},
        ) from None


def listed[T: Listed](
    request: web.Request,
    key: str,
    records: Sequence[T],
    render: Callable[[T], dict[str, Any]],
    filters: Mapping[str, Callable[[T], object]] | None = None,
) -> web.Response:
    """A list answer: filtered, sorted, one page of it, with the pagination Hetzner sends along."""
    page = page_of(select(records, request.query, filters or {}), request.query)
    return web.json_response({key: [render(item) for item in page.items], "meta": page.meta()})


def action_json(action: Action) -> dict[str, Any]:
    return action.model_dump()


def action_answer(action: Action, **more: Any) -> web.Response:
    return web.json_response({"action": action_json(action), **more}, status=201)


def cloud_of(request: web.Request) -> Cloud:
    return request.app[CLOUD]


def ident(request: web.Request) -> str:
    return request.match_info["id"]
