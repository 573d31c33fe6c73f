"""`sluicegate dlp`: the scanner by hand, on files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from sluicegate.cli import options
from sluicegate.dlp.engine import Engine
from sluicegate.dlp.load import load_rules
from sluicegate.dlp.rules import Rule
from sluicegate.errors import ConfigError
from sluicegate.facts import Finding

_CHUNK = 65_536
_LARGE = 32 << 20

_pack_option = click.option(
    "--pack",
    "packs",
    multiple=True,
    metavar="NAME|FILE",
    help="A pack of rules; may be given more than once.  [default: those of the configuration]",
)


@dataclass
class _Result:
    name: str
    size: int = 0
    unscannable: str | None = None
    dropped: int = 0
    findings: list[Finding] = field(default_factory=list)


@click.group()
def command() -> None:
    """What the scanner finds, and the rules it has.

    \b
    Examples:
      sluicegate dlp scan upload.json
      curl -s https://example.com | sluicegate dlp scan -
      sluicegate dlp rules --pack secrets
    """


@command.command()
@click.argument("files", nargs=-1, metavar="[FILE|-]...")
@_pack_option
@click.option("--content-encoding", default="", metavar="CODINGS", help="What a request would say: gzip, br ...")
@options.config_option
@options.json_option
def scan(
    files: tuple[str, ...],
    packs: tuple[str, ...],
    content_encoding: str,
    config: Path | None,
    as_json: bool,  # noqa: FBT001  click passes it by name
) -> None:
    """Scan files as the bodies of requests; without one, standard input.

    Exit status: 0 nothing found, 1 something found or not scannable, 2 wrong usage. Fingerprints are keyed anew in
    each run: they compare findings of one run, and nothing else.

    \b
    Example:
      sluicegate dlp scan --pack secrets --content-encoding gzip dump.sql.gz
    """
    engine = _engine(packs, config)
    results = [_scan(engine, name, content_encoding) for name in files or ("-",)]
    if as_json:
        options.print_json([asdict(result) for result in results])
    else:
        for result in results:
            _show(result)
    raise SystemExit(options.NO if any(each.findings or each.unscannable for each in results) else options.OK)


@command.command()
@_pack_option
@options.config_option
@options.json_option
def rules(packs: tuple[str, ...], config: Path | None, as_json: bool) -> None:  # noqa: FBT001  click passes by name
    """List the rules: what they find, and what follows.

    \b
    Example:
      sluicegate dlp rules --pack pii
    """
    try:
        found = load_rules(_packs(packs, config))
    except ConfigError as error:
        options.fail(error)
    if as_json:
        options.print_json([_plain(rule) for rule in found])
        return
    table = Table("RULE", "SEVERITY", "ACTION", "DESCRIPTION", box=None, pad_edge=False, header_style="bold")
    for rule in found:
        plain = _plain(rule)
        table.add_row(rule.id, rule.severity, plain["action"], rule.description)
    console = Console()
    console.print(table, width=None if console.is_terminal else 160)


def _engine(packs: Sequence[str], config: Path | None) -> Engine:
    try:
        return Engine.load(_packs(packs, config), key=os.urandom(32))
    except ConfigError as error:
        options.fail(error)


def _packs(packs: Sequence[str], config: Path | None) -> Sequence[str]:
    return packs or options.load_settings(config).dlp.packs


def _scan(engine: Engine, name: str, content_encoding: str) -> _Result:
    result = _Result(name)
    scanning = engine.open()
    body = scanning.body(content_encoding, "")
    try:
        with _opened(name) as (source, size), _progress(name, size) as advance:
            while chunk := source.read(_CHUNK):
                result.size += len(chunk)
                result.findings += body.feed(chunk)
                advance(len(chunk))
        result.findings += body.finish()
        result.unscannable, result.dropped = body.unscannable, scanning.dropped
    except OSError as error:
        options.fail(f"{name}: {error.strerror}: name a file that can be read, or -")
    finally:
        scanning.close()
    return result


@contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], int]]:
    """The file and its size, which is 0 where it is not known."""
    if name == "-":
        yield sys.stdin.buffer, 0
        return
    with Path(name).open("rb") as source:
        yield source, os.fstat(source.fileno()).st_size


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if size < _LARGE or not console.is_terminal:
        yield _nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=size)

        def advance(done: int) -> None:
            bar.advance(task, done)

        yield advance


def _nothing(_done: int) -> None:
    """No bar."""


def _show(result: _Result) -> None:
    for finding in result.findings:
        click.echo(
            f"{result.name}: {finding.location}: {finding.rule} ({finding.severity}, {finding.action}): "
            f"{finding.masked}: {finding.message}"
        )
    if result.dropped:
        click.echo(f"{result.name}: {result.dropped} more findings were only counted")
    if result.unscannable:
        click.echo(f"{result.name}: cannot be scanned in full: {result.unscannable}")
    if not result.findings and not result.unscannable:
        click.echo(f"{result.name}: nothing found in {result.size} bytes", err=True)


def _plain(rule: Rule) -> dict[str, str]:
    action = (
        rule.action if rule.min_distinct == 1 else f"{rule.action} from {rule.min_distinct} different ones, else alert"
    )
    return {
        "id": rule.id,
        "description": rule.description,
        "severity": rule.severity,
        "confidence": rule.confidence,
        "action": action,
        "place": rule.place,
    }
