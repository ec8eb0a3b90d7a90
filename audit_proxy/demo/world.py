"""The sample platform's people: a social graph and what they wrote, drawn once from a seed.

The same ``people`` and ``seed`` give the same world on every machine and Python version. Friendships are a
configuration model (M. Newman, Networks, section 12.1) over a power law of degrees: most have a few dozen friends,
a few have hundreds. Two thirds of the ties go to people of one's own region, so that friends share friends.
"""

import datetime as dt
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from audit_proxy.demo import words

FIRST_ID = 100_001
MEAN_FRIENDS = 40
MAX_FRIENDS = 800
_EXPONENT = 1.5  # of the degrees' complementary distribution
_NEAR = 0.66  # share of ties within one's region
_REGION = 100  # a region's width, in people
_NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)  # the world's present; fixed, so that it stays the same world
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Profile:
    """A person's own data. None: not given."""

    id: int
    name: str
    username: str
    picture: str
    verified: bool
    email: str
    birthday: str | None
    city: str | None
    political_views: str | None


@dataclass(frozen=True, slots=True)
class Liked:
    page: int  # index into ``World.pages``
    at: str


@dataclass(frozen=True, slots=True)
class Post:
    id: str
    owner: int  # person index
    visibility: str
    message: str
    at: str
    shared: str | None  # another post's id


@dataclass(frozen=True, slots=True)
class Comment:
    id: str
    author: int
    message: str
    at: str


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    sender: int
    recipient: int
    text: str
    at: str


@dataclass(frozen=True, slots=True)
class Photo:
    id: str
    owner: int
    caption: str
    place: str | None
    at: str
    tags: tuple[tuple[int, float, float], ...]  # person index, x, y


class World:
    """People are indices from 0; ``id_of`` gives what the API calls them."""

    def __init__(self, people: int, seed: int) -> None:
        """``people`` at least 2."""
        if people < 2:
            raise ValueError("a social graph needs at least two people")
        self.people = people
        self.seed = seed
        self.friends = _friendships(people, random.Random(f"{seed}:friends"))
        self.pages = _pages(random.Random(f"{seed}:pages"))
        self.profiles = [_profile(one, self._draw("profile", one)) for one in range(people)]
        self._popular = [1 / (rank + 3) for rank in range(len(self.pages))]
        self.likes = lru_cache(maxsize=None)(self._likes)
        self.posts = lru_cache(maxsize=None)(self._posts)

    def _draw(self, what: str, one: int) -> random.Random:
        return random.Random(f"{self.seed}:{what}:{one}")

    @staticmethod
    def id_of(one: int) -> int:
        return FIRST_ID + one

    def index_of(self, id: int) -> int | None:  # noqa: A002  (the API's word)
        """The person with that id, or None."""
        one = id - FIRST_ID
        return one if 0 <= one < self.people else None

    def _likes(self, one: int) -> tuple[Liked, ...]:
        """What a person likes, newest first; popular pages more often."""
        draw = self._draw("likes", one)
        count = min(int(draw.paretovariate(1.2) * 4), 120) if draw.random() < 0.95 else 0
        pages = dict.fromkeys(draw.choices(range(len(self.pages)), self._popular, k=count))
        times = sorted((draw.randrange(2000 * _DAY) for _ in pages), reverse=False)
        return tuple(Liked(page, _time(ago)) for page, ago in zip(pages, times, strict=True))

    def _posts(self, one: int) -> tuple[Post, ...]:
        """A person's posts, newest first."""
        draw = self._draw("posts", one)
        times = sorted(draw.randrange(700 * _DAY) for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 4, 5, 8))))
        return tuple(
            Post(
                id=f"p{self.id_of(one)}{number:02d}",
                owner=one,
                visibility=draw.choices(("public", "friends", "private"), (3, 6, 1))[0],
                message=f"{draw.choice(words.OPENINGS)} {draw.choice(words.PHRASES)}",
                at=_time(ago),
                shared=self._shared(one, draw) if draw.random() < 0.15 else None,
            )
            for number, ago in enumerate(times)
        )

    def _shared(self, one: int, draw: random.Random) -> str | None:
        friends = self.friends[one]
        return f"p{self.id_of(draw.choice(friends))}00" if friends else None

    def post(self, id: str) -> Post | None:  # noqa: A002
        """The post with that id, or None."""
        if not (id.startswith("p") and id[1:].isascii() and id[1:].isdigit() and len(id) <= 24):
            return None
        owner = self.index_of(int(id[1:-2] or 0))
        if owner is None:
            return None
        return next((post for post in self.posts(owner) if post.id == id), None)

    def comments(self, post: Post) -> list[Comment]:
        """Comments on a post, oldest first, by friends of its owner."""
        draw = random.Random(f"{self.seed}:comments:{post.id}")
        friends = self.friends[post.owner]
        authors = draw.choices(friends, k=min(draw.choice((0, 0, 1, 2, 3, 6)), len(friends))) if friends else []
        return [
            Comment(f"{post.id}-{number}", author, draw.choice(words.REPLIES), _time(draw.randrange(_DAY)))
            for number, author in enumerate(authors)
        ]

    def messages(self, one: int) -> list[Message]:
        """A person's messages with friends, newest first; both ends see the same."""
        found = [message for other in self.friends[one] for message in self._talk(min(one, other), max(one, other))]
        return sorted(found, key=lambda message: (message.at, message.id), reverse=True)

    def _talk(self, low: int, high: int) -> Iterator[Message]:
        draw = random.Random(f"{self.seed}:talk:{low}:{high}")
        if draw.random() < 0.3:
            for number in range(draw.randint(1, 3)):
                ends = (low, high) if draw.random() < 0.5 else (high, low)
                text = f"{draw.choice(words.OPENINGS)} {draw.choice(words.PHRASES)}"
                at = _time(draw.randrange(400 * _DAY))
                yield Message(f"m{self.id_of(low)}-{self.id_of(high)}-{number}", *ends, text, at)

    def photos(self, one: int) -> list[Photo]:
        """Photos a person uploaded, newest first."""
        draw = self._draw("photos", one)
        times = sorted(draw.randrange(1500 * _DAY) for _ in range(draw.choice((0, 0, 1, 2, 4, 7))))
        return [
            Photo(
                id=f"f{self.id_of(one)}{number:02d}",
                owner=one,
                caption=draw.choice(words.PHRASES),
                place=draw.choice(words.CITIES) if draw.random() < 0.5 else None,
                at=_time(ago),
                tags=tuple(
                    (tagged, round(draw.random(), 3), round(draw.random(), 3))
                    for tagged in draw.sample(self.friends[one], min(draw.randrange(4), len(self.friends[one])))
                ),
            )
            for number, ago in enumerate(times)
        ]


