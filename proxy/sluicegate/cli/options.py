"""What the commands share: -c, --json, and how errors leave the program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from sluicegate import settings
from sluicegate.errors import ConfigError
from sluicegate.settings import Settings

OK, NO, USAGE = 0, 1, 2
"""Exit status: yes or allowed; no, blocked, findings or invalid; wrong usage or an unreadable gateway.yaml."""

DEFAULT_CONFIG = Path("gateway.yaml")


def config_option[F: Callable[..., Any]](function: F) -> F:
    """Adds -c/--config as the parameter `config`, a Path or None."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The gateway's configuration.  [default: ./gateway.yaml, else built-in defaults]",
    )(function)


def json_option[F: Callable[..., Any]](function: F) -> F:
    """Adds --json as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(function)


def load_settings(config: Path | None) -> Settings:
    """The settings that a command runs with. An unreadable gateway.yaml ends the program with status 2."""
    try:
        if config is None and not DEFAULT_CONFIG.exists():
            return settings.defaults(Path.cwd())
        return settings.load(config or DEFAULT_CONFIG)
    except ConfigError as error:
        fail(error, USAGE)


def fail(error: object, status: int = USAGE) -> NoReturn:
    """One line for each error on standard error, and out."""
    for line in str(error).splitlines():
        click.echo(f"sluicegate: {line}", err=True)
    raise SystemExit(status)


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
