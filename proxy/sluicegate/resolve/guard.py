"""The two address guards: what no request may reach (hard), and what only a cluster policy opens (private). No I/O.

An address is judged with all its faces: an IPv6 address that carries an IPv4 one is hard or private if that one is.
What carries a public IPv4 address passes in one form only, NAT64's well-known prefix, because IPv6-only clusters live
on it; it still leads to that IPv4 address, so lists are to be asked about every face. The other forms are hard whatever
they carry: nobody publishes mapped, compatible, 6to4 or Teredo addresses for a service, and a relay of a stranger is
no destination that was permitted. Local NAT64 (64:ff9b:1::/48) is private: a local affair by RFC 8215.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from sluicegate.facts import Address
from sluicegate.names import HostName
from sluicegate.resolve import metadata
from sluicegate.resolve.costumes import embedded, faces
from sluicegate.resolve.ranges import HARD, METADATA, PRIVATE, Ranges, networks
from sluicegate.verdict import Network

__all__ = ["Guard", "faces"]

_REMEMBERED = 16_384  # judgements per guard and IP version, about 2 MB when full


class _Judgement(NamedTuple):
    hard: str | None
    private: str | None


_UNREGISTERED = "not globally reachable (IANA)"  # not in our tables, but in those of this Python
_PASSES = _Judgement(None, None)


class Guard:
    """Judges addresses and names.

    own           the gateway's own addresses: hard
    cluster       the cluster's pod and service networks: private
    unsafe_allow  lifts both guards for the addresses in it, and for no other form of them; for test beds
    """

    def __init__(
        self,
        own: Collection[Address] = (),
        cluster: Sequence[Network] = (),
        unsafe_allow: Sequence[Network] = (),
    ) -> None:
        ours = [(_alone(address), "this gateway") for address in own]
        hard = [*networks(HARD), *networks(METADATA), *ours]
        private = [*networks(PRIVATE), *((network, "cluster range") for network in cluster)]
        lifted = [(network, "unsafe_allow_addresses") for network in unsafe_allow]
        self._hard = {version: Ranges(version, hard) for version in (4, 6)}
        self._private = {version: Ranges(version, private) for version in (4, 6)}
        self._lifted = {version: Ranges(version, lifted) for version in (4, 6)}
        self._judge_v4 = lru_cache(_REMEMBERED)(self._judged_v4)
        self._judge_v6 = lru_cache(_REMEMBERED)(self._judged_v6)

    def hard(self, address: Address) -> str | None:
        """Why nothing may reach it (``loopback (RFC 1122)``, ``metadata (AWS)``, ``this gateway``); None if that is not so."""
        return self._judge(address).hard

    def private(self, address: Address) -> str | None:
        """Why only a cluster policy that names the range opens it (``RFC 1918``, ``cluster range``); None if that is not so."""
        return self._judge(address).private

    def metadata_name(self, name: HostName) -> str | None:
        """Why the name is refused before it is resolved: metadata services, localhost, mirrors of hard addresses."""
        if name.address is not None:
            return None  # the address guard's business
        if (why := metadata.known(name)) is not None:
            return why
        for address in metadata.mirrored(name):
            if (why := self.hard(address)) is not None:
                return f"{why}: the name spells {address}"
        return None

    def _judge(self, address: Address) -> _Judgement:
        return self._judge_v4(int(address)) if address.version == 4 else self._judge_v6(int(address))

    def _judged_v4(self, value: int) -> _Judgement:
        if self._lifted[4].why(value) is not None:
            return _PASSES
        return self._face(value)

    def _judged_v6(self, value: int) -> _Judgement:
        if self._lifted[6].why(value) is not None:
            return _PASSES
        hard, private = self._hard[6].why(value), self._private[6].why(value)
        inside = [
            self._face(inner) for inner in embedded(value)
        ]  # not lifted: unsafe_allow is for addresses as they are
        if whys := [face.hard for face in inside if face.hard]:
            # Of several readings the one that tells most: metadata inside of Teredo is an attack, a stray 255.x is not.
            hard = f"{next((why for why in whys if why.startswith('metadata')), whys[0])}, inside of IPv6"
        private = private or next((f"{face.private}, inside of IPv6" for face in inside if face.private), None)
        if hard is None and private is None and not IPv6Address(value).is_global:
            hard = _UNREGISTERED
        return _Judgement(hard, private)

    def _face(self, value: int) -> _Judgement:
        hard, private = self._hard[4].why(value), self._private[4].why(value)
        if hard is None and private is None and not IPv4Address(value).is_global:
            hard = _UNREGISTERED
        return _Judgement(hard, private)


def _alone(address: Address) -> Network:
    """The address as a network of one; a zone id is left out."""
    return IPv4Network(int(address)) if address.version == 4 else IPv6Network(int(address))
