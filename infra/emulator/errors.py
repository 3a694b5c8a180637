"""Errors in Hetzner's form: `{"error": {"code", "message", "details"}}` with the HTTP status each code travels on."""

from typing import Any

STATUS = {
    "json_error": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "resource_limit_exceeded": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "uniqueness_error": 409,
    "conflict": 409,
    "invalid_input": 422,
    "resource_in_use": 422,
    "server_not_stopped": 422,
    "server_already_attached": 422,
    "ip_not_available": 422,
    "no_subnet_available": 422,
    "networks_overlap": 422,
    "firewall_already_applied": 422,
    "volume_already_attached": 422,
    "primary_ip_already_assigned": 422,
    "primary_ip_not_assigned": 422,
    "server_has_ipv4": 422,
    "server_has_ipv6": 422,
    "locked": 423,
    "protected": 423,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "unavailable": 503,
}

# What Hetzner says with a status that has several codes, where nothing else is asked for.
CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    422: "invalid_input",
    423: "locked",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "unavailable",
    504: "timeout",
}


class ApiError(Exception):
    """A refusal the client can read; `code` is one of Hetzner's."""

    def __init__(self, code: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def status(self) -> int:
        return STATUS[self.code]

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "details": self.details}}


class EmulatorError(Exception):
    """The emulator cannot do what was asked of it on this machine; the message says why and how to mend it."""


def not_found(kind: str, ident: object) -> ApiError:
    return ApiError("not_found", f"{kind} with ID '{ident}' not found")


def invalid(field: str, message: str) -> ApiError:
    return ApiError(
        "invalid_input", f"invalid input in field '{field}'", {"fields": [{"name": field, "messages": [message]}]}
    )


def taken(kind: str, field: str = "name") -> ApiError:
    return ApiError("uniqueness_error", f"{kind} {field} is already used", {"fields": [{"name": field}]})
