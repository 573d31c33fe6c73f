"""The domains of a rule: ``example.com`` is that name alone, ``*.example.com`` all below it at any depth."""

from __future__ import annotations

from sluicegate.documents import Node
from sluicegate.errors import ConfigError
from sluicegate.names import HostName

# Who can register a name below these is anybody. This table knows the shape that registries use (`*.com`, `*.co.uk`,
# `*.com.br`); it is no Public Suffix List: a hosting provider's `*.github.io` is a rule somebody may mean.
_SECOND_LEVELS = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "ltd", "me", "mil", "ne", "net", "nom", "or", "org", "plc", "sch"}
)

# Top-level names that are in no public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`, and custom).
_NOT_PUBLIC = frozenset(
    {
        "consul",
        "corp",
        "example",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "private",
        "test",
    }
)


def read(node: Node, *, widen: bool) -> tuple[str, bool]:
    """The name in ASCII and whether it stands for all below it. `widen`: the rule lets something through."""
    raw = node.text()
    if raw == "*":
        raise node.error("would match every name: leave `domains` out where that is meant")
    wildcard = raw.startswith("*.")
    rest = raw.removeprefix("*.")
    if "*" in rest:
        raise node.error(f"a wildcard is a whole label: use `{_suggested(raw)}`")
    if rest.startswith("."):
        raise node.error(
            f"begins with a dot: use `*.{rest.lstrip('.')}` for what is below, and the name itself beside it"
        )
    name = _name(node, rest)
    if wildcard and widen and _is_registry(name.ascii):
        raise node.error("anybody can register a name below it: name the domains that are meant")
    return name.ascii, wildcard


def _name(node: Node, raw: str) -> HostName:
    if "://" in raw:
        raise node.error("is a URL: write its host alone, and its path under `http`")
    try:
        name = HostName.parse(raw)
    except ValueError as error:
        raise ConfigError(node.place, node.value, str(error)) from None
    if name.address is not None:
        raise node.error(f"is an address: write `{name.ascii}` under `addresses`")
    return name


def _suggested(raw: str) -> str:
    """`a*.example.com`, `a.*.example.com` and `*example.com` -> `*.example.com`."""
    tail = raw[raw.rindex("*") + 1 :]
    rest = tail.partition(".")[2] if raw.count("*") == 1 and not tail.startswith(".") and "." in tail else tail
    if raw.startswith("*") and raw.count("*") == 1:
        rest = tail  # *example.com: the dot was forgotten
    return f"*.{rest.strip('.') or 'example.com'}"


def _is_registry(suffix: str) -> bool:
    labels = suffix.split(".")
    if len(labels) == 1:
        return suffix not in _NOT_PUBLIC
    return len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVELS
