"""The newest policy, lists and rules as one frozen value: swapped whole, so that no request sees half of a reload."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluicegate import documents
from sluicegate.dlp.engine import Engine
from sluicegate.documents import Node
from sluicegate.errors import ConfigError, ConfigErrors
from sluicegate.facts import Address, Ask, ListHit
from sluicegate.lists.catalogue import Lists
from sluicegate.lists.load import load as load_lists
from sluicegate.names import HostName
from sluicegate.policy.decide import decide
from sluicegate.policy.explain import Explanation, explain
from sluicegate.policy.load import load as load_policy
from sluicegate.policy.model import Policy
from sluicegate.resolve.guard import Guard
from sluicegate.settings import API_VERSION, Settings
from sluicegate.verdict import Verdict

_POLICY_KINDS = ("ClusterEgressPolicy", "EgressPolicy")
_LIST_KINDS = ("Blocklist",)
KINDS = (*_POLICY_KINDS, *_LIST_KINDS)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that decides. Immutable; a reload makes another."""

    policy: Policy
    lists: Lists
    engine: Engine

    def decide(self, ask: Ask, aliases: Sequence[HostName] = ()) -> Verdict:
        """The verdict on an ask; `aliases` are the CNAMEs that its name resolved through, listed ones count as hits."""
        return decide(ask, self.policy, self._hits(ask, aliases))

    def explain(self, ask: Ask) -> Explanation:
        return explain(ask, self.policy, self._hits(ask, ()))

    def _hits(self, ask: Ask, aliases: Iterable[HostName]) -> tuple[ListHit, ...]:
        hits: tuple[ListHit, ...] = ()
        if ask.name is not None:
            hits += self.lists.name_hits(ask.name)
        for alias in aliases:
            hits += self.lists.name_hits(alias)
        for address in _addresses(ask):
            hits += self.lists.address_hits(address)
        return hits


def _addresses(ask: Ask) -> set[Address]:
    literal = ask.name.address if ask.name is not None else None
    asked = ask.destination.address if ask.destination is not None else None
    return {address for address in (ask.resolved, literal, asked) if address is not None}


def load(settings: Settings, guard: Guard, engine: Engine) -> Snapshot:
    """Reads every policy and list. All of it loads, or ConfigErrors names all that is wrong."""
    errors: list[ConfigError] = []
    nodes = _read_documents(settings.policies, errors)
    parts: list[Policy | Lists] = []
    for read in (
        lambda: load_policy(_of_kind(nodes, _POLICY_KINDS), default=settings.default, guard=guard),
        lambda: load_lists(settings.blocklists, _of_kind(nodes, _LIST_KINDS)),
    ):
        try:
            parts.append(read())
        except ConfigError as error:
            errors.extend(error.each)
    if errors:
        raise ConfigErrors(errors)
    policy, lists = parts
    assert isinstance(policy, Policy)
    assert isinstance(lists, Lists)
    return Snapshot(policy, lists, engine)


def _of_kind(nodes: Sequence[Node], kinds: tuple[str, ...]) -> list[Node]:
    return [node for node in nodes if node.value["kind"].value in kinds]


def _read_documents(folders: Sequence[Path], errors: list[ConfigError]) -> list[Node]:
    found: list[Node] = []
    for folder in folders:
        if not folder.exists():
            errors.append(
                ConfigError(str(folder), "", "does not exist: create it, or name another folder in `policies`")
            )
            continue
        try:
            paths = yaml_files(folder)
        except OSError as error:
            errors.append(_unreadable(error.filename or folder, error))
            continue
        for path in paths:
            try:
                text = path.read_text(encoding="utf-8")
                found += [_checked(node) for node in documents.read(text, str(path))]
            except ConfigError as error:
                errors.extend(error.each)
            except (OSError, UnicodeDecodeError) as error:
                errors.append(_unreadable(path, error))
    return found


def _unreadable(path: Path | str, error: Exception) -> ConfigError:
    return ConfigError(str(path), "", f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}")


def _checked(node: Node) -> Node:
    fields = node.fields("metadata", "spec", "status", required=("apiVersion", "kind"))
    fields.need("apiVersion").one_of(API_VERSION)
    fields.need("kind").one_of(*KINDS)
    return node


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files below a folder, sorted; a file names itself. Hidden ones (``..data`` of a mount) are left out.

    Raises OSError for a folder that cannot be looked into.
    """
    if folder.is_file():
        return [folder]
    return sorted(_below(folder, set()))


def _below(folder: Path, visited: set[str]) -> Iterator[Path]:
    # Not rglob: it passes over folders that it may not read and those that are links, and the policies in them.
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    for child in folder.iterdir():
        if child.name.startswith("."):
            continue
        if child.is_dir():
            yield from _below(child, visited)
        elif child.suffix in {".yaml", ".yml"}:
            yield child
