"""Reads one list into the builders: text in, keys and networks out, errors collected."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from sluicegate.errors import ConfigError
from sluicegate.lists.index import NamesBuilder
from sluicegate.lists.lines import CANONICAL, entries_of, parse_name, parse_network, shown
from sluicegate.lists.ranges import RangesBuilder
from sluicegate.lists.text import Text
from sluicegate.verdict import Network

_CHUNK = 1 << 16  # bytes of source that become text at once
_ERRORS_SHOWN = 20  # of one list: whoever sees twenty bad lines has taken the wrong format


@dataclass(frozen=True, slots=True)
class Builders:
    """What all lists are read into."""

    text: Text
    names: NamesBuilder
    v4: RangesBuilder
    v6: RangesBuilder


class Reader:
    """One list. file: as it is shown in places; many: several entries may stand on one line."""

    def __init__(self, to: Builders, file: str, format_: str, *, exact: bool, many: bool = False) -> None:
        self._to = to
        self._file = file
        self._format = format_
        self._exact = exact
        self._many = many
        self.entries = 0
        self.errors: list[ConfigError] = []

    def read(self, data: bytes) -> None:
        self._to.text.begin()
        start, number = 0, 1
        while start < len(data):
            cut = data.find(b"\n", start + _CHUNK)
            end = len(data) if cut < 0 else cut
            number += self._chunk(data[start:end], number)
            if len(self.errors) >= _ERRORS_SHOWN:
                self.errors.append(ConfigError(self._file, "", "has too many bad lines: the rest was not read"))
                return
            start = end + 1

    def _chunk(self, data: bytes, number: int) -> int:
        """Whole lines, the last one without its end. Returns how many. The loop is what a million lines wait for."""
        lines = data.replace(b"\r\n", b"\n").removesuffix(b"\r").split(b"\n")
        at = self._to.text.size
        canonical, add, exact = CANONICAL[self._format].fullmatch, self._to.names.add, self._exact
        sinks = self._format == "hosts"
        for index, line in enumerate(lines):
            found = canonical(line)
            if found is None:
                lines[index] = line = self._other(line, at, number + index)
            else:
                key = found[1]
                if sinks:
                    lines[index] = line = key
                before = len(line) - len(key)  # the wildcard
                add(key, at + before, exact and not before)
                self.entries += 1
            at += len(line) + 1
        lines.append(b"")
        self._to.text.append(b"\n".join(lines))
        return len(lines) - 1

    def _other(self, line: bytes, at: int, number: int) -> bytes:
        """A line that is not a single canonical name, as it goes into the text."""
        if not line or line.startswith(b"#"):
            return b""
        place = f"{self._file}:{number}"
        kept = b""
        try:
            for raw in entries_of(line, self._format, place, many=self._many):
                kept += b" " if kept else b""
                kept += self._entry(raw, at + len(kept), place)
        except ConfigError as error:
            if len(self.errors) < _ERRORS_SHOWN:
                self.errors.append(error)
        return kept

    def _entry(self, raw: bytes, at: int, place: str) -> bytes:
        try:
            word = raw.decode()
        except UnicodeDecodeError:
            raise ConfigError(place, shown(raw), "is not UTF-8: save the file as UTF-8") from None
        self.entries += 1
        network = parse_network(word, place)
        if network is not None:
            return self._network(network, at, raw)
        if self._format == "addresses":
            raise ConfigError(
                place, word, "is neither an address nor a network: in a list of names, write `# format: domains` first"
            )
        return self._name(word, at, place)

    def _name(self, word: str, at: int, place: str) -> bytes:
        """`*.example.com` and `.example.com` hold example.com too: whoever blocks all below it means the domain."""
        bare = word.removeprefix("*").removeprefix(".") if word.startswith(("*.", ".")) else word
        wildcard, raw = bare != word, word.encode()
        host = parse_name(bare, word, place)
        if host.address is not None:
            if wildcard:
                raise ConfigError(place, word, "an address has nothing below it: write a network, such as 192.0.2.0/24")
            return self._network(ip_network(host.address), at, raw)
        if "." not in host.ascii and not wildcard and not self._exact:
            raise ConfigError(place, word, f"is a whole top-level domain: write `*.{host.ascii}` if that is meant")
        key = host.ascii.encode()
        as_it_is = bare == host.ascii
        self._to.names.add(key, at + (len(raw) - len(key) if as_it_is else 0), self._exact and not wildcard)
        return raw if as_it_is else key + b"|" + raw

    def _network(self, network: Network, at: int, raw: bytes) -> bytes:
        builder = self._to.v4 if network.version == 4 else self._to.v6
        builder.add(int(network.network_address), network.prefixlen, at)
        return raw
