"""The proxy itself: aiohttp server on one side, aiohttp client on the other, ``pipeline`` between.

``exchange`` holds one request's way, with ``stages`` what it goes through; ``monitor`` the way of one that nothing alters,
``passed`` the platform's answer as it came; ``server`` the listener, ``connections`` those
that it has taken, ``pace`` how slow they may be; ``framing`` what is a request at all; ``peer`` who a verified client
certificate names; ``headers`` what passes in each direction; ``coding`` content codings; ``streams`` answers judged chunk
by chunk, ``relay`` bodies that pass unjudged; ``writes`` what is not safe to repeat; ``problems`` refusals on the wire;
``upstream`` the client, ``asking`` its whole exchanges, ``pool`` its connections, ``deadlines`` their time limits; ``whole``
answers sent at once.
"""
