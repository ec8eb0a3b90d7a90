"""The proxy itself: aiohttp server on one side, aiohttp client on the other, ``pipeline`` between.

``exchange`` holds one request's way, ``server`` the listener, ``connections`` those that it has taken; ``framing`` what is
a request at all; ``headers`` what passes in each direction; ``coding`` content codings; ``streams`` bodies that pass while
they come; ``writes`` what is not safe to repeat; ``problems`` refusals on the wire; ``upstream`` the client, ``deadlines``
its time limits; ``peer`` who a verified client certificate names.
"""
