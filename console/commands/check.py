"""`tidegate check USER SEGMENT`: asks the gRPC server; exit code 1 when the user is not a member."""

import sys
from pathlib import Path

import click

from console.client import connect, definition_object, server_address, server_flags, time_text
from console.options import json_flag, settings_flags
from console.output import print_json


@click.command("check")
@click.argument("user")
@click.argument("segment")
@server_flags
@settings_flags()
@json_flag
def command(
    user: str, segment: str, server: str | None, token: str | None, tls_ca: Path | None, config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Is USER in SEGMENT, now? Exit code 0: yes; 1: no; 2: it could not be found out.

    \b
    Examples:
      tidegate check u000017 high_value
      tidegate check u000017 high_value --json | jq .as_of
      if tidegate check "$USER_ID" lapsed; then send-coupon; fi
    """
    from grpc_server.generated.tidegate.v1 import membership_pb2

    with connect(server_address(server, config), token, tls_ca) as there:
        answer = there.ask(
            there.membership.CheckMembership, membership_pb2.CheckMembershipRequest(user_id=user, segment=segment)
        )
    as_of = time_text(answer.as_of) if answer.HasField("as_of") else None
    if as_json:
        print_json(
            {"user_id": user, "segment": segment, "member": answer.member, "known": answer.known, "as_of": as_of,
             **definition_object(answer.definition)}
        )  # fmt: skip
    else:
        verb = "is in" if answer.member else "is not in"
        stranger = "" if answer.known else " (never seen in any event)"
        about = definition_object(answer.definition)
        click.echo(
            f"{user} {verb} {segment}{stranger}: version {about['version']}, {about['state']}"
            f"{' since ' + about['held_since'] if 'held_since' in about else ''}, as of {as_of or 'never'}"
        )
    sys.exit(0 if answer.member else 1)
