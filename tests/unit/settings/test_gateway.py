"""The gateway's own headers."""

import pytest
from pydantic import ValidationError

from audit_proxy.settings.gateway import Gateway


def _gateway(**headers: str) -> Gateway:
    return Gateway(issuer="gateway", certificates=["dns:gateway.example"], **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"app_header": "X-Who", "holder_header": "x-who"},
        {"app_header": "X-Authenticated-Scopes"},
        {"holder_header": "X-A", "scopes_header": "X-A"},
    ],
)
def test_one_header_says_one_thing(headers) -> None:
    """App, holder and scopes cannot come in one and the same."""
    with pytest.raises(ValidationError, match="three headers"):
        _gateway(**headers)
    assert _gateway(app_header="X-App", holder_header="X-Holder", scopes_header="X-Scopes").app_header == "x-app"
