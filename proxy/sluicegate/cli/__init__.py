"""The command line: the composition root. Each command is a module of its own, with a click command `command`."""

from __future__ import annotations

import importlib

import click

_COMMANDS = ("run", "check", "explain", "logs", "ca", "dlp", "version")


class _Lazy(click.Group):
    """Imports a command when it is used: `sluicegate logs` need not load an HTTP engine."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in _COMMANDS:
            return None
        found = importlib.import_module(f"sluicegate.cli.{cmd_name}").command
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A Kubernetes egress firewall: pod identity, decrypted content, DLP and blocklists in one verdict.

    \b
    Examples:
      sluicegate check -c gateway.yaml
      sluicegate explain https://api.stripe.com/v1/charges --from payments/api-7d9f
      sluicegate logs --blocked --since 10m

    Tab completion: eval "$(_SLUICEGATE_COMPLETE=bash_source sluicegate)"
    """
