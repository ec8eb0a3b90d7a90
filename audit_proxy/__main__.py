"""``python -m audit_proxy`` and the ``audit-proxy`` command."""

from audit_proxy.cli.app import main

if __name__ == "__main__":
    main()
