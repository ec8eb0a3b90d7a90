"""The command tree."""

import subprocess
import sys

import pytest

from audit_proxy.cli.app import COMMANDS

HEAVY = {"aiohttp", "asyncio", "cryptography", "fideslang", "jsonpath_rfc9535", "jwt", "msgspec", "pydantic", "structlog", "uvloop", "yaml"}  # fmt: skip


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_asking_what_the_program_is_imports_none_of_it(option) -> None:
    """Neither a library that serves nor a room of our own beyond the command tree."""
    program = (
        "import sys\nfrom audit_proxy.cli.app import main\n"
        f"sys.argv = ['audit-proxy', {option!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "audit-proxy" in done.stdout
    loaded = done.stderr.split()
    assert not HEAVY & set(loaded)
    assert {one for one in loaded if one.startswith("audit_proxy")} == {
        "audit_proxy",
        "audit_proxy.cli",
        "audit_proxy.cli.app",
        "audit_proxy.cli.lazy",
    }


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.name)
def test_the_list_of_commands_says_what_each_says_of_itself(one) -> None:
    """The first line of a command's own help stands in the list."""
    assert one.help == one.load().help.split("\n")[0]
