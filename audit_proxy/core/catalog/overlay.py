"""OpenAPI Overlay 1.0.0: actions with a JSONPath (RFC 9535) target, applied in order.

Source: https://spec.openapis.org/overlay/v1.0.0.html, section 4.4 (Action Object).
"""

from typing import Any

import jsonpath_rfc9535 as jsonpath

MAX_MATCHES = 10_000  # places one action may touch


class OverlayError(ValueError):
    """The overlay is not one, or an action of it cannot be applied. The text names the action."""


def apply_overlay(document: dict[str, Any], overlay: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The document with the overlay applied, and findings (targets that match nothing). Raises OverlayError."""
    version = overlay.get("overlay")
    if not isinstance(version, str) or not version.startswith("1."):
        raise OverlayError("overlay: must be '1.0.0'")
    actions = overlay.get("actions")
    if not isinstance(actions, list) or not actions:
        raise OverlayError("actions: must be a list with at least one action")
    result = _written_out(document)
    findings: list[str] = []
    for number, action in enumerate(actions):
        where = f"actions[{number}]"
        if not isinstance(action, dict) or not isinstance(action.get("target"), str):
            raise OverlayError(f"{where}: must be an object with a JSONPath 'target'")
        unknown = [
            key
            for key in action
            if key not in ("target", "description", "update", "remove") and not key.startswith("x-")
        ]
        if unknown:
            raise OverlayError(f"{where}: unknown key {unknown[0]!r}")
        try:
            # a selector may name one place twice
            places = list(dict.fromkeys(node.location for node in jsonpath.find(action["target"], result)))
        except jsonpath.JSONPathError as error:
            raise OverlayError(f"{where}: target {action['target']!r} is not a JSONPath: {error}") from error
        if not places:
            findings.append(f"{where}: target {action['target']!r} matches nothing in the document")
        if len(places) > MAX_MATCHES:
            raise OverlayError(f"{where}: target matches more than {MAX_MATCHES} places")
        if action.get("remove") is True:
            # last first, so that removing one element of an array does not move the next
            for place in sorted(places, key=lambda place: [str(part).zfill(9) for part in place], reverse=True):
                _remove(result, place, where)
        elif "update" in action:
            for place in places:
                _update(result, place, action["update"], where)
        else:
            raise OverlayError(f"{where}: needs 'update' or 'remove: true'")
    return result, findings


def _written_out(value: Any) -> Any:
    """A copy in which no two places share a value, as aliases of YAML do: what is said of one place is said of it alone."""
    if isinstance(value, dict):
        return {key: _written_out(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_written_out(one) for one in value]
    return value


def _parent(document: Any, location: tuple[str | int, ...]) -> Any:
    for part in location[:-1]:
        document = document[part]
    return document


def _remove(document: Any, location: tuple[str | int, ...], where: str) -> None:
    if not location:
        raise OverlayError(f"{where}: the whole document cannot be removed")
    del _parent(document, location)[location[-1]]


def _update(document: Any, location: tuple[str | int, ...], update: Any, where: str) -> None:
    target = document
    for part in location:
        target = target[part]
    if isinstance(target, dict):
        if not isinstance(update, dict):
            raise OverlayError(f"{where}: the target is an object, so 'update' must be one")
        _merge(target, update)
    elif isinstance(target, list):
        target.append(_written_out(update))
    else:
        raise OverlayError(f"{where}: the target must be an object or an array, not a scalar")


def _merge(target: dict[str, Any], update: dict[str, Any]) -> None:
    for key, value in update.items():
        present = target.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _merge(present, value)
        elif isinstance(present, list) and isinstance(value, list):
            present.extend(_written_out(value))
        else:
            target[key] = _written_out(value)
