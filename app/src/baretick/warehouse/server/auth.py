"""Who may speak to the server: users and passwords as ClickHouse's HTTP interface carries them."""

import base64
import binascii
import hmac
from collections.abc import Mapping


class AuthenticationFailed(Exception):
    """Code 516, in ClickHouse's words: it does not say whether the user or the password was wrong."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, "
            "or there is no user with such name. (AUTHENTICATION_FAILED)"
        )


class Users:
    """The configured users; every check takes the same time whether or not the user exists."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = {name: password.encode() for name, password in passwords.items()}

    def authenticate(self, headers: Mapping[str, str], params: Mapping[str, str]) -> str:
        """The user's name. Basic authentication, X-ClickHouse-User/-Key, or `user` and `password` parameters."""
        user, password = _credentials(headers, params)
        known = self._passwords.get(user)
        same = hmac.compare_digest(known if known is not None else b"\0", password.encode())
        if known is None or not same:
            raise AuthenticationFailed(user)
        return user


def _credentials(headers: Mapping[str, str], params: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise AuthenticationFailed("(malformed Authorization header)") from None
        return user or "default", password
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    return params.get("user") or "default", params.get("password", "")
