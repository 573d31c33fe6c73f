"""Leaves: right for their name alone, minted once, bounded, renewed in time."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from authority import forge
from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaf import Leaf
from sluicegate.authority.leaves import CannotMint, Leaves
from sluicegate.names import HostName

NAME = HostName.parse("example.com")
LONGEST = HostName.parse(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]))
DAY = 24 * 3600


def name(text: str):
    return HostName.parse(text)


def ext(cert: Any, kind: type[x509.ExtensionType]):
    return cert.extensions.get_extension_for_class(kind)


def sans(leaf: Leaf):
    return [general.value for general in ext(leaf.cert, x509.SubjectAlternativeName).value]


def spki(key: Any):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class TestProfile:
    def test_constraints_and_usages(self, leaves: Leaves):
        cert = leaves.leaf(NAME).cert

        basic, usage = ext(cert, x509.BasicConstraints), ext(cert, x509.KeyUsage)
        assert (basic.critical, basic.value.ca) == (True, False)
        assert (usage.critical, usage.value.digital_signature, usage.value.key_cert_sign) == (True, True, False)
        assert [each.dotted_string for each in ext(cert, x509.ExtendedKeyUsage).value] == ["1.3.6.1.5.5.7.3.1"]

    def test_it_points_to_the_ca_s_key(self, leaves: Leaves, authority: Authority):
        pointer = ext(leaves.leaf(NAME).cert, x509.AuthorityKeyIdentifier).value.key_identifier
        assert pointer == ext(authority.issuer, x509.SubjectKeyIdentifier).value.digest

    def test_also_where_the_ca_has_an_identifier_of_its_own_making(self, tmp_path: Path):
        private = forge.key()
        bare = forge.ca(private, bare=True)
        paths = settings.Authority(
            forge.write(tmp_path / "c", bare), forge.write(tmp_path / "k", forge.key_pem(private))
        )
        pointer = ext(Leaves(ca.load(paths)).leaf(NAME).cert, x509.AuthorityKeyIdentifier).value.key_identifier
        assert pointer == x509.SubjectKeyIdentifier.from_public_key(private.public_key()).digest

    def test_the_key_is_never_the_ca_s(self, leaves: Leaves, authority: Authority):
        assert spki(leaves.leaf(NAME).cert.public_key()) != spki(authority.issuer.public_key())

    def test_two_processes_have_two_keys(self, authority: Authority):
        first, second = (Leaves(authority).leaf(NAME).cert.public_key() for _ in range(2))
        assert spki(first) != spki(second)

    @pytest.mark.parametrize(
        ("text", "san"),
        [
            pytest.param("example.com", "example.com", id="a name"),
            pytest.param("Bücher.Example.", "xn--bcher-kva.example", id="an international name"),
            pytest.param("_dmarc.example.com", "_dmarc.example.com", id="an underscore"),
            pytest.param("localhost", "localhost", id="one label"),
            pytest.param("192.0.2.7", ip_address("192.0.2.7"), id="an IPv4 address"),
            pytest.param("[2001:db8::7]", ip_address("2001:db8::7"), id="an IPv6 address"),
        ],
    )
    def test_the_alternative_name_is_that_name_alone(self, leaves: Leaves, text: str, san: Any):
        assert sans(leaves.leaf(name(text))) == [san]

    @pytest.mark.parametrize(
        ("length", "common"),
        [
            pytest.param(64, True, id="64 fit"),
            pytest.param(65, False, id="65 do not"),
            pytest.param(253, False, id="253"),
        ],
    )
    def test_long_names_leave_the_subject_empty_and_the_alternative_name_critical(
        self, leaves: Leaves, length: int, common: bool
    ):
        host = name(LONGEST.ascii[-length:])
        assert len(host.ascii) == length

        leaf = leaves.leaf(host)

        assert bool(list(leaf.cert.subject)) is common
        assert ext(leaf.cert, x509.SubjectAlternativeName).critical is not common
        assert sans(leaf) == [host.ascii]

    def test_serial_numbers_are_positive_different_and_of_128_bits(self, leaves: Leaves):
        serials = {leaves.leaf(name(f"n{number}.example")).cert.serial_number for number in range(64)}
        assert len(serials) == 64
        assert all(0 < serial <= 1 << 128 for serial in serials)
        assert max(serials).bit_length() > 120

    def test_it_begins_an_hour_ago_and_lasts_thirty_days(self, authority: Authority):
        now = time.time() + 5 * DAY
        cert = Leaves(authority, clock=lambda: now).leaf(NAME).cert
        assert cert.not_valid_before_utc == datetime.fromtimestamp(int(now), UTC) - timedelta(hours=1)
        assert cert.not_valid_after_utc == datetime.fromtimestamp(int(now), UTC) + timedelta(days=30)

    def test_never_longer_than_the_ca_and_never_earlier(self, paths: settings.Authority):
        made = ca.create(paths.cert, paths.key, days=10)
        cert = Leaves(ca.load(paths)).leaf(NAME).cert
        assert cert.not_valid_after_utc == made.not_valid_after_utc
        assert cert.not_valid_before_utc >= made.not_valid_before_utc

    @pytest.mark.parametrize(
        "text", ["example.com", LONGEST.ascii, "192.0.2.7", "2001:db8::7", "xn--bcher-kva.example"]
    )
    def test_openssl_verify_at_its_strictest(
        self, leaves: Leaves, paths: settings.Authority, tmp_path: Path, text: str
    ):
        leaf = leaves.leaf(name(text))
        file = tmp_path / "leaf.pem"
        file.write_bytes(leaf.pem)
        flag = "-verify_hostname" if leaf.name.address is None else "-verify_ip"

        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", paths.cert, flag, text, file],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr


class TestKept:
    def test_the_second_time_it_is_the_same(self, leaves: Leaves):
        assert leaves.leaf(NAME) is leaves.leaf(NAME)

    def test_the_bound_holds_and_the_least_recently_used_goes(self, authority: Authority):
        leaves = Leaves(authority, capacity=3)
        first, second = leaves.leaf(name("a.example")), leaves.leaf(name("b.example"))
        leaves.leaf(name("c.example"))
        assert leaves.leaf(name("a.example")) is first

        leaves.leaf(name("d.example"))

        assert len(leaves) == 3
        assert leaves.leaf(name("a.example")) is first
        assert leaves.leaf(name("b.example")) is not second

    def test_a_name_and_an_address_do_not_mix(self, leaves: Leaves):
        assert leaves.leaf(name("192.0.2.7")) is not leaves.leaf(name("192.0.2.8"))

    @pytest.mark.parametrize(
        ("later", "same"),
        [pytest.param(20 * DAY - 10, True, id="before"), pytest.param(20 * DAY + 10, False, id="after twenty days")],
    )
    def test_renewed_with_ten_days_to_spare(self, authority: Authority, later: int, same: bool):
        clock = [time.time()]
        leaves = Leaves(authority, clock=lambda: clock[0])
        first = leaves.leaf(NAME)

        clock[0] += later

        assert (leaves.leaf(NAME) is first) is same
        assert len(leaves) == 1

    def test_near_the_ca_s_end_a_leaf_is_kept_until_then(self, paths: settings.Authority):
        made = ca.create(paths.cert, paths.key, days=10)
        clock = [time.time()]
        leaves = Leaves(ca.load(paths), clock=lambda: clock[0])
        first = leaves.leaf(NAME)

        clock[0] = made.not_valid_after_utc.timestamp() - 1

        assert leaves.leaf(NAME) is first

    async def test_after_the_ca_s_end_there_are_none(self, paths: settings.Authority):
        made = ca.create(paths.cert, paths.key, days=10)
        clock = [time.time()]
        leaves = Leaves(ca.load(paths), clock=lambda: clock[0])
        leaves.leaf(NAME)

        clock[0] = made.not_valid_after_utc.timestamp()

        with pytest.raises(CannotMint, match="the CA expired on"):
            leaves.leaf(NAME)
        with pytest.raises(CannotMint, match="the CA expired on"):
            await leaves.aleaf(NAME)
        leaves.close()


class Slow:
    """An authority that signs when it is let, and counts."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.let = threading.Event()
        self.signed = 0
        self.issuer, self.sent, self.ends = authority.issuer, authority.sent, authority.ends

    def sign(self, draft: x509.CertificateBuilder):
        self.signed += 1
        assert self.let.wait(10)
        return self._authority.sign(draft)


