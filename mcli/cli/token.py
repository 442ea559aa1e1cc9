"""``mcli token`` and ``mcli docs``: what to show to be let in, for programs and for browsers."""

import json

import click

from mcli.home import Home


@click.command()
@click.option("--webhook", is_flag=True, help="Print what webhooks are signed with instead.")
def token(webhook: bool) -> None:
    """Print the daemon's token.

    Whoever has it may run commands as you. Send it as: Authorization: Bearer TOKEN
    """
    from mcli.address import read_token, read_webhook_secret

    home = Home.find()
    click.echo(read_webhook_secret(home) if webhook else read_token(home))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: url and expires_at.")
def docs(as_json: bool) -> None:
    """Print an address at which a browser shows the endpoints, and may call them.

    It can be opened once, within a minute; then the page is signed in for 12 hours.
    """
    from mcli.client import Client

    with Client.connect(Home.find()) as client:
        told = client.login_code()
        url = f"{client.url}/docs#{told['code']}"
    click.echo(json.dumps({"url": url, "expires_at": told["expires_at"]}) if as_json else url)
