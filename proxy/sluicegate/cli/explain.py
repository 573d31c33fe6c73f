"""`sluicegate explain`: the verdict on a URL, every step that led to it, and the line that decided."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click

from sluicegate import paths
from sluicegate.cli.options import NO, OK, config_option, fail, json_option, load_settings, print_json
from sluicegate.dlp.engine import Engine
from sluicegate.errors import ConfigError
from sluicegate.facts import Address, Ask, Endpoint, Identity, Protocol, Request, Wire, Workload
from sluicegate.gateway.assemble import guard_of
from sluicegate.identity.table import Table
from sluicegate.lanes.connection import MAY_BE
from sluicegate.names import BadName, parse_authority
from sluicegate.policy.explain import Explanation
from sluicegate.resolve.resolver import ResolveFailed, Resolver
from sluicegate.settings import Settings
from sluicegate.snapshot import Snapshot, load
from sluicegate.verdict import Deny, Inspect, Permit, Source

_SCHEMES = {"https": (443, Protocol.HTTPS), "http": (80, Protocol.HTTP)}
_WIRES = {Protocol.HTTPS: Wire.TLS, Protocol.HTTP: Wire.HTTP1}
_NOWHERE = Endpoint(ip_address("127.0.0.1"), 0)
_COLOURS = {"denied": "red", "matched": "green", "maybe": "yellow"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as a connection and as the request on it."""

    connection: Ask
    request: Ask


@click.command("explain")
@click.argument("url")
@click.option("--from", "speaker", metavar="NAMESPACE/POD", help="Who asks.  [default: whoever 127.0.0.1 is]")
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, help="A label of that pod, where no table knows it."
)
@click.option("--service-account", default="default", show_default=True, help="Its service account, likewise.")
@click.option("--method", default="GET", show_default=True, help="The request's method.")
@click.option("--resolve", is_flag=True, help="Ask the resolver too, and decide on each address.")
@config_option
@json_option
def command(  # noqa: PLR0917 - click hands them over by name
    url: str,
    speaker: str | None,
    labels: tuple[str, ...],
    service_account: str,
    method: str,
    resolve: bool,  # noqa: FBT001 - click's signature
    config: Path | None,
    as_json: bool,  # noqa: FBT001 - click's signature
) -> None:
    """Say what would happen to a request, and why. Asks no network unless --resolve is given.

    Exit status: 0 allowed, 1 denied, 2 wrong usage.

    \b
    Example:
      sluicegate explain https://api.stripe.com/v1/charges --from payments/api-7d9f --method POST
    """
    settings = load_settings(config)
    identity = _identity(settings, speaker, labels, service_account)
    question = _question(url, identity, method.upper())
    try:
        # No content is looked at here, so there is nothing to compile DLP rules for.
        snapshot = load(settings, guard_of(settings), Engine((), key=secrets.token_bytes(32)))
    except ConfigError as error:
        fail(error)
    explanation = _explain(snapshot, question)
    addresses = _resolve(settings, question.request) if resolve else ()
    if isinstance(explanation.verdict, Permit) and addresses:
        explanation = _dialled(snapshot, explanation.verdict.ask, addresses)
    _print_json(explanation, addresses) if as_json else _print(explanation, addresses)
    raise SystemExit(OK if isinstance(explanation.verdict, Permit) else NO)


def _explain(snapshot: Snapshot, question: Question) -> Explanation:
    """As the gateway: a connection that is passed on undecrypted is decided as such; else the request is what counts."""
    connection = snapshot.explain(question.connection)
    if isinstance(connection.verdict, Permit) and connection.verdict.inspect is Inspect.SNI:
        return _spliced(snapshot, question.connection)
    return snapshot.explain(question.request)


def _spliced(snapshot: Snapshot, connection: Ask) -> Explanation:
    return snapshot.explain(replace(connection, protocols=frozenset({Protocol.TLS})))


def _dialled(snapshot: Snapshot, ask: Ask, addresses: tuple[Address, ...]) -> Explanation:
    """As the dialler decides: the first address that is permitted, else the first refusal."""
    each = [snapshot.explain(replace(ask, resolved=address)) for address in addresses]
    return next((one for one in each if isinstance(one.verdict, Permit)), each[0])


