"""`sluicegate logs`: the verdict records, chosen and told in lines."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sluicegate.cli.options import NO, OK, config_option, fail, load_settings
from sluicegate.names import HostName
from sluicegate.records import lines
from sluicegate.records.record import Record, decode
from sluicegate.records.text import shown
from sluicegate.verdict import Reason

_POLL_S = 0.25
_FIRST = 10
_AGO = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_REASONS = tuple(reason.value for reason in Reason)


class Moment(click.ParamType[float]):
    """10m (ago), or an RFC 3339 time; without a zone it is UTC. Gives seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if ago := _AGO.fullmatch(value):
            return time.time() - float(ago[1]) * _UNITS[ago[2]]
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r}: write a duration such as 10m, or a time such as 2026-01-31T12:00:00Z", param, ctx)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


class ReasonName(click.ParamType[str]):
    """Any word: a file may hold reasons of another version. Those of this one are offered for completion."""

    name = "reason"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002  # click's signature
        ctx: click.Context | None,  # noqa: ARG002  # as above
    ) -> str:
        if value not in _REASONS:
            near = difflib.get_close_matches(value, _REASONS, n=1)
            hint = f": did you mean `{near[0]}`?" if near else ""
            click.echo(f"sluicegate: --reason: `{value}`: not a reason of this version{hint}", err=True)
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002  # as above
        incomplete: str,
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _REASONS if name.startswith(incomplete)]


class HostPattern(click.ParamType[tuple[str, str]]):
    """A host, or `*.` and one: then all names below it. Gives ("" | "*", canonical name)."""

    name = "host"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        star, rest = ("*", value[2:]) if value.startswith("*.") else ("", value)
        try:
            return star, HostName.parse(rest).ascii
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record must be to be shown. Empty fields ask for nothing."""

    since: float | None = None
    until: float | None = None
    namespaces: frozenset[str] = frozenset()
    hosts: tuple[tuple[str, str], ...] = ()
    reasons: frozenset[str] = frozenset()
    blocked: bool = False
    would_deny: bool = False
    id: str = ""

    def matches(self, record: Record) -> bool:
        return (
            (not self.id or record.id == self.id)
            and self._in_time(record)
            and (not self.namespaces or record.workload.namespace in self.namespaces)
            and (not self.hosts or _any_host(self.hosts, record.host or record.sni or ""))
            and (not self.reasons or bool(self.reasons & _reasons(record)))
            and self._denied(record)
        )

    def _in_time(self, record: Record) -> bool:
        if self.since is None and self.until is None:
            return True
        at = datetime.fromisoformat(record.time).timestamp()
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def _denied(self, record: Record) -> bool:
        """Both flags together ask for either: nothing is denied and would have been."""
        if not self.blocked and not self.would_deny:
            return True
        return (self.blocked and record.verdict == "deny") or (self.would_deny and record.would_deny is not None)


def _any_host(patterns: Iterable[tuple[str, str]], host: str) -> bool:
    return any(host.endswith(f".{name}") if star else host == name for star, name in patterns)


def _reasons(record: Record) -> set[str]:
    found = {record.reason}
    if record.would_deny is not None:
        found.add(record.would_deny.reason)
    if record.summary is not None:
        found.update(count.reason for count in record.summary.counts)
    return found


class Teller:
    """Reads lines, and tells those that are wanted."""

    def __init__(self, wanted: Wanted, *, as_json: bool) -> None:
        self._wanted = wanted
        self._tell = _raw if as_json else _line
        self.told = 0
        self.broken = 0

    def choose(self, found: Iterable[bytes]) -> Iterator[tuple[bytes, Record]]:
        """The wanted ones; what is no record is counted."""
        for line in found:
            if not line:
                continue
            try:
                record = decode(line)
                wanted = self._wanted.matches(record)
            except ValueError:  # also a time that is none
                self.broken += 1
                continue
            if wanted:
                yield line, record

    def tell(self, chosen: Iterable[tuple[bytes, Record]]) -> None:
        for line, record in chosen:
            click.echo(self._tell(line, record), color=_color())
            self.told += 1


@click.command("logs")
@config_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--since", type=Moment(), metavar="TIME", help="Asked at this time or later: 10m (ago), or RFC 3339.")
@click.option("--until", type=Moment(), metavar="TIME", help="Asked at this time or earlier.")
@click.option("--namespace", "namespaces", multiple=True, metavar="NAME", help="Of workloads in this namespace.")
@click.option("--host", "hosts", type=HostPattern(), multiple=True, metavar="HOST", help="For this host, or *.domain.")
@click.option("--reason", "reasons", type=ReasonName(), multiple=True, metavar="REASON", help="With this reason.")
@click.option("--blocked", is_flag=True, help="Only what was denied.")
@click.option("--would-deny", is_flag=True, help="Only what an audited rule would have denied.")
@click.option("--id", "record_id", default="", metavar="ID", help="The one with this id: the incident of a 403 page.")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Only the latest N.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Read this file, not that of the configuration.")
@click.option("--json", "as_json", is_flag=True, help="The records themselves, one on a line.")
def command(
    *,
    config: Path | None,
    follow: bool,
    since: float | None,
    until: float | None,
    namespaces: tuple[str, ...],
    hosts: tuple[tuple[str, str], ...],
    reasons: tuple[str, ...],
    blocked: bool,
    would_deny: bool,
    record_id: str,
    limit: int | None,
    path: Path | None,
    as_json: bool,
) -> None:
    """Show verdict records, in the order in which they were written, rotated files included.

    Options that are given twice ask for either; different options must all hold. With --follow and neither --since nor
    --limit it begins with the latest 10.

    \b
    Exit status: 0 something was shown; 1 nothing matched; 2 wrong usage.

    \b
    Examples:
      sluicegate logs --blocked --since 1h
      sluicegate logs -f --namespace payments --host '*.stripe.com'
      sluicegate logs --reason sensitive-data --json | jq .findings
    """
    if follow and until is not None:
        raise click.UsageError("--follow goes on for ever: leave --until out")
    wanted = Wanted(
        since, until, frozenset(namespaces), hosts, frozenset(reasons), blocked, would_deny, record_id.strip().lower()
    )
    teller = Teller(wanted, as_json=as_json)
    if follow and since is None and limit is None:
        limit = _FIRST
    path = path or load_settings(config).records.file
    try:
        show(path, teller, since=since, limit=limit, follow=follow)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}")
    if teller.broken:
        click.echo(f"sluicegate: {path}: {_lines(teller.broken)}: left out", err=True)
    raise SystemExit(OK if teller.told else NO)


def show(
    path: Path,
    teller: Teller,
    *,
    since: float | None,
    limit: int | None,
    follow: bool,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Tells what is there; with `follow`, then also what comes, between calls of `wait`, until that raises."""
    files = lines.open_all(path, since)
    if not files and not follow and not path.exists():
        click.echo(f"sluicegate: {path}: there are no records yet", err=True)
    if limit is None:
        teller.tell(teller.choose(itertools.chain.from_iterable(map(lines.read, files))))
    else:
        teller.tell(_latest(files, teller, limit))
    if not follow:
        for file in files:
            file.close()
        return
    follower = lines.Follower(path, files)
    while True:
        teller.tell(teller.choose(follower.poll()))
        sys.stdout.flush()
        wait(_POLL_S)


