"""Lists whose objects are alike, found without a step of ours for each: nearly all lists of people are."""

from itertools import chain
from operator import itemgetter
from typing import Any

from audit_proxy.core.identity import SUBJECT_ID_MAX
from audit_proxy.core.inspection import RawId

_DICTS = {dict}


def ids_of_alike(value: list[Any], key: str | None) -> list[RawId] | None:
    """The ids of objects that all have the same keys and types of values; None where they are not that."""
    if set(map(type, value)) != _DICTS or key not in value[0] or len(set(map(tuple, value))) > 1:
        return None
    types = [*map(type, chain.from_iterable(map(dict.values, value)))]
    width = len(value[0])
    if types != types[:width] * len(value):
        return None
    raws = [*map(itemgetter(key), value)]
    kind = type(raws[0])
    if kind is int:
        return raws
    return raws if kind is str and all(raws) and max(map(len, raws)) <= SUBJECT_ID_MAX else None
