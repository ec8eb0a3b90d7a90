"""A population with friends. Nothing of it is stored: millions of people cost nothing until somebody asks for them.

Friends are mutual and heavy-tailed. People are numbered from the most to the least connected; person ``r`` of ``n`` has
about ``LEAST * (n / r) ** (1 / EXPONENT)`` friends (a power law: median 188, mean 250, as the quiz of 2014 met them). Level ``k``
of the graph joins all people with more than ``k`` friends in pairs by a reflection, ``r -> c_k - r``; of three levels two do
so within a neighbourhood, so that friends share friends. A sum of reflections with random ``c_k`` mixes like a random graph
(Alon and Roichman 1994, random Cayley graphs).
"""

import random
from bisect import bisect_left

from audit_proxy.core.detection.keys import key

LEAST = 137
EXPONENT = 2.2
MOST = 5_000
_NEIGHBOURHOOD = 2_000


class People:
    """People are numbers from 0 to ``count - 1``; numbers beyond are ids that are nobody's."""

    def __init__(self, count: int, seed: int) -> None:
        """ValueError: fewer than ten people."""
        if count < 10:
            raise ValueError(f"a population has 10 people at least, not {count}")
        self.count = count
        least = min(LEAST, count // 8 + 1)
        most = min(MOST, count // 2)
        wide = [count if k < least else int(count * (least / k) ** EXPONENT) for k in range(most)]
        self._levels = [size for size in wide if size > 1]
        self._falling = [-size for size in self._levels]
        draw = random.Random(f"{seed}:friends")
        self._centres = [draw.randrange(size) for size in self._levels]
        self._secret = f"simulated people {seed}".encode().ljust(16)
        self._keys: dict[int, int] = {}

    def degree(self, person: int) -> int:
        """How many levels join a person to somebody."""
        return bisect_left(self._falling, -person)

    def friends(self, person: int) -> list[int]:
        """A person's friends, in no telling order, each once."""
        found: dict[int, None] = {}
        for k in range(self.degree(person)):
            size, centre = self._levels[k], self._centres[k]
            if k % 3:
                base = person - person % _NEIGHBOURHOOD
                size = min(_NEIGHBOURHOOD, size - base)
                found[base + (centre + base - person) % size] = None
            else:
                found[(centre - person) % size] = None
        found.pop(person, None)
        return list(found)

    def key(self, person: int) -> int:
        """Whom detection knows the person as."""
        found = self._keys.get(person)
        if found is None:
            found = self._keys[person] = key(f"simulated:{person}", self._secret)
        return found
