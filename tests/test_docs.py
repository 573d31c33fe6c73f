"""Documentation that runs: what it shows loads, what exists is in it, what it points to is there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sluicegate import documents, settings
from sluicegate.cli import main
from sluicegate.exchange.answers import ANSWERS
from sluicegate.lists.load import load as load_lists
from sluicegate.policy.globs import compile_globs
from sluicegate.policy.load import load as load_policy
from sluicegate.resolve.guard import Guard
from sluicegate.settings import API_VERSION
from sluicegate.verdict import Reason

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for pattern in ("*.md", "docs/*.md", "certs/*.md", "blocklists/*.md", "deploy/**/*.md")
               for path in ROOT.glob(pattern))  # fmt: skip
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _blocks(mark: str) -> Iterator[tuple[str, str]]:
    """YAML that begins with ``# policy`` or ``# gateway``: place and text, of pages and of example files."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            if found[2] == "yaml" and found[3].startswith(f"# {mark}\n"):
                yield f"{_name(page)}:{text[: found.start()].count('\n') + 1}", found[3]
    for file in sorted((ROOT / "deploy").rglob("*.yaml")):
        if (text := file.read_text(encoding="utf-8")).startswith(f"# {mark}\n"):
            yield _name(file), text


_CLONE = "/srv/sluicegate"
_FOLDERS = {
    "README.md": "deploy/demo",
    "docs/commands.md": ".",
    "deploy/examples/README.md": "deploy/examples/egress-node",
}


def _shown_commands() -> Iterator[tuple[str, str, str]]:
    """Page, command and output of what pages show; not of a configuration that was broken for the occasion."""
    for page in _FOLDERS:
        for _, kind, block in _FENCE.findall(_text(page)):
            for part in block.split("$ ")[1:] if kind == "console" else ():
                command, _, shown = part.partition("\n")
                if re.match(r"sluicegate (check|explain) ?", command) and shown and " error" not in shown:
                    yield page, command, shown


@cache
def _commands() -> dict[str, click.Command]:
    """Every command by the words that call it: ``dlp scan``."""
    found: dict[str, click.Command] = {}

    def walk(words: tuple[str, ...], command: click.Command) -> None:
        if words:
            found[" ".join(words)] = command
        if isinstance(command, click.Group):
            with click.Context(command) as context:
                for name in command.list_commands(context):
                    child = command.get_command(context, name)
                    assert child is not None
                    walk((*words, name), child)

    walk((), main)
    return found


def _setting_keys() -> dict[str, set[str]]:
    """The keys that settings.py reads, by the function that reads them: all arguments of `.fields(...)`."""
    tree = ast.parse(_text("proxy/sluicegate/settings.py"))
    found: dict[str, set[str]] = {}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "fields":
                words = {node.value for node in ast.walk(call) if isinstance(node, ast.Constant)}
                found[function.name] = {word for word in words if isinstance(word, str)}
    return found


_GROUPS = {"_listen": "listen", "authority": "authority", "_resolver": "resolver", "upstream": "upstream", "dlp": "dlp",
           "_identity": "identity", "_limits": "limits", "records": "records"}  # fmt: skip


class TestReasons:
    @pytest.mark.parametrize("reason", Reason)
    def test_each_has_its_row_with_its_status(self, reason: Reason) -> None:
        row = re.search(rf"^\| `{reason}` \|(.*)$", _text("docs/reasons.md"), re.MULTILINE)
        assert row, f"docs/reasons.md has no row for {reason}"
        if reason not in {Reason.RULE, Reason.DEFAULT_AUDIT, Reason.CLIENT_TLS, Reason.CLIENT_GONE}:
            assert str(ANSWERS[reason].status) in row[1]

    def test_no_row_is_of_a_reason_that_is_gone(self) -> None:
        rows = set(re.findall(r"^\| `([a-z-]+)` \|", _text("docs/reasons.md"), re.MULTILINE))
        assert rows == set(Reason)


