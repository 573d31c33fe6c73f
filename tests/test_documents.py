from __future__ import annotations

import gc
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sluicegate.documents import Node, plain, read
from sluicegate.errors import ConfigError


def one(text: str) -> Node:
    (node,) = read(text, "f.yaml")
    return node


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, "f.yaml")
    return str(caught.value)


class TestPlaces:
    def test_every_node_knows_its_file_path_and_line(self):
        node = one("spec:\n  rules:\n  - name: a\n  - name: b\n")
        name = node.value["spec"].value["rules"].value[1].value["name"]

        assert (name.place, name.where) == ("f.yaml: spec.rules[1].name", "f.yaml:4")

    def test_documents_are_several_and_empty_ones_are_left_out(self):
        assert [plain(node) for node in read("a: 1\n---\n---\n# nothing\n---\nb: 2\n", "f")] == [{"a": 1}, {"b": 2}]

    def test_an_alias_stands_where_it_is_used(self):
        node = one("a: &x {k: v}\nb: *x\n")

        assert plain(node) == {"a": {"k": "v"}, "b": {"k": "v"}}
        assert node.value["b"].value["k"].place == "f.yaml: b.k"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("a: [", "f.yaml:2: not YAML: did not find expected node content", id="not closed"),
            pytest.param("a: 1\nb: 2\na: 3", "f.yaml:3: `a`: stands twice in one mapping: remove one", id="twice"),
            pytest.param("1: a\n'1': b", "f.yaml:2: `1`: stands twice in one mapping: remove one", id="twice, quoted"),
            pytest.param("[a]: b", "f.yaml:1: keys are plain text: nested keys are not read", id="a nested key"),
            pytest.param(
                "x: &x {a: 1}\ny: {<<: *x}",
                "f.yaml:2: `<<`: keys are plain text: merge keys are not read",
                id="merge key",
            ),
            pytest.param("a: !x b", "f.yaml: a: `b`: tags are not read: put the value in quotes instead", id="a tag"),
            pytest.param("a: !x {b: c}", "f.yaml: a: `!x`: tags are not read: remove it", id="a tag of a mapping"),
            pytest.param(
                "a: !!python/object/apply:os.system [x]",
                "f.yaml: a: `tag:yaml.org,2002:python/object/apply:os.system`: tags are not read: remove it",
                id="a tag that would run a program",
            ),
            pytest.param("a: !!bool 7", "f.yaml: a: `7`: cannot be read: put it in quotes", id="no such bool"),
            pytest.param("a: !!int ''", "f.yaml: a: cannot be read: put it in quotes", id="an empty int"),
            pytest.param("!!float x", "f.yaml: `x`: cannot be read: put it in quotes", id="no place but the file"),
            pytest.param("a: \x00", "f.yaml: not YAML: control characters are not allowed", id="a null byte"),
        ],
    )
    def test_errors_are_one_line_with_place_value_and_fix(self, text: str, said: str):
        assert refused(text) == said

    def test_a_number_of_very_many_digits_is_an_error(self):
        assert "cannot be read: put it in quotes" in refused("a: " + "9" * 5000)

    def test_what_a_terminal_would_obey_is_not_shown_to_it(self):
        assert str(ConfigError("f", "a\x1b[2J\nb\u202e", "fix")) == "f: `a?[2J b?`: fix"

    def test_long_values_are_cut(self):
        assert len(str(ConfigError("f", "x" * 1000, "fix"))) < 140


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


