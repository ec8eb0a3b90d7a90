"""``identity.gateway``: a gateway in front that has verified the app's token, and says who asks in headers."""

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from audit_proxy.settings.shapes import Model, Namespace

_PREFIXES = ("subject:", "dns:", "uri:", "sha256:")
_HEADER = re.compile(r"x-[a-z0-9-]{1,60}\Z")


def _own(name: str) -> str:
    """A header that nothing else means anything by, in lower case."""
    lowered = name.lower()
    if _HEADER.match(lowered) is None or lowered.startswith("x-forwarded"):
        raise ValueError("must be a header of the gateway's own, such as X-Authenticated-App")
    return lowered


Header = Annotated[str, AfterValidator(_own)]


class Gateway(Model):
    """Believed only on connections whose client certificate ``data.tls.client_ca`` verified and that is named here."""

    issuer: str = Field(min_length=1)  # who the gateway speaks for
    certificates: list[str] = Field(min_length=1)  # dns:…, uri:…, subject:… (RFC 4514) or sha256: of the certificate
    app_header: Header = "x-authenticated-app"
    holder_header: Header = "x-authenticated-holder"
    scopes_header: Header = "x-authenticated-scopes"
    holder_namespace: Namespace = "person"
    holder_app_scoped: bool = False  # its ids are the app's own; platform.subject_ids says whom they mean

    @field_validator("certificates")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        if not all(one.startswith(_PREFIXES) and one.partition(":")[2] for one in value):
            raise ValueError("each must begin with dns:, uri:, subject: or sha256:")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if len({self.app_header, self.holder_header, self.scopes_header}) < 3:
            raise ValueError("'app_header', 'holder_header' and 'scopes_header' must be three headers")
        return self
