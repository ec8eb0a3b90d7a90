"""Commands that are imported when they are used, so that ``--help`` and ``--version`` answer at once."""

import importlib
from typing import Any

import typer
from typer.core import TyperCommand


class Lazy(TyperCommand):
    """Stands for a command in the list of commands. ``target``: module and name of its function or ``typer.Typer``."""

    def __init__(self, name: str, help: str, target: str) -> None:  # noqa: A002  (typer's word)
        super().__init__(name, help=help)
        self._module, _, self._attribute = target.partition(":")

    def load(self) -> Any:
        """The command itself, as typer makes it."""
        found = getattr(importlib.import_module(self._module), self._attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(self.name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = self.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent=parent, **extra)