class TestHostileTexts:
    """Each would cost the gateway its stack, its memory or its minutes."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("[" * 101 + "]" * 101, "nested more than 100 deep", id="just too deep"),
            pytest.param("[" * 1_000_000, "nested more than 100 deep", id="flow lists"),
            pytest.param("{a: " * 1_000_000, "nested more than 100 deep", id="flow mappings"),
            pytest.param("- " * 1_000_000, "nested more than 100 deep", id="block lists"),
            pytest.param("? " * 1_000_000, "nested more than 100 deep", id="keys of keys"),
            pytest.param("".join(" " * n + "a:\n" for n in range(3000)), "nested more than 100 deep", id="indentation"),
            pytest.param("&a [*a]", "an alias stands inside of what it names", id="a list in itself"),
            pytest.param("&a {b: {c: *a}}", "an alias stands inside of what it names", id="a mapping in itself"),
            pytest.param(laughs(9), "aliases repeat more than 10000 values", id="a billion laughs"),
            pytest.param(laughs(90), "aliases repeat more than 10000 values", id="more laughs than atoms"),
            pytest.param(
                "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200)),
                "nested more than 100 deep",
                id="depth by aliases",
            ),
        ],
    )
    def test_are_refused(self, text: str, said: str):
        assert said in refused(text)

    def test_cost_neither_the_process_nor_its_memory(self):
        """In a process of its own: the stack that libyaml's composer overruns is the process's."""
        program = (
            "import sys; from sluicegate.documents import read; from sluicegate.errors import ConfigError\n"
            "for text in ('[' * 200_000 + ']' * 200_000, '- ' * 200_000 + 'x', sys.argv[1]):\n"
            "    try: read(text, 'f')\n"
            "    except ConfigError: print('refused')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, laughs(60)],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20)),
        )
        assert (done.returncode, done.stdout) == (0, "refused\n" * 3), done.stderr

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("[" * 99 + "x" + "]" * 99, id="as deep as may be"),
            pytest.param("x: &x [a, b]\ny: [" + ", ".join(["*x"] * 1000) + "]", id="an alias a thousand times"),
            pytest.param("- " + "\n- ".join("x" * 3 for _ in range(20_000)), id="long, without aliases"),
        ],
    )
    def test_what_people_write_is_read(self, text: str):
        one(text)


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
def test_the_collector_is_left_as_it_was(on: bool):
    (gc.enable if on else gc.disable)()
    try:
        read("a: b", "f")
        refused("[")
        assert gc.isenabled() is on
    finally:
        gc.enable()


class TestReaders:
    def value(self, text: str) -> Node:
        return one(f"k: {text}").value["k"]

    @pytest.mark.parametrize(
        ("text", "reader", "value"),
        [
            pytest.param("abc", Node.text, "abc", id="text"),
            pytest.param("2026-12-24T00:00:00Z", Node.text, "2026-12-24T00:00:00Z", id="a time stays text"),
            pytest.param("2026-12-24", Node.text, "2026-12-24", id="a date stays text"),
            pytest.param("7", lambda node: node.integer(0, 7), 7, id="a whole number"),
            pytest.param("yes", Node.boolean, True, id="true"),
            pytest.param("1.5s", Node.seconds, 1.5, id="seconds"),
            pytest.param("500ms", Node.seconds, 0.5, id="milliseconds"),
            pytest.param("30d", Node.duration, timedelta(days=30), id="days"),
            pytest.param("64KiB", Node.size, 65536, id="kibibytes"),
            pytest.param("1MB", Node.size, 1_000_000, id="megabytes"),
            pytest.param("4096", Node.size, 4096, id="bytes"),
            pytest.param("0B", lambda node: node.size(0), 0, id="nothing, where that makes sense"),
            pytest.param("{a: b, 1: c}", Node.labels, {"a": "b", "1": "c"}, id="labels"),
            pytest.param("[a, b]", Node.texts, ("a", "b"), id="texts"),
        ],
    )
    def test_read(self, text: str, reader: Callable[[Node], Any], value: object):
        assert reader(self.value(text)) == value

    @pytest.mark.parametrize(
        ("text", "reader", "said"),
        [
            pytest.param("7", Node.text, "`7`: expected text: put it in quotes", id="a number for text"),
            pytest.param("' '", Node.text, ": is empty: write a value or leave the key out", id="blank"),
            pytest.param("8", lambda node: node.integer(0, 7), "`8`: expected a whole number from 0 to 7", id="too big"),
            pytest.param("true", lambda node: node.integer(0, 7), "`True`: expected a whole number", id="a bool is none"),
            pytest.param("1.0", lambda node: node.integer(0, 7), "`1.0`: expected a whole number", id="a fraction"),
            pytest.param("1", Node.boolean, "`1`: expected true or false", id="one is not true"),
            pytest.param("10", Node.seconds, "`10`: expected a duration with its unit", id="no unit"),
            pytest.param("-1s", Node.seconds, "`-1s`: expected a duration with its unit", id="before now"),
            pytest.param("0s", Node.seconds, "`0s`: expected a duration above 0s", id="no time at all"),
            pytest.param("9" * 400 + "d", Node.duration, "expected a duration above 0s and up to", id="for ever"),
            pytest.param("64 KiB", Node.size, "`64 KiB`: expected a size with its unit", id="a space before the unit"),
            pytest.param("0B", Node.size, "`0B`: expected a size of at least 1B", id="nothing"),
            pytest.param("-5", Node.size, "`-5`: expected a size with its unit", id="less than nothing"),
            pytest.param("'" + "9" * 5000 + "'", Node.size, "expected a size with its unit", id="more digits than int reads"),
            pytest.param("a", Node.items, "`a`: expected a list: start each entry with `- `", id="no list"),
            pytest.param("[a]", Node.fields, "`['a']`: expected `key: value` lines", id="no mapping"),
            pytest.param("{a: 1}", Node.labels, "k.a: `1`: expected text: put it in quotes", id="a label that is a number"),
            pytest.param("dney", lambda node: node.one_of("deny", "audit"), "expected deny or audit: did you mean `deny`?", id="near"),
            pytest.param("[x]", lambda node: node.one_of("deny"), "`['x']`: expected deny", id="a list for a word"),
        ],
    )  # fmt: skip
    def test_refuse(self, text: str, reader: Callable[[Node], Any], said: str):
        with pytest.raises(ConfigError) as caught:
            reader(self.value(text))
        assert str(caught.value).startswith("f.yaml: k")
        assert said in str(caught.value)


class TestFields:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            pytest.param("{prot: 1, name: x}", "f.yaml: prot: `prot`: unknown key: did you mean `port`?", id="near"),
            pytest.param("{zzz: 1, name: x}", "`zzz`: unknown key: known are name, port", id="far"),
            pytest.param("{port: 1}", "f.yaml: `name` is missing: add it", id="missing"),
        ],
    )
    def test_keys_are_checked(self, text: str, said: str):
        with pytest.raises(ConfigError, match=r"^f\.yaml: ") as caught:
            one(text).fields("port", required=("name",))
        assert said in str(caught.value)

    def test_an_empty_value_counts_as_absent(self):
        fields = one("{a: , b: 1}").fields("a", "b")

        assert (fields.get("a"), fields.get("c"), fields.read("a", Node.text, "x")) == (None, None, "x")
        with pytest.raises(ConfigError, match="`a` is missing or empty: write a value"):
            fields.need("a")
