"""`tidegate apply`: deploys the folder of definitions, or goes back to an earlier version."""

from pathlib import Path

import click

from console.deploying import as_object, report, wait_for, whoever
from console.options import json_flag, load_settings, settings_flags
from console.output import print_json, table


@click.command("apply")
@settings_flags("definitions", "database_url")
@click.option("--version", "number", type=click.IntRange(1), metavar="V", help="Go back to version V.")
@click.option("--withdraw", is_flag=True, help="Take back the version that is being built.")
@click.option("--confirm", "--release", "confirm", is_flag=True, help="Deploy the version that is held.")
@click.option("--versions", "listed", is_flag=True, help="Only list the versions: who, when, and what became of them.")
@click.option("--allow-incomplete", is_flag=True,
              help="Also where history is missing; answers say since when they are complete.")  # fmt: skip
@click.option("--by", metavar="NAME", help="Who deploys it.  [default: user@host]")
@click.option("--no-wait", is_flag=True, help="Do not wait until the engine answers by it.")
@json_flag
def command(
    config: Path | None, definitions: Path | None, database_url: str | None, number: int | None, withdraw: bool,
    confirm: bool, listed: bool, allow_incomplete: bool, by: str | None, no_wait: bool, as_json: bool,
) -> int:  # fmt: skip
    """Deploy the folder of definitions: segments and schema.yml.

    The running engine builds the new version from the events that it has stored, while everybody is
    answered by the old one, and switches all segments in one step. Only users who really enter or leave a
    segment are announced, with the cause "definition". This waits for the switch and says how many they
    were. If no engine runs, the version is recorded, and taken up at the next start.

    A version that cannot be built exactly is withdrawn with the reason, and the old one stays. One that would
    have more of a segment's members enter or leave than the setting `guard` lets is held until it is confirmed.
    Exit code 1: it is held.

    \b
    Examples:
      tidegate apply
      tidegate apply --versions
      tidegate apply --version 3          (back to the files of version 3, as a new version)
      tidegate apply --withdraw
      tidegate apply --confirm
    """
    from segmentation.compile import compile_files
    from segmentation.evaluate.history import check_types
    from storage import deployments
    from storage.applying import apply
    from storage.definitions_folder import DefinitionsFolder, read_definitions
    from storage.deployments import DeploymentError
    from storage.migrate import check

    settings = load_settings(config, definitions=definitions, database_url=database_url)
    url = settings.database_url.get_secret_value()
    check(url)
    if listed:
        _list(url, as_json)
        return 0
    if withdraw:
        found = deployments.building(url)
        if found is None or not deployments.withdraw(url, found.version, f"by {by or whoever()}"):
            raise DeploymentError("No version is being built.")
        click.echo(f"version {found.version} is withdrawn")
        return 0
    if confirm:
        found = deployments.building(url)
        if found is None or not deployments.confirm(url, found.version, by or whoever()):
            raise DeploymentError("No version is held.")
        return report(wait_for(url, found.version, quiet=as_json), as_json)
    if number is not None:
        before = deployments.version(url, number)
        if before.state != deployments.COMPLETE:
            raise DeploymentError(f"Version {number} was never deployed. `tidegate apply --versions` lists them.")
        files = before.files
    else:
        files = read_definitions(settings.definitions).texts
    folder = DefinitionsFolder.of_texts(files)
    compile_files(folder.files, folder.schema)
    now = deployments.deployed(url)
    if now is not None:
        check_types(now.folder.schema, folder.schema)
    added = apply(url, files, by or whoever(), allow_incomplete=allow_incomplete)
    if added is None:
        assert now is not None
        click.echo(f"version {now.version} is deployed already: nothing to do", err=as_json)
        if as_json:
            print_json(as_object(now))
        return 0
    if no_wait:
        click.echo(f"version {added} is recorded", err=as_json)
        if as_json:
            print_json(as_object(deployments.version(url, added)))
        return 0
    return report(wait_for(url, added, quiet=as_json), as_json)


def _list(url: str, as_json: bool) -> None:
    from storage import deployments

    found = deployments.versions(url)
    if as_json:
        print_json([as_object(each) for each in found])
        return
    now = deployments.deployed(url)
    rows = [
        (each.version, "deployed" if now is not None and each.version == now.version
         else "held" if each.held else each.state, each.by, each.at,
         each.switched_at, each.reason or (f"rebuilt {', '.join(each.rebuilt)}" if each.rebuilt else ""))
        for each in found
    ]  # fmt: skip
    table("Versions", ("version", "state", "by", "made", "answered by since", ""), rows)
