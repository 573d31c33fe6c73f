"""One base context for all names: the certificate is that of the name asked for, tickets are good in every worker."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from authority import forge
from sluicegate import settings
from sluicegate.authority import ca, server_side
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import Identity, Passing, ServerSide
from sluicegate.names import HostName

A, E = HostName("a.example"), HostName("e.example")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def client(authority: Authority):
    return forge.strict_client(authority.issuer)


def names(end: ssl.SSLObject) -> list[str]:
    return [value for _, value in end.getpeercert()["subjectAltName"]]


def settled(side: ServerSide, leaf: Any) -> Any:
    side.identity(leaf)
    return side.identity(leaf)


def session(client: ssl.SSLContext, identity: Any, name: str) -> Any:
    first, server = forge.shake_stdlib(client, identity, name)
    forge.exchange_stdlib(server, first)
    return first.session


class TestNames:
    def test_seldom_and_often_asked_for(self, leaves: Leaves, client: ssl.SSLContext):
        side, leaf = ServerSide(), leaves.leaf(A)
        kinds = []
        for _ in range(3):
            identity = side.identity(leaf)
            kinds.append(type(identity))
            end, _ = forge.shake_stdlib(client, identity, "a.example")
            assert names(end) == ["a.example"]
            assert end.selected_alpn_protocol() is None
        assert kinds == [Passing, Identity, Identity]
        assert side.identity(leaf) is side.identity(leaf)

    def test_a_connection_keeps_its_certificate_when_the_next_one_loads_another(
        self, leaves: Leaves, client: ssl.SSLContext
    ):
        """Both have begun before either shakes hands: the scratch context holds the second one's leaf by then."""
        side, ends = ServerSide(), {}
        for name in (A, E):
            up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = side.identity(leaves.leaf(name)).wrap_bio(up, down, server_side=True)
            ends[name] = client.wrap_bio(down, up, server_hostname=name.ascii), server
        for name, both in ends.items():
            for _ in range(4):
                done = [forge._step_stdlib(end) for end in both]
            assert done == [True, True]
            assert names(both[0]) == [name.ascii]

    @pytest.mark.parametrize("times", [1, 2], ids=["seldom", "often"])
    def test_alpn(self, leaves: Leaves, client: ssl.SSLContext, times: int):
        client.set_alpn_protocols(["h2", "http/1.1"])
        side = ServerSide()
        for _ in range(times):
            identity = side.identity(leaves.leaf(A))
        end, _ = forge.shake_stdlib(client, identity, "a.example")
        assert end.selected_alpn_protocol() == "http/1.1"

    def test_an_intermediate_is_sent_along(self, tmp_path: Path):
        top, middle = forge.key(), forge.key()
        root = forge.ca(top, "Root")
        below = forge.ca(middle, "Middle", by=(root, top))
        paths = settings.Authority(
            forge.write(tmp_path / "c", below, root), forge.write(tmp_path / "k", forge.key_pem(middle))
        )
        leaf, side = Leaves(ca.load(paths)).leaf(A), ServerSide()
        for _ in range(2):
            forge.shake_stdlib(forge.strict_client(root), side.identity(leaf), "a.example")

    def test_what_is_kept_is_bounded(self, leaves: Leaves, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(server_side, "REMEMBERED", 3)
        side = ServerSide(capacity=2)
        made = [leaves.leaf(HostName(f"n{n}.example")) for n in range(5)]
        for leaf in made:
            settled(side, leaf)
        assert (len(side), len(side._seen)) == (2, 2)
        assert isinstance(side.identity(made[4]), Identity)
        assert isinstance(side.identity(made[0]), Passing)  # evicted, and seldom again


class TestTickets:
    @pytest.mark.parametrize("version", VERSIONS, ids=str)
    def test_good_for_the_same_name_whatever_became_of_its_context(
        self, leaves: Leaves, client: ssl.SSLContext, version: Any
    ):
        client.maximum_version = version
        side = ServerSide(capacity=1)
        given = session(client, settled(side, leaves.leaf(A)), "a.example")
        settled(side, leaves.leaf(E))  # evicts it
        again, _ = forge.shake_stdlib(client, side.identity(leaves.leaf(A)), "a.example", given)
        assert again.session_reused

    @pytest.mark.parametrize("version", VERSIONS, ids=str)
    def test_good_in_another_worker(self, leaves: Leaves, client: ssl.SSLContext, version: Any):
        """The child makes contexts of its own, from leaves of its own, on the base that it was born with."""
        client.maximum_version = version
        side, leaf = ServerSide(), leaves.leaf(A)
        given = session(client, side.identity(leaf), "a.example")
        pid = os.fork()
        if not pid:
            status = 1
            try:
                again, _ = forge.shake_stdlib(client, settled(side, leaf), "a.example", given)
                status = 0 if again.session_reused else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    def test_worthless_at_another_gateway(self, leaves: Leaves, client: ssl.SSLContext):
        leaf = leaves.leaf(A)
        given = session(client, ServerSide().identity(leaf), "a.example")
        again, _ = forge.shake_stdlib(client, ServerSide().identity(leaf), "a.example", given)
        assert not again.session_reused
        assert names(again) == ["a.example"]

    @pytest.mark.parametrize("version", VERSIONS, ids=str)
    def test_of_one_name_offered_for_another(self, leaves: Leaves, client: ssl.SSLContext, version: Any):
        """Nothing that the server's end says is the ticket's name: the lane goes by the ClientHello."""
        client.maximum_version = version
        side = ServerSide()
        given = session(client, settled(side, leaves.leaf(A)), "a.example")
        again, server = forge.shake_stdlib(client, settled(side, leaves.leaf(E)), "e.example", given)
        assert server.context is settled(side, leaves.leaf(E)).own
        assert server.server_hostname is None
        assert again.session_reused or names(again) == ["e.example"]
