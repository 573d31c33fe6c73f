"""`sluicegate run`: the gateway itself."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import uvloop

from sluicegate.cli.options import NO, config_option, fail, load_settings
from sluicegate.errors import ConfigError
from sluicegate.gateway.assemble import Parts, assemble, prove
from sluicegate.gateway.life import Life, harden, open_listeners
from sluicegate.records import log
from sluicegate_mitm.lane import MitmLane


@click.command("run")
@config_option
@click.option("--check", is_flag=True, help="Read everything, open nothing, and say whether it would start.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def command(config: Path | None, check: bool, log_level: str) -> None:  # noqa: FBT001 - click's signature
    """Run the gateway until SIGTERM; SIGHUP reloads policies and lists.

    \b
    Example:
      sluicegate run -c gateway.yaml
    """
    harden()
    settings = load_settings(config)
    log.configure(log_level)
    try:
        if check:
            prove(settings)
            click.echo("ready to run")
            return
        parts = assemble(settings)
        transparent, explicit = open_listeners(parts)
        uvloop.run(_serve(parts, transparent, explicit))
    except ConfigError as error:
        fail(error)


async def _serve(parts: Parts, transparent: list[socket.socket], explicit: socket.socket | None) -> None:
    lane = MitmLane(parts.gate, parts.leaves, parts.trust, parts.settings.limits)
    life = Life(parts, lane.carry)
    await life.run(transparent, explicit)
    if life.failed:
        raise SystemExit(NO)
