"""The root of the `certdesk` command: finds each subcommand's module only when it is asked for.

That keeps Django off the import path of the client commands, and `certdesk --help` quick.
"""

import sys
from importlib import import_module

import click

from certdesk.domain.errors import CertdeskError

#: Subcommand → (module:attribute, one line for --help).
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("certdesk.cli.server:serve", "Run the portal, the REST API and the background worker."),
    "worker": ("certdesk.cli.server:worker", "Run a background worker alone."),
    "policy": ("certdesk.cli.policy:policy", "Check, show and try the rules that decide."),
    "ca": ("certdesk.cli.ca:ca", "Look after CAs: list, check, test, reconcile."),
    "perspective": (
        "certdesk.cli.perspective:perspective",
        "Run a remote perspective: check domains and CAA for a Certdesk elsewhere.",
    ),
    "admin": ("certdesk.cli.server:admin", "Set up and look after a service."),
    "request": (
        "certdesk.cli.client.request:request",
        "Ask for certificates: preview, submit, list, download.",
    ),
    "certificate": (
        "certdesk.cli.client.certificate:certificate",
        "Look at certificates: fetch, revoke, watch, renew.",
    ),
    "domain": ("certdesk.cli.client.domain:domain", "Domains: list, add, have a mailbox confirm."),
    "acme": ("certdesk.cli.client.acme:acme", "Look after ACME credentials and accounts."),
    "organisation": ("certdesk.cli.client.organisation:organisation", "Look at organisations."),
    "person": (
        "certdesk.cli.client.organisation:person",
        "Look after people: list, disable and enable accounts.",
    ),
    "token": ("certdesk.cli.client.token:token", "Look after your API tokens."),
    "completion": ("certdesk.cli.client.completion:completion", "Completion for your shell."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all subcommands, in the order that `COMMANDS` gives."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports and returns a subcommand; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _colon, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Writes the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_where, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="certdesk", prog_name="certdesk")
def certdesk() -> None:
    """Certdesk: a certificate request service in front of any CA.

    Server commands read CERTDESK_* settings; client commands need CERTDESK_URL and CERTDESK_TOKEN.
    """


def main() -> None:
    """Runs the command; an expected failure is one line on stderr and exit code 1."""
    try:
        certdesk(prog_name="certdesk")
    except CertdeskError as error:
        click.echo(f"certdesk: {error.detail}", err=True)
        for name, advice in getattr(error, "fields", {}).items():
            click.echo(f"  {name}: {advice}", err=True)
        sys.exit(1)
