"""JSON Pointers (RFC 6901) and the places they reach."""

from typing import Any

Pointer = tuple[str, ...]  # reference tokens, unescaped


def parse_pointer(text: str) -> Pointer:
    """``/account/id`` as its tokens. ``text`` begins with ``/``."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:])


def resolve(value: Any, pointer: Pointer) -> list[Any]:
    """All values a pointer reaches; a token that meets an array and is no index goes through every element. A place that
    does not exist gives ``[None]``: someone is meant, and not resolvable.
    """
    at = [value]
    for token in pointer:
        following: list[Any] = []
        for one in at:
            if one.__class__ is dict:
                following.append(one.get(token))
            elif one.__class__ is list:
                if token.isdigit():
                    following.append(one[int(token)] if int(token) < len(one) else None)
                else:
                    following.extend(element.get(token) if element.__class__ is dict else None for element in one)
            else:
                following.append(None)
        at = following
    spread: list[Any] = []
    for one in at:
        if one.__class__ is list:
            spread.extend(one)
        else:
            spread.append(one)
    return spread
