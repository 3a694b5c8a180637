"""What every family of calls shares: the transport, and answers read into types."""

from typing import Any

from pydantic import BaseModel, ValidationError

from infra.robot.errors import NotFound, RobotError
from infra.robot.models import unwrapped
from infra.robot.transport import Form, Transport


class UnknownShape(RobotError):
    """Robot answered something that is in none of the shapes known here."""


class Calls:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def call(self, method: str, path: str, form: Form = ()) -> Any:
        return self._transport.call(method, path, form)

    def one[M: BaseModel](self, path: str, key: str, model: type[M]) -> M:
        return read(f"GET {path}", self.call("GET", path), key, model)

    def post[M: BaseModel](self, path: str, key: str, model: type[M], form: Form) -> M:
        return read(f"POST {path}", self.call("POST", path, form), key, model)

    def listed[M: BaseModel](self, path: str, key: str, model: type[M]) -> list[M]:
        """Every thing of that kind. An empty list may come as a 404."""
        try:
            rows = self.call("GET", path)
        except NotFound:
            return []
        return [validate(f"GET {path}", row, model) for row in unwrapped(rows, key)]


def read[M: BaseModel](call: str, body: Any, key: str, model: type[M]) -> M:
    if not isinstance(body, dict) or not isinstance(body.get(key), dict):
        raise UnknownShape(call, f"the answer holds no {key!r}")
    return validate(call, body[key], model)


def validate[M: BaseModel](call: str, body: Any, model: type[M]) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        # The input is left out: it may hold a password.
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnknownShape(
            call, f"the answer's {model.__name__} is not understood at {where!r}: {first['msg']}"
        ) from None