def _latest(files: list[Any], teller: Teller, limit: int) -> list[tuple[bytes, Record]]:
    """From the newest file backwards, until there are enough."""
    found: list[tuple[bytes, Record]] = []
    for file in reversed(files):
        found = [*deque(teller.choose(lines.read(file)), maxlen=limit - len(found)), *found]
        if len(found) == limit:
            break
    return found


def _raw(line: bytes, _record: Record) -> str:
    return line.decode("utf-8", "backslashreplace")


_COLUMNS = (24, 24, 6, 52, 18, 28)


def _line(_line: bytes, record: Record) -> str:
    """time, workload, verdict, what was asked, reason, what decided, whom to ask."""
    verdict = "audit" if record.would_deny is not None else record.verdict
    cells = (
        f"{record.time[:-4]}Z",
        str(record.workload),
        verdict,
        _asked(record),
        record.would_deny.reason if record.would_deny is not None else record.reason,
        _decider(record),
    )
    told = [shown(cell, 200).ljust(width) for cell, width in zip(cells, _COLUMNS, strict=True)]
    told[0] = click.style(told[0], dim=True)
    told[2] = click.style(told[2], fg=_COLORS.get(verdict), bold=verdict == "deny")
    owner = record.would_deny.owner if record.would_deny is not None else record.owner
    return " ".join([*told, shown(owner, 80) + _of_many(record)]).rstrip()


_COLORS = {"allow": "green", "deny": "red", "audit": "yellow"}


def _asked(record: Record) -> str:
    target = record.host or record.sni or record.destination.ip or "?"
    port = "" if record.destination.port in {80, 443} else f":{record.destination.port}"
    target = f"[{target}]" if ":" in target and port else target
    if record.method is None:
        return f"{target}{port}"
    path = record.path or ""
    return f"{record.method} {target}{port}{path if path.startswith('/') else f' {path}'}"


def _decider(record: Record) -> str:
    """The list and entry, the finding, or the rule of a policy."""
    would = record.would_deny
    listed = record.list or (would.list if would is not None else None)
    if listed is not None:
        return f"{listed.name}: {listed.entry}"
    if record.findings and record.verdict == "deny":
        return ", ".join(dict.fromkeys(found.rule for found in record.findings))
    rule, policy = (would.rule, would.policy) if would is not None else (record.rule, record.policy)
    return f"{policy} {rule}".strip()


def _of_many(record: Record) -> str:
    if record.summary is None:
        return ""
    counts = ", ".join(f"{count.records} {count.verdict} {count.reason}" for count in record.summary.counts)
    return shown(f"  (one of {record.summary.records}: {counts})", 400)


def _lines(number: int) -> str:
    return "1 line is no record" if number == 1 else f"{number} lines are no records"


def _color() -> bool | None:
    """None: click finds out whether the output is a terminal."""
    return False if os.environ.get("NO_COLOR") else None
