"""Asks and policies in few words. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from sluicegate import documents
from sluicegate.facts import Ask, Endpoint, Identity, ListHit, Protocol, Request, Workload
from sluicegate.names import HostName
from sluicegate.policy.load import load
from sluicegate.policy.model import Default, Policy
from sluicegate.resolve.guard import Guard

# As the lanes put them: a connection may be all that its first bytes allow, a request is what it is.
TLS = frozenset({Protocol.HTTPS, Protocol.TLS, Protocol.TCP})
HTTP = frozenset({Protocol.HTTP, Protocol.TCP})
SSH = frozenset({Protocol.SSH, Protocol.TCP})
OTHER = frozenset({Protocol.TCP})
SPLICED = frozenset({Protocol.TLS})
CONNECT = frozenset(Protocol)
HTTPS_REQUEST = frozenset({Protocol.HTTPS})
HTTP_REQUEST = frozenset({Protocol.HTTP})

GUARD = Guard()
PUBLIC = "93.184.215.14"
OTHER_PUBLIC = "151.101.1.140"


def policy(text: str, *, default: Default = "deny", guard: Guard = GUARD) -> Policy:
    return load(documents.read(text, "p.yaml"), default=default, guard=guard)


def cluster(rules: str, *, name: str = "c", tier: str = "platform", more: str = "") -> str:
    """One ClusterEgressPolicy; `rules` and `more` in flow style."""
    return f"---\nkind: ClusterEgressPolicy\nmetadata: {{name: {name}}}\nspec: {{tier: {tier}, rules: [{rules}]{_more(more)}}}\n"


def own(rules: str, *, name: str = "own", namespace: str = "shop", more: str = "") -> str:
    """One EgressPolicy."""
    return (
        f"---\nkind: EgressPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{rules: [{rules}]{_more(more)}}}\n"
    )


def _more(text: str) -> str:
    return f", {text}" if text else ""


def workload(
    namespace: str = "shop",
    *,
    account: str = "default",
    labels: Mapping[str, str] | None = None,
    namespace_labels: Mapping[str, str] | None = None,
) -> Workload:
    return Workload(namespace, "pod-1", account, labels or {}, namespace_labels or {})


def ask(
    name: str | None = "api.example.com",
    port: int = 443,
    *,
    to: str | None = PUBLIC,
    protocols: frozenset[Protocol] = TLS,
    resolved: str | None = None,
    ech: bool = False,
    by: Identity | None = None,
    source: str = "10.1.2.3",
) -> Ask:
    """A connection. `to`: the original destination."""
    return Ask(
        identity=workload() if by is None else by,
        source=Endpoint(ip_address(source), 40000),
        name=None if name is None else HostName.parse(name),
        destination=None if to is None else Endpoint(ip_address(to), port),
        port=port,
        protocols=protocols,
        resolved=None if resolved is None else ip_address(resolved),
        ech=ech,
    )


def request(
    method: str = "GET",
    path: str = "/",
    name: str | None = "api.example.com",
    port: int = 443,
    *,
    ambiguous: str | None = None,
    websocket: bool = False,
    to: str | None = PUBLIC,
    protocols: frozenset[Protocol] = HTTPS_REQUEST,
    resolved: str | None = None,
    by: Identity | None = None,
) -> Ask:
    asked = ask(name, port, to=to, protocols=protocols, resolved=resolved, by=by)
    return Ask(
        asked.identity,
        asked.source,
        asked.name,
        asked.destination,
        asked.port,
        asked.protocols,
        Request(method, path, ambiguous, websocket),
        asked.resolved,
    )


def hit(list_name: str = "malware", entry: str = "example.com", *, audit: bool = False) -> ListHit:
    return ListHit(list_name, entry, f"{list_name}.txt:7", owner="secops@example.com", audit=audit)
