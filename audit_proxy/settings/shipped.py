"""The files that come with the program: ``config/`` of the repository, ``audit_proxy/shipped`` of an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped() -> Path:
    """The folder of the shipped configuration. Raises FileNotFoundError on a broken installation."""
    for folder in (_PACKAGE / "shipped", _PACKAGE.parent / "config"):
        if (folder / "audit-proxy.yaml").is_file():
            return folder
    raise FileNotFoundError("the shipped configuration is missing; install audit-proxy again")
