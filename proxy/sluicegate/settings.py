"""gateway.yaml: what the gateway listens on, trusts, limits and writes. Frozen, grouped, unknown keys are errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

from sluicegate import documents
from sluicegate.documents import Node
from sluicegate.errors import ConfigError
from sluicegate.facts import Address, Endpoint, Workload
from sluicegate.names import HostName
from sluicegate.verdict import Network

API_VERSION = "sluicegate.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Listen:
    transparent: tuple[Endpoint, ...] = (Endpoint(ip_address("0.0.0.0"), 8443), Endpoint(ip_address("0.0.0.0"), 8080))
    """Where redirected connections arrive. REDIRECT or TPROXY: told apart per connection."""
    tproxy: bool = False
    """Open the transparent listeners with IP_TRANSPARENT (needs CAP_NET_ADMIN)."""
    explicit: Endpoint | None = Endpoint(ip_address("127.0.0.1"), 3128)
    """HTTP proxy: CONNECT and absolute form."""
    metrics: Endpoint | None = Endpoint(ip_address("127.0.0.1"), 9190)
    """/metrics, /healthz and /readyz; without authentication and without names in labels."""


@dataclass(frozen=True, slots=True)
class Authority:
    cert: Path = Path("certs/ca.pem")
    key: Path = Path("certs/ca.key")


@dataclass(frozen=True, slots=True)
class Resolver:
    servers: tuple[Endpoint, ...] | None = None
    """None is `system`: the servers of /etc/resolv.conf, asked for absolute names only."""
    hosts: Mapping[HostName, tuple[Address, ...]] = field(default_factory=dict)
    """Names answered from here, before any server."""
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Upstream:
    trust: tuple[str, ...] = ("certifi",)
    """certifi | system | paths of PEM files; all of them together are trusted."""
    connect_timeout_s: float = 10.0
    unsafe_allow_addresses: tuple[Network, ...] = ()
    """Lifts both address guards for these networks. For test beds: `check` and the log say so loudly."""


@dataclass(frozen=True, slots=True)
class Dlp:
    packs: tuple[str, ...] = ("secrets", "pii")
    buffer: int = 1 << 20
    """Bytes of a request body that are held until the whole of it was scanned."""


@dataclass(frozen=True, slots=True)
class StaticIdentity:
    network: Network
    workload: Workload


@dataclass(frozen=True, slots=True)
class Limits:
    head: int = 64 << 10
    """Bytes of a request or response head."""
    hello: int = 64 << 10
    """Bytes of a ClientHello."""
    hello_timeout_s: float = 10.0
    """A client that says nothing for so long is refused."""
    idle_timeout_s: float = 600.0
    connections_per_workload: int = 1000
    message: int = 16 << 20
    """Bytes of one WebSocket or gRPC message: it is held whole while it is scanned."""
    drain_s: float = 30.0
    """How long running requests may go on after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Records:
    file: Path = Path("var/verdicts.jsonl")
    max_size: int = 256 << 20
    max_age_s: float = 24 * 3600.0
    keep: int = 8
    on_full: str = "block"
    """block: no request is permitted that could not be recorded; count: it is, and the loss is counted."""
    queue: int = 10_000
    per_workload: int = 2000
    """Records a second (burst: twice that) of one workload; what is beyond is summed up in counted summaries."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of gateway.yaml. `base` is the folder that relative paths are taken from (they are absolute here)."""

    base: Path
    listen: Listen = Listen()
    workers: int = 1
    engine: str = "auto"
    default: Literal["deny", "audit"] = "deny"
    authority: Authority = Authority()
    resolver: Resolver = Resolver()
    upstream: Upstream = Upstream()
    policies: tuple[Path, ...] = (Path("policies"),)
    blocklists: tuple[Path, ...] = (Path("blocklists"),)
    dlp: Dlp = Dlp()
    identity: tuple[StaticIdentity, ...] = ()
    cluster_ranges: tuple[Network, ...] = ()
    """The cluster's pod and service networks, where they are not RFC 1918 or ULA."""
    limits: Limits = Limits()
    records: Records = Records()


