"""`tidegate members SEGMENT`: asks the gRPC server page by page; one user id a line."""

from pathlib import Path
from typing import Any

import click

from console.client import connect, definition_object, server_address, server_flags, time_text
from console.options import json_flag, settings_flags
from console.output import print_json

PAGE = 1_000


@click.command("members")
@click.argument("segment")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N users.  [default: all]")
@server_flags
@settings_flags()
@json_flag
def command(
    segment: str, limit: int | None, server: str | None, token: str | None, tls_ca: Path | None, config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """The users in SEGMENT, one id a line, ordered by id.

    A user who is a member during the whole listing appears exactly once. Where there is nobody, stderr says which
    part of the segment's condition holds for how many users, by the states that the engine saved last.

    \b
    Examples:
      tidegate members lapsed --limit 20
      tidegate members lapsed > lapsed.txt
      tidegate members lapsed --json | jq -r .user_ids[]
    """
    from grpc_server.generated.tidegate.v1 import membership_pb2

    users: list[str] = []
    address = server_address(server, config)
    count, token_of_page = 0, ""
    with connect(address, token, tls_ca) as there:
        while True:
            size = PAGE if limit is None else min(PAGE, limit - count)
            page = there.ask(
                there.membership.ListMembers,
                membership_pb2.ListMembersRequest(segment=segment, page_size=size, page_token=token_of_page),
            )
            count += len(page.user_ids)
            if as_json:
                users += page.user_ids
            elif page.user_ids:
                click.echo("\n".join(page.user_ids))
            token_of_page = page.next_page_token
            if not token_of_page or (limit is not None and count >= limit):
                break
    as_of = time_text(page.as_of) if page.HasField("as_of") else None
    why = None if count else _why_nobody(segment, address, config, as_json)
    if as_json:
        print_json(
            {"segment": segment, "user_ids": users, "complete": not token_of_page, "as_of": as_of,
             **definition_object(page.definition), **({} if why is None else {"why_nobody": why})}
        )  # fmt: skip
    elif token_of_page:
        click.echo(f"there are more than these {count:,}; leave --limit out for all", err=True)


def _why_nobody(segment: str, address: str, config: Path | None, as_json: bool) -> dict[str, Any]:
    """Says it on stderr, unless for programs."""
    from console.nobody import NotTold, as_object, lines, of_deployment
    from console.options import load_settings

    try:
        if address != server_address(None, config):
            raise NotTold(
                f"the states that the parts are counted in are those of the engine behind {address}, and the settings "
                "here are another one's. Run this where its settings are."
            )
        told = of_deployment(load_settings(config), segment)
    except NotTold as error:
        if not as_json:
            click.echo(f"nobody is in {segment}. Which part of its condition holds for whom is not known: {error}",
                       err=True)  # fmt: skip
        return {"problem": str(error)}
    if not as_json:
        click.echo("\n".join(lines(*told)), err=True)
    return as_object(*told)
