"""`sluicegate ca`: make the CA, show it, and print what clients are to trust."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sluicegate import settings
from sluicegate.authority import ca, files, profile, trust
from sluicegate.cli.options import NO, config_option, fail, json_option, load_settings, print_json
from sluicegate.errors import ConfigError


@click.group("ca")
def command() -> None:
    """The certificate authority that the gateway signs its leaf certificates with."""


@command.command()
@config_option
@click.option("--name", default="Sluicegate CA", show_default=True, help="The CA's common name.")
@click.option("--days", type=click.IntRange(1, 7300), default=3650, show_default=True, help="How long it is valid.")
def init(config: Path | None, name: str, days: int) -> None:
    """Make a new CA, where `authority:` of gateway.yaml says. Never overwrites one.

    \b
    Examples:
      sluicegate ca init
      sluicegate ca init --name "Example Corp egress CA" --days 1825
    """
    paths = load_settings(config).authority
    try:
        made = ca.create(paths.cert, paths.key, name=name, days=days)
    except ConfigError as error:
        fail(error, NO)
    click.echo(f"certificate  {paths.cert}")
    click.echo(f"key          {paths.key}  (keep it secret: who has it can pose as any site to your pods)")
    click.echo(f"subject      {made.subject.rfc4514_string()}")
    click.echo(f"SHA-256      {ca.fingerprint(made)}")
    click.echo(f"valid until  {made.not_valid_after_utc:%Y-%m-%d}")
    click.echo(f"next: have clients trust it, for example: curl --cacert {paths.cert} https://...")


@command.command()
@config_option
@json_option
def show(config: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Show the CA, and whether it can be used. Exit status 1 if not.

    \b
    Examples:
      sluicegate ca show
      sluicegate ca show --json | jq .days_left
    """
    report = _report(load_settings(config).authority)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report["usable"]:
        raise SystemExit(NO)


@command.command()
@config_option
@click.option("--with-system", is_flag=True, help="Append the public roots of this system.")
@click.option("--with-certifi", is_flag=True, help="Append the public roots of certifi (Mozilla's).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write a file instead, in one step."
)
def bundle(config: Path | None, with_system: bool, with_certifi: bool, output: Path | None) -> None:  # noqa: FBT001 - as above
    """Print the CA certificate, for clients to trust; never the key.

    With the public roots it can stand in for a client's whole trust store: SSL_CERT_FILE, REQUESTS_CA_BUNDLE,
    CURL_CA_BUNDLE, GIT_SSL_CAINFO, AWS_CA_BUNDLE. For NODE_EXTRA_CA_CERTS leave them out.

    \b
    Examples:
      sluicegate ca bundle > sluicegate-ca.pem
      sluicegate ca bundle --with-certifi -o /etc/ssl/certs/with-sluicegate.pem
    """
    asked = [source for source, wanted in (("system", with_system), ("certifi", with_certifi)) if wanted]
    try:
        certs = [*ca.read_certificates(load_settings(config).authority.cert), *_roots(asked)]
    except ConfigError as error:
        fail(error, NO)
    text = profile.pem(dict.fromkeys(certs))
    if output is None:
        sys.stdout.write(text.decode())
        return
    try:
        files.replace(output, text, 0o644)
    except OSError as error:
        fail(ConfigError(str(output), "", f"cannot be written: {error.strerror}"), NO)


def _roots(sources: list[str]) -> list[x509.Certificate]:
    return [root for source in sources for root in trust.roots_of(source)]


def _report(paths: settings.Authority) -> dict[str, Any]:
    """What can be said of the CA, also where it cannot be used."""
    report: dict[str, Any] = {"cert": str(paths.cert), "key": str(paths.key), "usable": False}
    try:
        report |= _describe(ca.read_certificates(paths.cert)[0])
        report |= {"warnings": list(ca.load(paths).warnings), "usable": True}
    except ConfigError as error:
        report["problem"] = str(error)
    return report


def _describe(cert: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": cert.subject.rfc4514_string(),
        "issuer": cert.issuer.rfc4514_string(),
        "fingerprint_sha256": ca.fingerprint(cert),
        "not_before": cert.not_valid_before_utc.isoformat(),
        "not_after": cert.not_valid_after_utc.isoformat(),
        "days_left": (cert.not_valid_after_utc - datetime.now(UTC)).days,
        "key_type": _key_type(cert.public_key()),
    }


def _key_type(key: object) -> str:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case _:
            return type(key).__name__.removesuffix("PublicKey")


_LINES = {
    "certificate": "cert", "key": "key", "subject": "subject", "issuer": "issuer", "SHA-256": "fingerprint_sha256",
    "valid from": "not_before", "valid until": "not_after", "days left": "days_left", "key type": "key_type",
}  # fmt: skip


def _print(report: dict[str, Any]) -> None:
    for label, key in _LINES.items():
        if key in report:
            click.echo(f"{label:<12} {report[key]}")
    for warning in report.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    if problem := report.get("problem"):
        click.echo(f"sluicegate: {problem}", err=True)
