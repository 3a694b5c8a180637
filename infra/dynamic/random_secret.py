"""A password that is generated once, kept encrypted in the state, and the same ever after."""

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider


class RandomSecretProvider(ResourceProvider):
    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        import secrets
        import string

        # Letters and digits alone: safe unquoted in every configuration file, URL and SQL that will carry it.
        alphabet = string.ascii_letters + string.digits
        value = "".join(secrets.choice(alphabet) for _ in range(int(props["length"])))
        return CreateResult(str(props["purpose"]), {**props, "value": value})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        longer = olds["length"] != news["length"]
        return DiffResult(changes=longer, replaces=["length"] if longer else [], delete_before_replace=True)


class RandomSecret(Resource, name="RandomSecret"):
    """A new one is made by `pulumi up --replace` with its name."""

    value: pulumi.Output[str]

    def __init__(self, purpose: str, length: int = 32, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["value"])
        super().__init__(
            RandomSecretProvider(),
            purpose,
            {"purpose": purpose, "length": length, "value": None},
            pulumi.ResourceOptions.merge(opts, secret),
        )