def load(path: Path) -> Settings:
    """gateway.yaml as Settings. Raises ConfigError: a missing file, bad YAML, an unknown key, a bad value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    return parse(text, str(path), _folder(path))


def _folder(path: Path) -> Path:
    """As it is named: in a mounted ConfigMap gateway.yaml is a link into a folder that the next update removes."""
    return Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolve() would follow that link


def defaults(base: Path) -> Settings:
    """Built-in defaults, with paths taken from `base`."""
    return parse(f"{{apiVersion: {API_VERSION}, kind: Gateway}}", "built-in defaults", base)


def parse(text: str, file: str, base: Path) -> Settings:
    """See load."""
    nodes = documents.read(text, file)
    if len(nodes) != 1:
        raise ConfigError(file, f"{len(nodes)} documents", "expected exactly one, of kind Gateway")
    top = nodes[0].fields(
        "listen", "workers", "engine", "default", "authority", "resolver", "upstream", "policies", "blocklists",
        "dlp", "identity", "cluster_ranges", "limits", "records", "metadata",
        required=("apiVersion", "kind"),
    )  # fmt: skip
    top.need("apiVersion").one_of(API_VERSION)
    top.need("kind").one_of("Gateway")
    at = _Base(base)
    return Settings(
        base=base,
        listen=top.read("listen", _listen, Listen()),
        workers=top.read("workers", _workers, 1),
        engine=top.read("engine", lambda node: node.one_of("auto", "mitm"), "auto"),
        default=top.read("default", _default, "deny"),
        authority=top.read("authority", at.authority, at.authority_default()),
        resolver=top.read("resolver", _resolver, Resolver()),
        upstream=top.read("upstream", at.upstream, Upstream()),
        policies=top.read("policies", at.paths, (base / "policies",)),
        blocklists=top.read("blocklists", at.paths, (base / "blocklists",)),
        dlp=top.read("dlp", at.dlp, Dlp()),
        identity=top.read("identity", _identity, _LOOPBACK_IS_DEV),
        cluster_ranges=top.read("cluster_ranges", _networks, ()),
        limits=top.read("limits", _limits, Limits()),
        records=top.read("records", at.records, Records(file=base / Records().file)),
    )


_LOOPBACK_IS_DEV = (
    StaticIdentity(ip_network("127.0.0.0/8"), Workload("local", "dev", labels={"app": "dev"})),
    StaticIdentity(ip_network("::1/128"), Workload("local", "dev", labels={"app": "dev"})),
)


class _Base:
    """Readers of what holds paths: relative ones are taken from the folder of gateway.yaml."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def path(self, node: Node) -> Path:
        return Path(os.path.normpath(self._base / Path(node.text()).expanduser()))

    def paths(self, node: Node) -> tuple[Path, ...]:
        return tuple(self.path(item) for item in node.items())

    def dlp(self, node: Node) -> Dlp:
        fields = node.fields("packs", "buffer")
        default = Dlp()
        return Dlp(
            fields.read("packs", lambda item: tuple(map(self._pack, item.items())), default.packs),
            fields.read("buffer", lambda item: item.size(0), default.buffer),
        )

    def _pack(self, node: Node) -> str:
        """A pack's name, or the path of a file of rules, which is told by its suffix."""
        return str(self.path(node)) if node.text().endswith((".yaml", ".yml")) else node.text()

    def authority_default(self) -> Authority:
        return Authority(self._base / Authority().cert, self._base / Authority().key)

    def authority(self, node: Node) -> Authority:
        fields = node.fields("cert", "key")
        default = self.authority_default()
        return Authority(fields.read("cert", self.path, default.cert), fields.read("key", self.path, default.key))

    def upstream(self, node: Node) -> Upstream:
        fields = node.fields("trust", "connect_timeout", "unsafe_allow_addresses")
        default = Upstream()
        return Upstream(
            trust=fields.read("trust", self._trust, default.trust),
            connect_timeout_s=fields.read("connect_timeout", Node.seconds, default.connect_timeout_s),
            unsafe_allow_addresses=fields.read("unsafe_allow_addresses", _networks, ()),
        )

    def _trust(self, node: Node) -> tuple[str, ...]:
        items = node.items() if isinstance(node.value, list) else [node]
        if not items:
            raise node.error("trusts nobody: name certifi, system or a PEM file")
        return tuple(text if (text := item.text()) in {"certifi", "system"} else str(self.path(item)) for item in items)

    def records(self, node: Node) -> Records:
        fields = node.fields("file", "max_size", "max_age", "keep", "on_full", "queue", "per_workload")
        default = Records()
        return Records(
            file=fields.read("file", self.path, self._base / default.file),
            max_size=fields.read("max_size", Node.size, default.max_size),
            max_age_s=fields.read("max_age", Node.seconds, default.max_age_s),
            keep=fields.read("keep", lambda item: item.integer(1, 10_000), default.keep),
            on_full=fields.read("on_full", lambda item: item.one_of("block", "count"), default.on_full),
            queue=fields.read("queue", lambda item: item.integer(10, 10_000_000), default.queue),
            per_workload=fields.read("per_workload", lambda item: item.integer(1, 10_000_000), default.per_workload),
        )


def _listen(node: Node) -> Listen:
    fields = node.fields("transparent", "tproxy", "explicit", "dns", "console", "metrics")
    for key in ("dns", "console"):
        if (asked := fields.get(key)) is not None:
            raise asked.error("is not served by this version: write null or leave it out")
    default = Listen()
    return Listen(
        transparent=fields.read(
            "transparent", lambda item: tuple(endpoint(each) for each in item.items()), default.transparent
        ),
        tproxy=fields.read("tproxy", Node.boolean, default.tproxy),
        explicit=_endpoint_or_none(fields.mapping, "explicit", default.explicit),
        metrics=_endpoint_or_none(fields.mapping, "metrics", default.metrics),
    )


