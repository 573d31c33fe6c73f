"""Only the authority touches private keys: nobody else imports what could, or reaches for a field that holds one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sluicegate
from sluicegate.authority import leaf

PACKAGE = Path(sluicegate.__file__).parent
HOME = Path(leaf.__file__).parent
OTHERS = sorted(
    path
    for root in (PACKAGE, PACKAGE.parent.parent / "addons")
    for path in root.rglob("*.py")
    if not path.is_relative_to(HOME)
)
FORBIDDEN = {
    "load_pem_private_key", "load_der_private_key", "generate_private_key", "private_bytes", "use_privatekey",
    "use_privatekey_file", "load_cert_chain",
}  # fmt: skip


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_no_other_module_handles_a_private_key(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert not used & FORBIDDEN


def test_the_net_is_cast_wide_enough():
    assert {path.stem for path in OTHERS} >= {"settings", "names", "ca"}
