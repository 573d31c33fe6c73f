"""HTTP/2 by hand over TLS: whatever frames, with no state machine of ours in the way."""

from __future__ import annotations

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from net.attacker import Attacker, TlsLine

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER = 9


class Frames:
    """statuses, bodies and resets by stream; `gone` is the error code of a GOAWAY."""

    def __init__(self, attacker: Attacker, sni: str = "good.test") -> None:
        self.line: TlsLine = attacker.tls(sni, context=attacker.context(["h2"]))
        assert self.line.tls.selected_alpn_protocol() == "h2"
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._waiting = b""
        self.statuses: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}
        self.gone: int | None = None
        self.line.send(_PREFACE + SettingsFrame(0).serialize())

    def block(self, *fields: tuple[bytes, bytes], **instead: bytes) -> bytes:
        """A header block; pseudo-fields by name, `b""` leaves one out."""
        pseudo = {"method": b"GET", "scheme": b"https", "authority": b"good.test", "path": b"/x"} | instead
        said = [(f":{name}".encode(), value) for name, value in pseudo.items() if value]
        return self._encoder.encode([*said, *fields], huffman=False)

    @staticmethod
    def head(stream: int, block: bytes, *, end: bool = True) -> HeadersFrame:
        return HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"])

    def trailers(self, stream: int, *fields: tuple[bytes, bytes]) -> HeadersFrame:
        return self.head(stream, self._encoder.encode(list(fields)))

    def send(self, *frames: Frame) -> None:
        """All in one record."""
        self.line.send(b"".join(frame.serialize() for frame in frames))

    def wait(self, stream: int) -> int | None:
        """The status of a stream; None: it was reset, or the connection ended."""
        while not (self.gone is not None or stream in self.statuses or stream in self.resets):
            if not (data := self.line.read(bool)):
                break
            self._take(data)
        return self.statuses.get(stream)

    def wait_for_the_end(self) -> None:
        while self.gone is None and (data := self.line.read(bool)):
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) >= _HEADER:
            frame, length = Frame.parse_frame_header(memoryview(self._waiting[:_HEADER]))
            if len(self._waiting) < _HEADER + length:
                return
            frame.parse_body(memoryview(self._waiting[_HEADER : _HEADER + length]))
            self._waiting = self._waiting[_HEADER + length :]
            self._note(frame)

    def _note(self, frame: Frame) -> None:
        match frame:
            case HeadersFrame():
                fields = dict(self._decoder.decode(frame.data, raw=True))
                if fields.get(b":status", b"100") >= b"200":
                    self.statuses[frame.stream_id] = int(fields[b":status"])
            case DataFrame():
                self.bodies[frame.stream_id] = self.bodies.get(frame.stream_id, b"") + frame.data
            case RstStreamFrame():
                self.resets[frame.stream_id] = frame.error_code
            case GoAwayFrame():
                self.gone = frame.error_code