def _identity(settings: Settings, speaker: str | None, labels: tuple[str, ...], service_account: str) -> Identity:
    if speaker is None:
        return Table.of(settings.identity).lookup(_NOWHERE.address)
    namespace, slash, pod = speaker.partition("/")
    if not (namespace and slash and pod):
        fail(f"--from: `{speaker}`: write NAMESPACE/POD")
    for entry in settings.identity:
        if str(entry.workload) == speaker and not labels:
            return entry.workload
    return Workload(namespace, pod, service_account, dict(_label(label) for label in labels))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        fail(f"--label: `{text}`: write KEY=VALUE")
    return key, value


def _question(url: str, identity: Identity, method: str) -> Question:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        fail(f"`{url}`: {str(error).lower()}: write a URL such as https://api.example.com/v1/items")
    if parts.scheme not in _SCHEMES or not parts.netloc:
        fail(f"`{url}`: write a URL such as https://api.example.com/v1/items")
    try:
        name, port = parse_authority(parts.netloc)
    except BadName as error:
        fail(f"`{parts.netloc}`: {error}")
    default, protocol = _SCHEMES[parts.scheme]
    number = port if port is not None else default
    destination = Endpoint(name.address, number) if name.address is not None else None
    path = paths.canonical(parts.path or "/")
    request = Ask(
        identity=identity,
        source=_NOWHERE,
        name=name,
        destination=destination,
        port=number,
        protocols=frozenset({protocol}),
        request=Request(method, path.path, path.ambiguous),
    )
    return Question(replace(request, request=None, protocols=MAY_BE[_WIRES[protocol]]), request)


def _resolve(settings: Settings, ask: Ask) -> tuple[Address, ...]:
    async def look_up() -> tuple[Address, ...]:
        resolver = Resolver(settings.resolver)
        try:
            assert ask.name is not None
            return (await resolver.resolve(ask.name)).addresses
        finally:
            await resolver.close()

    try:
        return asyncio.run(look_up())
    except ResolveFailed as error:
        fail(f"{ask.name}: {error}", NO)


def _print(explanation: Explanation, addresses: tuple[Address, ...]) -> None:
    verdict = explanation.verdict
    denied = isinstance(verdict, Deny)
    click.secho("denied" if denied else "allowed", fg="red" if denied else "green", bold=True, nl=False)
    click.echo(f"  reason: {verdict.reason}")
    if isinstance(verdict, Deny):
        click.echo(f"  {verdict.detail}")
    elif verdict.inspect is Inspect.SNI:
        click.echo("  passed on undecrypted (inspect: sni)")
    if addresses:
        click.echo(f"  addresses: {', '.join(map(str, addresses))}")
    for step in explanation.steps:
        click.secho(f"  {step.outcome:8}", fg=_COLOURS.get(step.outcome), nl=False)
        click.echo(f"  {step.step:14} {step.text}")
    _print_place(verdict.source)
    if isinstance(verdict, Permit) and verdict.would_deny is not None:
        click.secho(f"  would deny: {verdict.would_deny.detail}", fg="yellow")


def _print_place(source: Source) -> None:
    if not source.place:
        return
    click.echo(
        f"  decided by {source.policy} {source.rule}".rstrip() + (f" (ask {source.owner})" if source.owner else "")
    )
    click.echo(f"    {source.place}: {_line(source.place)}")


def _line(place: str) -> str:
    """The line of YAML or list that a place names."""
    file, _, number = place.rpartition(":")
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()
    except (OSError, ValueError, IndexError):
        return ""


def _print_json(explanation: Explanation, addresses: tuple[Address, ...]) -> None:
    verdict = explanation.verdict
    print_json({
        "verdict": "deny" if isinstance(verdict, Deny) else "allow",
        "reason": verdict.reason,
        "detail": verdict.detail if isinstance(verdict, Deny) else "",
        "inspect": verdict.inspect if isinstance(verdict, Permit) else None,
        "would_deny": verdict.would_deny.reason if isinstance(verdict, Permit) and verdict.would_deny is not None else None,
        "source": {**asdict(verdict.source), "line": _line(verdict.source.place) if verdict.source.place else ""},
        "addresses": [str(address) for address in addresses],
        "steps": [asdict(step) for step in explanation.steps],
    })  # fmt: skip
