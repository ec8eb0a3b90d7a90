"""``audit-proxy schema``: JSON Schemas of the configuration files, for editors and checks elsewhere."""

from enum import StrEnum
from typing import Annotated

import typer

from audit_proxy.settings.schemas import schema_text


class Name(StrEnum):
    audit_proxy = "audit-proxy"
    policy = "policy"
    apps = "apps"
    budgets = "budgets"


def schema(name: Annotated[Name, typer.Argument(metavar="NAME", help="audit-proxy, policy, apps or budgets.")]) -> None:
    """Print the JSON Schema of a configuration file."""
    typer.echo(schema_text(name.value), nl=False)
