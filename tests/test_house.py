"""Rules of the house that import contracts cannot say: who may permit, who may dial, who may write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sluicegate.facts import Hello, Wire
from sluicegate.verdict import Deny, Permit, Reason, built_in

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*(ROOT / "proxy").rglob("*.py"), *(ROOT / "addons").rglob("*.py")])


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def last_name(node: ast.expr) -> str:
    match node:
        case ast.Attribute():
            return node.attr
        case ast.Name():
            return node.id
        case _:
            return ""


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """All calls of something with one of these names, however it was reached."""
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and last_name(node.func) in names:
                yield named(path), node


def at(file: str, node: ast.AST) -> str:
    return f"{file}:{getattr(node, 'lineno', 0)}"


def test_there_is_something_to_look_at():
    assert len(SOURCES) > 100


class TestPermits:
    def test_are_made_by_decide_alone(self):
        assert {file for file, _ in calls("Permit")} == {"proxy/sluicegate/policy/decide.py"}

    def test_are_never_put_together_in_other_ways(self):
        """By another name, or by the constructor of dataclasses."""
        for path in SOURCES:
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ImportFrom):
                    assert not any(each.name == "Permit" and each.asname for each in node.names), at(named(path), node)
                if isinstance(node, ast.Assign | ast.Return) and node.value is not None:
                    assert last_name(node.value) != "Permit", at(named(path), node)

    def test_are_changed_by_decide_alone_and_only_in_would_deny(self):
        for file, call in calls("replace"):
            fields = {keyword.arg for keyword in call.keywords}
            if "would_deny" in fields or "inspect" in fields or "ask" in fields:
                assert (file, fields) == ("proxy/sluicegate/policy/decide.py", {"would_deny"}), at(file, call)

    @pytest.mark.parametrize(
        "verdict",
        [Deny(Reason.CRASH, built_in("x")), Permit(Reason.RULE, built_in("x"), None, None)],  # type: ignore[arg-type]  # only their truth is asked
        ids=["Deny", "Permit"],
    )
    def test_and_denials_are_no_truth_values(self, verdict: Permit | Deny):
        with pytest.raises(TypeError, match="no truth value"):
            bool(verdict)
        with pytest.raises(TypeError, match="no truth value"):
            _ = not verdict


DIALS = "proxy/sluicegate/lanes/dial.py"
TELLS_SYSTEMD = "proxy/sluicegate/gateway/life.py"
ASKS_DNS = "proxy/sluicegate/resolve/resolver.py"


class TestSockets:
    def test_are_connected_by_dial_alone(self):
        found = {
            file
            for file, call in calls("sock_connect", "create_connection", "open_connection", "connect_ex")
            if not _wraps_a_socket(call) and not _is_own(call)
        }
        assert found == {DIALS}

    def test_nobody_else_connects_but_to_the_service_manager(self):
        assert {file for file, _ in calls("connect")} <= {TELLS_SYSTEMD}
        (family,) = {
            ast.unparse(call.args[0]) for file, call in calls("socket") if file == TELLS_SYSTEMD and call.args
        }  # fmt: skip
        assert family == "socket.AF_UNIX"

    def test_names_are_resolved_by_our_resolver_alone(self):
        lookups = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo", "getfqdn")
        assert not [at(file, call) for file, call in calls(*lookups)]
        asking = {
            named(path)
            for path in SOURCES
            for node in ast.walk(tree(path))
            if (isinstance(node, ast.Import) and any(each.name == "dns.asyncquery" for each in node.names))
            or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("dns.query", "dns.asyncquery", "dns.resolver")))
        }  # fmt: skip
        assert asking == {ASKS_DNS}

    def test_no_other_client_is_at_hand(self):
        clients = (
            "requests",
            "httpx",
            "urllib.request",
            "http.client",
            "urllib3",
            "aiohttp.client",
            "ftplib",
            "smtplib",
        )
        for path in SOURCES:
            for node in ast.walk(tree(path)):
                modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not [module for module in modules if module.startswith(clients)], at(named(path), node)
        assert not [at(file, call) for file, call in calls("ClientSession", "create_datagram_endpoint")]

    def test_are_awaited_from_the_permit_that_dial_takes(self):
        """Whoever calls the gate's dial hands it a permit, in one place for each lane."""
        assert {file for file, _ in calls("dial")} == {
            "proxy/sluicegate/lanes/http1/opening.py",
            "proxy/sluicegate/lanes/spliced.py",
            "addons/sluicegate_mitm/handler.py",
        }


def _wraps_a_socket(call: ast.Call) -> bool:
    """`create_connection(factory, sock=sock)` makes a transport of a socket that is connected already."""
    return {keyword.arg for keyword in call.keywords} == {"sock"} and len(call.args) == 1


def _is_own(call: ast.Call) -> bool:
    """mitmproxy has a hook of this name, which we replace: self.open_connection."""
    return isinstance(call.func, ast.Attribute) and last_name(call.func.value) == "self"


MAY_WRITE = (
    "proxy/sluicegate/records/",
    "proxy/sluicegate/authority/",  # `ca init`
    "proxy/sluicegate/cli/",
)
_WRITES = ("write_text", "write_bytes", "mkdir", "touch", "unlink", "rename", "mkstemp", "NamedTemporaryFile")


def test_files_are_written_by_records_and_commands_alone():
    writing = [at(file, call) for file, call in calls(*_WRITES) if not file.startswith(MAY_WRITE)]
    writing += [
        at(file, call)
        for file, call in calls("open")
        if not file.startswith(MAY_WRITE) and _writes(call)
    ]  # fmt: skip
    assert not writing


def _writes(call: ast.Call) -> bool:
    words = [
        each.value for each in (*call.args, *(key.value for key in call.keywords)) if isinstance(each, ast.Constant)
    ]
    flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
    modes = [
        word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+") and set(word) & set("wax+")
    ]
    return bool(modes or flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"})


def test_no_exception_is_caught_bare():
    bare = [
        at(named(path), node)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare


def test_what_catches_all_says_why():
    for path in SOURCES:
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and node.type is not None and last_name(node.type) == "Exception":
                _, found, reason = lines[node.lineno - 1].partition("# noqa: BLE001")
                assert found, at(named(path), node)
                assert len(reason.strip(" -#")) > 10, at(named(path), node)


def test_no_file_is_above_the_size_of_the_house():
    assert not [named(path) for path in SOURCES if len(path.read_text("utf-8").splitlines()) > 400]


def test_facts_are_frozen():
    with pytest.raises(AttributeError):
        Hello(Wire.TLS).wire = Wire.SSH  # type: ignore[misc]  # that it cannot be assigned is what is tried
