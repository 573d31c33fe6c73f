"""A gateway's folder, as a person would have it, and the commands run in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from sluicegate.cli import main

GATEWAY = """
apiVersion: sluicegate.dev/v1alpha1
kind: Gateway
identity:
  static: [{cidr: 127.0.0.0/8, namespace: shop, pod: web-1, labels: {app: web}}]
resolver: {servers: [127.0.0.1:9], hosts: {api.test: 93.184.216.34, inside.test: 10.1.2.3}, timeout: 1s}
"""

POLICY = """
apiVersion: sluicegate.dev/v1alpha1
kind: EgressPolicy
metadata: {name: web, namespace: shop}
spec:
  owner: shop@example.com
  selector: {matchLabels: {app: web}}
  rules:
    - {name: api, to: {domains: [api.test, inside.test, "*.bad.test"]}, http: [{methods: [GET], paths: ["/v1/**"]}]}
    - {name: plain, to: {domains: [plain.test], protocol: http}}
    - {name: pinned, to: {domains: [pinned.test]}, inspect: sni}
    - {name: watched, to: {domains: [watched.test]}, mode: audit}
"""

LIST = "# owner: secops@example.com\nbad.test\n"


class Run:
    """sluicegate, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def write(self, file: str, text: str) -> Path:
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def furnish(self) -> None:
        self.write("gateway.yaml", GATEWAY)
        self.write("policies/web.yaml", POLICY)
        self.write("blocklists/sites.txt", LIST)
