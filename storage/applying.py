"""A version of the definitions is applied: written down for the engine to take up."""

from collections.abc import Mapping, Sequence
from contextlib import closing

from storage import deployments, engine_state, postgres
from storage.deployments import BUILDING, DeploymentError

#: Sessions that an engine has while it runs.
_ENGINES = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name IN ('tidegate engine', 'tidegate relay')
"""


def apply(
    url: str, files: Mapping[str, str], by: str, *, rebuilt: Sequence[str] = (), allow_incomplete: bool = False
) -> int | None:
    """The number of the new version, which an engine takes up; None where just this is deployed already.

    rebuilt: segments that are to be computed anew although nothing has changed. DeploymentError where another
    version is being built, or no engine has ever run here; DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate apply")) as connection,
        postgres.foreign_errors(postgres.address(url)),
        connection.transaction(),
    ):
        engine_state.lock(connection)
        now = deployments.read_deployed(connection)
        if now is None:
            raise DeploymentError(
                f"No engine has run on {postgres.address(url)} yet. Its first start deploys its own folder: "
                "`tidegate run`."
            )
        if not rebuilt and deployments.read_building(connection) is None and now.digest == deployments.digest_of(files):
            return None
        return deployments.add(connection, files, by, BUILDING, rebuilt=rebuilt, allow_incomplete=allow_incomplete)


def engine_runs(url: str) -> bool:
    """Has an engine a session on the database now? One that is just starting again has none. DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate apply", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        row = connection.execute(_ENGINES).fetchone()
    return row is not None and row[0] > 0