def _time(seconds_ago: int) -> str:
    return (_NOW - dt.timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


def _degrees(people: int, draw: random.Random) -> list[int]:
    """How many friends each wants: a power law whose mean is MEAN_FRIENDS, or half of all people in a small world."""
    mean = min(MEAN_FRIENDS, (people - 1) / 2)
    most = min(MAX_FRIENDS, people - 1)
    raw = [draw.paretovariate(_EXPONENT) * draw.random() for _ in range(people)]
    low, high = 0.0, mean * 4
    for _ in range(40):  # the cut at ``most`` lowers the mean; find the scale that restores it
        scale = (low + high) / 2
        if sum(min(one * scale, most) for one in raw) < mean * people:
            low = scale
        else:
            high = scale
    return [max(1, round(min(one * high, most))) for one in raw]


def _friendships(people: int, draw: random.Random) -> list[list[int]]:
    """For each person the indices of their friends, in no telling order. Ties are mutual; nobody is their own friend."""
    near: list[tuple[float, int]] = []
    far: list[tuple[float, int]] = []
    for one, degree in enumerate(_degrees(people, draw)):
        home = one / people
        for _ in range(degree):
            if draw.random() < _NEAR:
                near.append((home + draw.gauss(0, _REGION / people), one))
            else:
                far.append((draw.random(), one))
    met: list[set[int]] = [set() for _ in range(people)]
    for stubs in (near, far):
        stubs.sort()
        for (_, one), (_, other) in zip(stubs[::2], stubs[1::2], strict=False):
            if one != other:
                met[one].add(other)
                met[other].add(one)
    for one, friends in enumerate(met):
        if not friends:  # nobody is alone
            other = (one + 1) % people
            friends.add(other)
            met[other].add(one)
    ordered = [sorted(friends) for friends in met]
    for friends_of_one in ordered:
        draw.shuffle(friends_of_one)
    return ordered


def _pages(draw: random.Random) -> list[tuple[str, str]]:
    """(name, category) of every page, the most popular first."""
    pages = [(kind.format(topic), draw.choice(words.PAGE_CATEGORIES)) for topic in words.TOPICS for kind in words.KINDS]
    draw.shuffle(pages)
    return pages


def _profile(one: int, draw: random.Random) -> Profile:
    id = World.id_of(one)  # noqa: A001
    first, last = draw.choice(words.FIRST), draw.choice(words.LAST)
    username = f"{_plain(first)}.{_plain(last)}{one}"
    born = dt.date(1945, 1, 1) + dt.timedelta(days=draw.randrange(60 * 365))
    return Profile(
        id=id,
        name=f"{first} {last}",
        username=username,
        picture=f"https://media.sample.example/{draw.getrandbits(64):016x}.jpg",
        verified=draw.random() < 0.02,
        email=f"{username}@example.org",
        birthday=born.isoformat() if draw.random() < 0.9 else None,
        city=draw.choice(words.CITIES) if draw.random() < 0.85 else None,
        political_views=draw.choice(words.VIEWS) if draw.random() < 0.3 else None,
    )


def _plain(name: str) -> str:
    letters = name.lower().translate({ord("ı"): "i", ord("ø"): "o", ord("ł"): "l"})
    return unicodedata.normalize("NFKD", letters).encode("ascii", "ignore").decode()
