"""`taskq completion`: what teaches a shell to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from taskq.cli.commands import COMPLETE, says_errors
from taskq.errors import ConfigError

_INSTALL = {
    "bash": 'eval "$(taskq completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(taskq completion zsh)"   in ~/.zshrc, after compinit',
    "fish": "taskq completion fish > ~/.config/fish/completions/taskq.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
@says_errors()
def completion(ctx: click.Context, shell: str) -> None:
    """Print what teaches SHELL to complete what is typed.

    That is commands and options, states, and the names of queues, workers, schedules and tasks.

    \b
    bash  eval "$(taskq completion bash)"   in ~/.bashrc
    zsh   eval "$(taskq completion zsh)"   in ~/.zshrc, after compinit
    fish  taskq completion fish > ~/.config/fish/completions/taskq.fish

    Names come from TASKQ_APP, or from -A or --backend where they stand before them; a store has a second to answer.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise ConfigError(f"there is no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "taskq", COMPLETE).source())
    click.echo(f"# To have it always: {_INSTALL[shell]}")
