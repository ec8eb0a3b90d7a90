"""JSON Schemas of the configuration files, made from the models that read them (``config/schema/``)."""

import json
from typing import Any

from pydantic import BaseModel

from audit_proxy.settings.apps import AppsFile
from audit_proxy.settings.budgets import BudgetsFile
from audit_proxy.settings.model import Settings
from audit_proxy.settings.policy import PolicyFile

FILES: dict[str, type[BaseModel]] = {
    "audit-proxy": Settings,
    "policy": PolicyFile,
    "apps": AppsFile,
    "budgets": BudgetsFile,
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``name``.yaml; names are the keys of ``FILES``."""
    schema = FILES[name].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": f"{name}.yaml"}


def schema_text(name: str) -> str:
    """The schema as it is shipped."""
    return json.dumps(json_schema(name), indent=2, ensure_ascii=False) + "\n"