class TestSettings:
    def test_every_key_is_in_the_page(self) -> None:
        keys, page = _setting_keys(), _text("docs/configuration.md")
        assert keys.keys() >= {"parse", "_static", *_GROUPS}, "settings.py has changed its shape"
        wanted = [f"{group}.{key}" for reader, group in _GROUPS.items() for key in keys[reader]]
        missing = [key for key in (*wanted, *keys["parse"], *keys["_static"]) if f"`{key}`" not in page and
                   f"## {key}" not in page and f"`{key}:" not in page]  # fmt: skip
        assert missing == []

    def test_no_key_of_the_page_is_gone(self) -> None:
        keys = _setting_keys()
        known = {f"{group}.{key}" for reader, group in _GROUPS.items() for key in keys[reader]}
        named = re.findall(r"^\| ((?:`[a-z_]+\.[a-z_]+`(?:, )?)+) \|", _text("docs/configuration.md"), re.MULTILINE)
        assert {key for cell in named for key in re.findall(r"`([^`]+)`", cell)} <= known


class TestCommands:
    @pytest.mark.parametrize("words", _commands())
    def test_each_has_help_with_an_example(self, words: str) -> None:
        done = CliRunner().invoke(main, [*words.split(), "--help"])
        assert done.exit_code == 0
        if not isinstance(_commands()[words], click.Group):
            assert f"sluicegate {words}" in done.output

    @pytest.mark.parametrize("words", _commands())
    def test_each_and_its_options_are_in_the_page(self, words: str) -> None:
        page = _text("docs/commands.md")
        section = page.partition(f"\n## {words.split(maxsplit=1)[0]}\n")[2].partition("\n## ")[0]
        assert section, f"docs/commands.md has no section for {words}"
        assert words.rsplit(maxsplit=1)[-1] in section or " " not in words
        shared = page.partition("\n## ")[0]
        for option in (each for each in _commands()[words].params if isinstance(each, click.Option)):
            for name in option.opts:
                assert re.search(rf"`[^`]*(?<![\w-]){re.escape(name)}\b", section + shared), f"{words} {name}"


class TestExamples:
    @pytest.mark.parametrize(("place", "text"), [pytest.param(*each, id=each[0]) for each in _blocks("policy")])
    def test_a_policy_loads(self, place: str, text: str) -> None:
        nodes = documents.read(text, place)
        lists = [node for node in nodes if node.value["kind"].value == "Blocklist"]
        policy = load_policy([node for node in nodes if node not in lists], default="deny", guard=Guard())
        assert policy.objects + len(load_lists((), lists).lists) == len(nodes) > 0
        assert all(node.value["apiVersion"].value == API_VERSION for node in nodes)

    @pytest.mark.parametrize(("place", "text"), [pytest.param(*each, id=each[0]) for each in _blocks("gateway")])
    def test_a_configuration_is_read(self, place: str, text: str) -> None:
        assert settings.parse(text, place, ROOT).listen.transparent

    def test_path_patterns_match_what_the_page_says(self) -> None:
        rows = re.findall(r"^\| `(/[^`]*)` \| (.*) \| (.*) \|$", _text("docs/policy.md"), re.MULTILINE)
        assert len(rows) > 4
        for pattern, matched, others in rows:
            globs = compile_globs([pattern])
            for cell, expected in ((matched, True), (others, False)):
                for path in re.findall(r"`(/[^`]*)`", cell):
                    assert globs.match(path) is expected, f"{pattern}: {path}"

    def test_every_example_file_is_marked(self) -> None:
        files = sorted((ROOT / "deploy/examples").rglob("*.yaml"))
        assert files
        assert all(path.read_text().startswith(("# policy\n", "# gateway\n")) for path in files)

    @pytest.mark.parametrize("config", ["deploy/examples/egress-node/gateway.yaml", "deploy/demo/gateway.yaml"])
    def test_check_accepts_what_is_shipped(self, config: str) -> None:
        done = CliRunner().invoke(main, ["check", "-c", str(ROOT / config)])
        assert done.exit_code == 0, done.output

    def test_the_defaults_in_the_page_are_the_defaults(self) -> None:
        default = settings.defaults(ROOT)
        assert default.listen.explicit == settings.Endpoint(ip_address("127.0.0.1"), 3128)
        page = _text("docs/configuration.md")
        for row in ("| `limits.message` | `16MiB` |", "| `limits.drain` | `30s` |", "| `records.keep` | `8` |",
                    "| `limits.idle_timeout` | `10m` |", "| `dlp.buffer` | `1MiB` |", "| `records.queue` | `10000` |"):  # fmt: skip
            assert row in page
        limits, records = default.limits, default.records
        assert (limits.message, limits.drain_s, limits.idle_timeout_s) == (16 << 20, 30, 600)
        assert (records.keep, records.queue, default.dlp.buffer) == (8, 10_000, 1 << 20)


