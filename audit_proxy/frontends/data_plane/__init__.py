"""The proxy itself: aiohttp server on one side, aiohttp client on the other, ``pipeline`` between.

``exchange`` holds one request's way, ``server`` the listener; ``framing`` what is a request at all; ``headers`` what passes in each direction; ``coding`` content codings; ``problems``
refusals on the wire; ``upstream`` the client.
"""
