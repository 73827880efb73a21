"""The `tidegate` command: one file per command in `console/commands`, imported only when it is called.

Exit codes: 0 fine; 1 the answer is no, or differs; 2 error (click's usage errors included); 130 interrupted.
A `TidegateError` is one clear text on stderr and never a traceback.
"""

import importlib
import logging
import os
import sys
import traceback
from typing import NoReturn

import click

from segmentation.errors import TidegateError

#: Command -> what the overview says about it. Kept here so that the overview imports none of them.
COMMANDS = {
    "demo": "Everything on this machine, with live traffic: look what it does.",
    "init": "Write a starting folder: schema.yml, one segment, tidegate.yml.",
    "validate": "Check definitions; every problem with file, line, column and remedy.",
    "evaluate": "Members of every segment from a file of events. No broker, no database.",
    "test": "Run the segments' own tests: given these events, who is in, and when?",
    "plan": "What would change for users if the definitions were deployed?",
    "migrate": "Create or update the tables in PostgreSQL.",
    "run": "The engine: events from Kafka in, membership and transitions out.",
    "serve": "The gRPC server that answers who is in which segment.",
    "apply": "Deploy the folder of definitions, or go back to an earlier version of it.",
    "release": "Publish what the guard keeps back of segments that are held.",
    "rebuild": "Compute one segment anew from what is stored of the events.",
    "reshard": "More or fewer shards, of a stopped engine, without a rebuild.",
    "backfill": "History from files, from before Kafka's retention, of a stopped engine.",
    "replay": "Send a file of events to Kafka.",
    "send": "Send one event, and with --wait see what became of it.",
    "check": "Is this user in this segment?",
    "members": "The users of a segment.",
    "explain": "Why is this user in this segment or not, since when, and until when?",
    "forecast": "Who enters and who leaves a segment by time alone, and when?",
    "status": "What is wrong, then segments, shards and refused events.",
    "watch": "The same, again and again.",
    "audit": "Evaluate users again with DuckDB, and compare with what is stored.",
    "reservoir": "The files of older events: list them, verify them.",
    "dead-letter": "Events that were refused: why, and sending them again.",
}

GUIDE = """\
Keep for every user the exact set of segments that the user is in, now.

A segment is a .sql file in a folder; events arrive on Kafka; membership is read over gRPC.

\b
First look (nothing else needed):
  tidegate demo
Your own events, from a file:
  tidegate init --from events.ndjson
  tidegate evaluate --definitions segment_defs --events events.ndjson
In production:
  tidegate migrate && tidegate run        (engine)
  tidegate serve                          (gRPC)

Settings come from tidegate.yml, then TIDEGATE_* variables, then flags.
"""


class Commands(click.Group):
    """Sub-commands that are imported by name when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"console.commands.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near and "Did you mean" not in error.message:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


@click.group(cls=Commands, help=GUIDE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tidegate", prog_name="tidegate")
def cli() -> None:
    pass


def main() -> None:
    """Entry point of the installed command; always ends in SystemExit."""
    try:
        code = cli.main(prog_name="tidegate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = 130
    except TidegateError as error:
        click.echo(f"tidegate: {error}", err=True)
        code = 2
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        # Nothing that a user did should end here; the traceback is for whoever repairs it.
        traceback.print_exc()
        click.echo(f"tidegate: unexpected {type(error).__name__}; this is a defect of Tidegate: report it.", err=True)
        code = 2
    _end(code if isinstance(code, int) else 0)


def _end(code: int) -> NoReturn:
    flow = sys.modules.get("flows.run")
    if flow is not None and flow.broken_off.is_set():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
