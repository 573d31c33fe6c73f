"""DNS messages read: what a stranger's bytes may say, and what A and AAAA say together."""

import dns.exception
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.names import HostName
from sluicegate.resolve import answers
from sluicegate.resolve.answers import Found, Nothing, Unusable


def response(*records: str, rdtype: str = "A", rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> dns.message.QueryMessage:
    """Records as `section name ttl type data`."""
    made = dns.message.make_response(answers.query(HostName("a.test"), rdtype))
    made.set_rcode(rcode)
    for record in records:
        section, name, ttl, kind, data = record.split(" ", 4)
        getattr(made, section).append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return dns.message.from_wire(made.to_wire())


WIRE = response(
    "answer a.test. 5 CNAME b.test.", "answer b.test. 9 A 192.0.2.1", "authority test. 60 SOA n. h. 1 2 3 4 5"
).to_wire()


def test_a_query_is_for_the_absolute_name_and_wants_recursion():
    query = answers.query(HostName("a.test"), "AAAA")
    assert query.question[0].to_text() == "a.test. IN AAAA"
    assert query.flags & dns.flags.RD


@pytest.mark.parametrize(
    ("records", "found"),
    [
        pytest.param(["answer a.test. 9 A 192.0.2.1"], (["192.0.2.1"], [], 9), id="one address"),
        pytest.param(
            ["answer a.test. 5 CNAME b.test.", "answer b.test. 9 A 192.0.2.1"],
            (["192.0.2.1"], ["b.test"], 5),
            id="the least TTL counts",
        ),
        pytest.param(["answer a.test. 5 CNAME b.test."], ([], ["b.test"], 5), id="an unfinished chain"),
        pytest.param(
            ["answer a.test. 9 A 192.0.2.1", "answer evil.test. 9 A 192.0.2.66"],
            (["192.0.2.1"], [], 9),
            id="records of other names are passed over",
        ),
        pytest.param(
            ["answer a.test. 9 A 192.0.2.1", "additional a.test. 9 A 192.0.2.66"],
            (["192.0.2.1"], [], 9),
            id="the additional section is passed over",
        ),
    ],
)
def test_found(records: list[str], found: tuple[list[str], list[str], int]):
    read = answers.read(response(*records))
    assert isinstance(read, Found)
    assert ([str(a) for a in read.addresses], [str(name) for name in read.chain], read.ttl) == found


@pytest.mark.parametrize(
    ("made", "nothing"),
    [
        pytest.param(response(rcode=dns.rcode.NXDOMAIN), Nothing("does not exist", 5.0), id="no name, no SOA"),
        pytest.param(response(), Nothing("has no address", 5.0), id="no address, no SOA"),
        pytest.param(
            response("authority test. 60 SOA n. h. 1 2 3 4 7"), Nothing("has no address", 7), id="the SOA's minimum"
        ),
        pytest.param(
            response("authority test. 3 SOA n. h. 1 2 3 4 7"), Nothing("has no address", 3), id="the SOA's TTL"
        ),
        pytest.param(
            response("answer a.test. 60 CNAME b.test.", "authority test. 60 SOA n. h. 1 2 3 4 7"),
            Nothing("has no address", 7),
            id="an alias to what has no address",
        ),
    ],
)
def test_nothing(made: dns.message.QueryMessage, nothing: Nothing):
    assert answers.read(made) == nothing


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP])
def test_an_error_is_unusable(rcode: dns.rcode.Rcode):
    with pytest.raises(Unusable, match=dns.rcode.to_text(rcode)):
        answers.checked(response(rcode=rcode))


def test_an_address_under_a_name_that_does_not_exist_is_unusable():
    with pytest.raises(Unusable):
        answers.read(response("answer a.test. 9 A 192.0.2.1", rcode=dns.rcode.NXDOMAIN))


V4 = Found((1,), (HostName("b.test"),), 100)
V6 = Found((2,), (HostName("b.test"), HostName("c.test")), 50)
NO_NAME, NO_ADDRESS, BROKEN = Nothing("does not exist", 9), Nothing("has no address", 4), Unusable("SERVFAIL")


@pytest.mark.parametrize(
    ("outcomes", "joined"),
    [
        pytest.param([V4, V6], Found((1, 2), V6.chain, 50), id="both"),
        pytest.param([V4, NO_ADDRESS], V4, id="one, and no address in the other"),
        pytest.param([V4, BROKEN], Found((1,), V4.chain, 10), id="one, for a short time, and a failure"),
        pytest.param([V6], Found((2,), V6.chain, 10), id="one, for a short time, and the other too slow"),
        pytest.param([NO_NAME, NO_ADDRESS], NO_ADDRESS, id="neither, for the shorter time"),
    ],
)
def test_joined(outcomes: list[Found | Nothing | Unusable], joined: Found | Nothing):
    assert answers.joined(outcomes) == joined


@pytest.mark.parametrize("outcomes", [[BROKEN, NO_NAME], [NO_NAME, BROKEN], [BROKEN, BROKEN]])
def test_a_failure_is_never_read_as_nothing(outcomes: list[Found | Nothing | Unusable]):
    with pytest.raises(Unusable):
        answers.joined(outcomes)


@given(st.lists(st.tuples(st.integers(2, len(WIRE) - 1), st.integers(0, 255)), max_size=5), st.integers(0, len(WIRE)))
def test_no_bytes_of_a_stranger_raise_anything_else(changes: list[tuple[int, int]], cut: int):
    wire = bytearray(WIRE)
    for at, octet in changes:
        wire[at] = octet
    for candidate in (bytes(wire), bytes(wire[:cut])):
        try:
            message = dns.message.from_wire(candidate)
        except dns.exception.DNSException:
            continue
        try:
            answers.read(answers.checked(message))
        except Unusable:
            continue
