"""`tidegate serve`: the gRPC server."""

import os
from pathlib import Path

import click

from console.options import load_settings, settings_flags


@click.command("serve")
@settings_flags("database_url")
@click.option("--listen", "grpc_listen", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1:50051]")
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Processes on this port, each on a core of its own; one that is lost is started again.")  # fmt: skip
@click.option("--process", type=int, hidden=True, help="Which of several this is; ends when its standard input does.")
def command(
    config: Path | None, database_url: str | None, grpc_listen: str | None, processes: int, process: int | None
) -> int:
    """The gRPC server: who is in which segment, now. Run as many as you like; they only read PostgreSQL.

    \b
    Examples:
      tidegate serve
      tidegate serve --listen 0.0.0.0:50051        (needs TLS and tokens in tidegate.yml)
      tidegate serve --processes 4
      grpcurl -plaintext -d '{"user_id": "u1", "segment": "lapsed"}' \\
        127.0.0.1:50051 tidegate.v1.MembershipService/CheckMembership
    """
    from console.logs import to_stderr

    settings = load_settings(config, database_url=database_url, grpc_listen=grpc_listen)
    to_stderr(settings.log_format, process=process)
    if processes > 1:
        from flows.supervisor import child_command
        from grpc_server.processes import Pauses, supervise

        given = {"CONFIG": config, "DATABASE_URL": database_url}
        variables = {f"TIDEGATE_{name}": str(value) for name, value in given.items() if value is not None}
        return supervise(
            child_command(["serve", "--process"]), processes, settings, os.environ | variables, Pauses()
        )
    from grpc_server.serve import serve

    serve(settings, supervised=process is not None)
    return 0
