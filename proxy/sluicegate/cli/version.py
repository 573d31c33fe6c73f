"""`sluicegate version`."""

from __future__ import annotations

import platform
import ssl
from importlib.metadata import version

import click

from sluicegate.cli.options import json_option, print_json

_ENGINES = ("mitmproxy", "hyperscan", "uvloop", "dnspython", "cryptography", "certifi")


@click.command("version")
@json_option
def command(as_json: bool) -> None:  # noqa: FBT001 - click's signature
    """Say which version this is, and of what it is made.

    \b
    Example:
      sluicegate version --json
    """
    facts = {
        "sluicegate": version("sluicegate"),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        **{name: version(name) for name in _ENGINES},
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"sluicegate {facts.pop('sluicegate')}")
    for name, value in facts.items():
        click.echo(f"  {name} {value}")
