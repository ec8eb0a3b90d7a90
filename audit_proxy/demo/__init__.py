"""The demo, and the sample platform it runs against.

``world`` draws the people, ``views`` and ``selection`` turn them into the platform's JSON, ``platform`` serves it over
HTTP and knows nothing of the proxy. ``consents`` says who permitted what, ``apps`` are the two apps and their own
book-keeping of what they received, ``run`` starts everything and ``report`` prints it.
"""
