from __future__ import annotations


async def hello(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Origin: yes\r\n\r\nhello")
    await writer.drain()
    await reader.read()


async def test_a_plain_request_goes_through_and_leaves_one_record(bed):
    async with bed.origin(hello) as origin, bed.door(origin.port) as port:
        host = f"origin.test:{origin.port}"
        answer = await bed.raw(port, f"GET /a?b=c HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    assert bytes(origin.received) == f"GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    record = bed.record()
    assert (record["verdict"], record["host"], record["status"]) == ("allow", "origin.test", 200)
