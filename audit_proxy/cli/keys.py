"""``audit-proxy keys``: the epochs of the pseudonym keys."""

import typer

from audit_proxy.cli.admin_api import Admin, TokenFile, call, talk
from audit_proxy.cli.configuration import DEFAULT, AsJson, ConfigFile, as_json

keys_app = typer.Typer(name="keys", help="The epochs of the pseudonym keys.", no_args_is_help=True)


@keys_app.command("list")
def list_(
    token_file: TokenFile, admin: Admin = None, config: ConfigFile = DEFAULT, json_output: AsJson = False
) -> None:
    """The live epochs and when each began."""
    told = talk(admin, config, token_file, lambda client: call(client, "GET", "/v1/keys"))
    if json_output:
        typer.echo(as_json(told))
        return
    for one in told["epochs"]:
        typer.echo(f"{one['epoch']:4}  since {one['began']}{'  in force' if one['epoch'] == told['in_force'] else ''}")


@keys_app.command()
def rotate(
    token_file: TokenFile, admin: Admin = None, config: ConfigFile = DEFAULT, json_output: AsJson = False
) -> None:
    """Begin a new epoch: from now on everybody has another pseudonym. Reports still find the records of former epochs.

    Whoever was erased counts as an ordinary person again in the new epoch, with nothing of their past.
    """
    done = talk(admin, config, token_file, lambda client: call(client, "POST", "/v1/keys/rotate"))
    typer.echo(as_json(done) if json_output else f"Epoch {done['epoch']} is in force.")
