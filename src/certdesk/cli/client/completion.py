"""`certdesk completion`: what a shell needs to complete commands, options and names."""

import click
from click.shell_completion import get_completion_class

from certdesk.cli.client.exits import Failure

VARIABLE = "_CERTDESK_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Write the completion script for SHELL to stdout.

    For bash: eval "$(certdesk completion bash)" in ~/.bashrc. For fish: certdesk completion fish
    > ~/.config/fish/completions/certdesk.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise Failure(f"There is no completion for {shell}.")
    root = ctx.find_root()
    click.echo(made(root.command, {}, "certdesk", VARIABLE).source())