class TestSingleFlight:
    def test_of_many_threads_one_mints(self, authority: Authority):
        slow = Slow(authority)
        leaves = Leaves(slow)
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(leaves.leaf, NAME) for _ in range(8)]
            slow.let.set()
            assert len({id(each.result(10)) for each in asked}) == 1
        assert slow.signed == 1

    async def test_of_many_tasks_one_mints_and_the_loop_goes_on(self, authority: Authority):
        slow = Slow(authority)
        leaves = Leaves(slow)
        asked = [asyncio.create_task(leaves.aleaf(NAME)) for _ in range(100)]
        await asyncio.sleep(0)  # all have begun, and we are here: the loop was not held up
        slow.let.set()
        assert len({id(each) for each in await asyncio.gather(*asked)}) == 1
        assert slow.signed == 1
        leaves.close()

    async def test_whoever_gives_up_leaves_the_others_alone(self, authority: Authority):
        slow = Slow(authority)
        leaves = Leaves(slow)
        asked = [asyncio.create_task(leaves.aleaf(NAME)) for _ in range(3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        asked[2].cancel()
        await asyncio.sleep(0)
        slow.let.set()

        assert (await asked[1]).name == NAME
        assert asked[0].cancelled()
        leaves.close()

    async def test_a_thread_and_a_task_share_a_flight(self, authority: Authority):
        slow = Slow(authority)
        leaves = Leaves(slow)
        task = asyncio.create_task(leaves.aleaf(NAME))
        await asyncio.sleep(0)
        thread = asyncio.create_task(asyncio.to_thread(leaves.leaf, NAME))
        await asyncio.sleep(0)
        slow.let.set()
        assert await task is await thread
        leaves.close()

    async def test_a_failure_reaches_all_that_wait_and_is_not_kept(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ):
        slow = Slow(authority)
        leaves = Leaves(slow)
        monkeypatch.setattr(slow, "sign", lambda _draft: 1 / 0)
        asked = [asyncio.create_task(leaves.aleaf(NAME)) for _ in range(3)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in outcomes] == [ZeroDivisionError] * 3

        monkeypatch.setattr(slow, "sign", authority.sign)
        assert (await leaves.aleaf(NAME)).name == NAME
        leaves.close()

    async def test_after_close_nobody_waits_for_ever(self, authority: Authority):
        leaves = Leaves(authority)
        kept = leaves.leaf(NAME)
        leaves.close()
        assert await leaves.aleaf(NAME) is kept
        with pytest.raises(RuntimeError, match="shutdown"):
            await leaves.aleaf(name("other.example"))
        assert leaves.leaf(name("other.example"))
