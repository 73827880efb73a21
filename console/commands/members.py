"""`tidegate members SEGMENT`: asks the gRPC server page by page; one user id a line."""

from pathlib import Path

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

    A user who is a member during the whole listing appears exactly once.

    \b
    Examples:
      tidegate members lapsed --limit 20
      tidegate members lapsed > lapsed.txt
      tidegate members lapsed --json | jq -r .user_ids[]
    """
    from grpc_server.generated.tidegate.v1 import membership_pb2

    users: list[str] = []
    count, token_of_page = 0, ""
    with connect(server_address(server, config), token, tls_ca) as there:
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
    if as_json:
        print_json(
            {"segment": segment, "user_ids": users, "complete": not token_of_page, "as_of": as_of,
             **definition_object(page.definition)}
        )  # fmt: skip
    elif token_of_page:
        click.echo(f"there are more than these {count:,}; leave --limit out for all", err=True)
