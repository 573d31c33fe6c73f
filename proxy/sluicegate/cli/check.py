"""`sluicegate check`: would this configuration run, and what does it open?"""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from sluicegate.cli.options import NO, config_option, json_option, load_settings, print_json
from sluicegate.errors import ConfigError
from sluicegate.gateway.assemble import load_snapshot, warnings_of
from sluicegate.settings import Settings
from sluicegate.snapshot import Snapshot


@click.command("check")
@config_option
@json_option
def command(config: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click's signature
    """Read settings, policies, blocklists and DLP rules; name everything that is wrong in one pass.

    Exit status: 0 valid, 1 a policy, list or rule is invalid, 2 gateway.yaml itself is.

    \b
    Example:
      sluicegate check -c gateway.yaml
    """
    settings = load_settings(config)
    warnings = warnings_of(settings)
    try:
        snapshot = load_snapshot(settings, key=secrets.token_bytes(32))
    except ConfigError as error:
        _invalid(error, warnings, as_json=as_json)
        raise SystemExit(NO) from None
    if as_json:
        print_json({"valid": True, "errors": [], "warnings": warnings, **_facts(snapshot)})
        return
    for warning in warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    _valid(settings, snapshot)


def _invalid(error: ConfigError, warnings: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        rows = [{"place": each.place, "value": str(each.value), "fix": each.fix} for each in error.each]
        print_json({"valid": False, "errors": rows, "warnings": warnings})
        return
    for each in error.each:
        click.echo(str(each), err=True)
    click.secho(f"{len(error.each)} error{'s' if len(error.each) > 1 else ''}", fg="red", err=True)


def _valid(settings: Settings, snapshot: Snapshot) -> None:
    facts = _facts(snapshot)
    click.secho("valid", fg="green", nl=False)
    click.echo(
        f": {facts['policies']} policies with {facts['rules']} rules, {facts['lists']} blocklists with "
        f"{facts['names']} names and {facts['ranges']} ranges, {facts['dlp_rules']} DLP rules; default: {settings.default}"
    )


def _facts(snapshot: Snapshot) -> dict[str, int | str]:
    return {
        "policies": snapshot.policy.objects,
        "rules": snapshot.policy.rules,
        "digest": snapshot.policy.digest,
        "lists": len(snapshot.lists.lists),
        "names": snapshot.lists.names,
        "ranges": snapshot.lists.ranges,
        "dlp_rules": len(snapshot.engine.rules),
    }
