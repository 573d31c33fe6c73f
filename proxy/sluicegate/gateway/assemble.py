"""Puts the parts together. Whatever is wrong with configuration, keys or policy is said here, before a port is opened."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from sluicegate import snapshot
from sluicegate.authority import ca
from sluicegate.authority.contexts import client_side_ssl
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.dlp.engine import Engine
from sluicegate.errors import ConfigError, ConfigErrors
from sluicegate.exchange import Gate
from sluicegate.identity.table import Table
from sluicegate.lanes.dial import Dialler
from sluicegate.names import HostName
from sluicegate.records.journal import Journal
from sluicegate.records.metrics import Metrics
from sluicegate.resolve.guard import Guard
from sluicegate.resolve.own import own_addresses
from sluicegate.resolve.resolver import Resolver
from sluicegate.settings import Settings
from sluicegate.snapshot import Snapshot

_FINGERPRINTS = b"sluicegate finding fingerprints 1"


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a worker runs with. `guard` and `engine` outlive reloads."""

    settings: Settings
    gate: Gate
    identities: Table
    leaves: Leaves
    server_side: ServerSide
    trust: Trust
    resolver: Resolver
    guard: Guard
    warnings: tuple[str, ...]

    async def leaf_context(self, name: HostName) -> ssl.SSLContext:
        """What the refuse lane finishes a handshake with."""
        return client_side_ssl(await self.leaves.aleaf(name))


def guard_of(settings: Settings) -> Guard:
    """The address guards, with this host's own addresses among what is never dialled."""
    return Guard(own_addresses(), settings.cluster_ranges, settings.upstream.unsafe_allow_addresses)


def load_snapshot(settings: Settings, key: bytes) -> Snapshot:
    """Policies, lists and DLP rules, read once. Raises ConfigErrors with all that is wrong in all of them."""
    errors: list[ConfigError] = []
    try:
        engine = Engine.load(settings.dlp.packs, key=key)
    except ConfigError as error:
        errors.extend(error.each)
        engine = Engine((), key=key)  # so that the rest is read as well
    try:
        read = snapshot.load(settings, guard_of(settings), engine)
    except ConfigError as error:
        raise ConfigErrors([*errors, *error.each]) from None
    if errors:
        raise ConfigErrors(errors)
    return read


def prove(settings: Settings) -> None:
    """Reads all that `assemble` does and opens nothing: another gateway may be writing the records."""
    authority = ca.load(settings.authority)
    Trust.load(settings.upstream.trust)
    Table.of(settings.identity)
    load_snapshot(settings, authority.derive(_FINGERPRINTS))


def assemble(settings: Settings) -> Parts:
    """Reads keys, trust, policy, lists and rules. Raises ConfigError; opens no port and starts no thread but the journal's."""
    authority = ca.load(settings.authority)
    trust = Trust.load(settings.upstream.trust)
    identities = Table.of(settings.identity)
    guard = guard_of(settings)
    engine = Engine.load(settings.dlp.packs, key=authority.derive(_FINGERPRINTS))
    first = snapshot.load(settings, guard, engine)
    metrics = Metrics()
    resolver = Resolver(settings.resolver)
    journal = _journal(settings, metrics)
    # The dialler asks for the newest policy each time, so it is bound to the gate, which holds it.
    dialler = Dialler(resolver, lambda: gate.snapshot, settings.upstream.connect_timeout_s)
    gate = Gate(first, journal, metrics, dialler.dial, settings.limits, settings.dlp.buffer)
    return Parts(
        settings=settings,
        gate=gate,
        identities=identities,
        leaves=Leaves(authority),
        server_side=ServerSide(),
        trust=trust,
        resolver=resolver,
        guard=guard,
        warnings=(*warnings_of(settings), *authority.warnings, *trust.warnings),
    )


def _journal(settings: Settings, metrics: Metrics) -> Journal:
    try:
        return Journal(settings.records, metrics)
    except OSError as error:
        fix = f"cannot be written ({error.strerror}): make the folder writable, or name another file"
        raise ConfigError("records.file", settings.records.file, fix) from None


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """What `check` and the log say loudly, because it opens a door."""
    found = [
        f"upstream.unsafe_allow_addresses: {network} can be reached past both address guards: for test beds only"
        for network in settings.upstream.unsafe_allow_addresses
    ]
    if settings.default == "audit":
        found.append("default: audit permits whatever no rule matches: for the roll-out of a policy only")
    if settings.records.on_full == "count":
        found.append("records.on_full: count lets requests pass unrecorded when records cannot be written")
    return tuple(found)
