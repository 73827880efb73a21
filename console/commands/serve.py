"""`tidegate serve`: the gRPC server."""

from pathlib import Path

import click

from console.options import load_settings, settings_flags


@click.command("serve")
@settings_flags("database_url")
@click.option("--listen", "grpc_listen", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1:50051]")
def command(config: Path | None, database_url: str | None, grpc_listen: str | None) -> None:
    """The gRPC server: who is in which segment, now. Run as many as you like; they only read PostgreSQL.

    \b
    Examples:
      tidegate serve
      tidegate serve --listen 0.0.0.0:50051        (needs TLS and tokens in tidegate.yml)
      grpcurl -plaintext -d '{"user_id": "u1", "segment": "lapsed"}' \\
        127.0.0.1:50051 tidegate.v1.MembershipService/CheckMembership
    """
    from console.logs import to_stderr
    from grpc_server.serve import serve

    settings = load_settings(config, database_url=database_url, grpc_listen=grpc_listen)
    to_stderr(settings.log_format)
    serve(settings)