def _endpoint_or_none(mapping: Mapping[str, Node], key: str, default: Endpoint | None) -> Endpoint | None:
    """Null switches a listener off, which an absent key does not."""
    if key not in mapping:
        return default
    return None if mapping[key].value is None else endpoint(mapping[key])


def endpoint(node: Node, default_port: int | None = None) -> Endpoint:
    """``0.0.0.0:8443`` or ``[::]:8443``."""
    if default_port is not None:
        with contextlib.suppress(ValueError):  # an address without a port, then
            return Endpoint(ip_address(node.text().removeprefix("[").removesuffix("]")), default_port)
    host, _, port = node.text().rpartition(":")
    if ":" in host and not host.startswith("["):
        raise node.error(f"write an IPv6 address in brackets: [{host}]:{port}")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        raise node.error("expected address:port, such as 0.0.0.0:8443") from None
    if not 0 <= number <= 65535:
        raise node.error("the port is a number from 0 to 65535")
    return Endpoint(address, number)


def _workers(node: Node) -> int:
    if type(node.value) is not int or node.value != 1:
        raise node.error("more than one worker is not served by this version: write 1, or run more gateways")
    return 1


def _default(node: Node) -> Literal["deny", "audit"]:
    return "audit" if node.one_of("deny", "audit") == "audit" else "deny"


def _resolver(node: Node) -> Resolver:
    fields = node.fields("servers", "hosts", "timeout")
    default = Resolver()
    return Resolver(
        servers=fields.read("servers", _servers, None),
        hosts=fields.read("hosts", _hosts, {}),
        timeout_s=fields.read("timeout", Node.seconds, default.timeout_s),
    )


def _servers(node: Node) -> tuple[Endpoint, ...] | None:
    if node.value == "system":
        return None
    if not node.items():
        raise node.error("is empty: name a server, or write `system`")
    return tuple(endpoint(item, default_port=53) for item in node.items())


def _hosts(node: Node) -> dict[HostName, tuple[Address, ...]]:
    fields = node.fields(*(node.value if isinstance(node.value, dict) else ()))
    hosts: dict[HostName, tuple[Address, ...]] = {}
    for key, child in fields.mapping.items():
        name = _name(key, child)
        if name in hosts:
            raise ConfigError(child.place, key, f"is {name}, which stands here already: remove one")
        hosts[name] = _addresses(child)
    return hosts


def _name(raw: str, node: Node) -> HostName:
    try:
        return HostName.parse(raw)
    except ValueError as error:
        raise ConfigError(node.place, raw, str(error)) from None


def _addresses(node: Node) -> tuple[Address, ...]:
    items = node.items() if isinstance(node.value, list) else [node]
    if not items or node.value is None:
        raise node.error("has no address: write at least one")
    try:
        return tuple(ip_address(item.text()) for item in items)
    except ValueError:
        raise node.error("expected IP addresses") from None


def network(node: Node) -> Network:
    """A CIDR range or a single address; bits set outside of the mask are an error, with the range meant."""
    raw = node.text()
    try:
        return ip_network(raw)
    except ValueError:
        pass
    try:
        meant = ip_network(raw, strict=False)
    except ValueError:
        raise node.error("expected an address or a range, such as 10.0.0.0/8") from None
    raise node.error(f"has bits set outside of its mask: use `{meant}`")


def _networks(node: Node) -> tuple[Network, ...]:
    return tuple(network(item) for item in node.items())


def _identity(node: Node) -> tuple[StaticIdentity, ...]:
    fields = node.fields("kubernetes", "static")
    if (kubernetes := fields.get("kubernetes")) is not None and kubernetes.value not in ("off", False):
        raise kubernetes.error('is not served by this version: write "off"')
    return fields.read("static", lambda item: tuple(_static(each) for each in item.items()), ())


def _static(node: Node) -> StaticIdentity:
    fields = node.fields("service_account", "labels", "namespace_labels", required=("cidr", "namespace", "pod"))
    workload = Workload(
        namespace=fields.need("namespace").text(),
        pod=fields.need("pod").text(),
        service_account=fields.read("service_account", Node.text, "default"),
        labels=fields.read("labels", Node.labels, {}),
        namespace_labels=fields.read("namespace_labels", Node.labels, {}),
    )
    return StaticIdentity(network(fields.need("cidr")), workload)


def _limits(node: Node) -> Limits:
    fields = node.fields(
        "head", "hello", "hello_timeout", "idle_timeout", "connections_per_workload", "message", "drain"
    )
    default = Limits()
    return Limits(
        head=fields.read("head", Node.size, default.head),
        hello=fields.read("hello", Node.size, default.hello),
        hello_timeout_s=fields.read("hello_timeout", Node.seconds, default.hello_timeout_s),
        idle_timeout_s=fields.read("idle_timeout", Node.seconds, default.idle_timeout_s),
        connections_per_workload=fields.read(
            "connections_per_workload", lambda item: item.integer(1, 10_000_000), default.connections_per_workload
        ),
        message=fields.read("message", Node.size, default.message),
        drain_s=fields.read("drain", Node.seconds, default.drain_s),
    )