class TestOutput:
    """What pages show of `check` and `explain` is what these say, but for the folder and the number of DLP rules."""

    @pytest.mark.parametrize(
        ("page", "command", "shown"), [pytest.param(*each, id=each[1]) for each in _shown_commands()]
    )
    def test_is_as_it_came(self, monkeypatch: pytest.MonkeyPatch, page: str, command: str, shown: str) -> None:
        monkeypatch.chdir(ROOT / _FOLDERS[page])
        said = CliRunner().invoke(main, command.split()[1:]).output.replace(str(ROOT), _CLONE)
        lines = [re.sub(r"\d+ DLP rules", "N DLP rules", line) for line in said.splitlines()]
        for line in shown.splitlines():
            if line.strip() != "…":
                assert re.sub(r"\d+ DLP rules", "N DLP rules", line) in lines


class TestPages:
    @pytest.mark.parametrize("page", PAGES, ids=_name)
    def test_links_lead_somewhere(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        for link in _LINK.findall(_FENCE.sub("", text)):
            target, _, anchor = link.partition("#")
            if "://" in target:
                continue
            file = (page.parent / target).resolve() if target else page
            assert file.exists(), f"{_name(page)}: {link}"
            if anchor:
                assert anchor in _anchors(file), f"{_name(page)}: {link}"

    def test_tests_that_pages_name_exist(self) -> None:
        named = {found for page in PAGES for found in _TEST.findall(page.read_text(encoding="utf-8"))}
        missing = [f"{file}::{test}" for file, test in named if not _defines(file, test)]
        assert len(named) > 20
        assert missing == []

    def test_paths_that_the_map_names_exist(self) -> None:
        text = _text("ARCHITECTURE.md")
        named = re.findall(
            r"`((?:policy|exchange|lanes|lists|dlp|records|resolve|gateway|cli)/[a-z_0-9/]+)(\.py)?`", text
        )
        assert named
        assert [path for path, _ in named if not any((ROOT / "proxy/sluicegate").glob(f"{path}*"))] == []

    def test_the_order_of_imports_is_the_one_enforced(self) -> None:
        packages = {path.stem for path in (ROOT / "proxy/sluicegate").iterdir() if path.stem[0] not in "_."}
        order = _text("ARCHITECTURE.md").partition("\ncli > gateway")[2].partition("```")[0]
        assert packages - {"cli", "gateway"} <= set(re.findall(r"\w+", order))

    def test_the_licence_is_apache_2(self) -> None:
        assert "Apache License" in _text("LICENSE")
        assert "Version 2.0, January 2004" in _text("LICENSE")


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _defines(file: str, test: str) -> bool:
    path = ROOT / file
    return path.exists() and re.search(rf"def {test}\(", path.read_text(encoding="utf-8")) is not None


# Places of one machine, and what the project is not about. Put together here, so that this file does not hold them.
_FOREIGN = tuple(
    "".join(parts)
    for parts in (
        ("/", "work/"),
        ("/root", "/."),
        ("/tmp/", "tour"),
        ("bash", "_jobs"),
        ("clau", "de"),
        ("chat", "gpt"),
        ("issues ", "show"),
        ("the ", "brief"),
        ("index", "-url="),
    )
)


def test_nothing_in_the_tree_is_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a clone")
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            text = path.read_bytes().decode(errors="replace").lower()
            found += [f"{name}: {word}" for word in _FOREIGN if word in text]
    assert found == []
