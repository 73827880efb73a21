"""`tidegate run`: wrong uses are said before anything is reached."""

import pytest

from tests.console.run_command import tidegate


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "2", "-i", "0", "-a", "a:1;b:2"], "--workers is for one machine; over several, start every"),
        (["-i", "0"], "a cluster needs both -i and -a"),
        (["-a", "a:1"], "a cluster needs both -i and -a"),
        (["-i", "2", "-a", "a:1;b:2"], "-i 2: the cluster has processes 0 to 1"),
        (["--at", "2026-01-01T00:00:00Z"], "--at needs --until-end"),
    ],
)
def test_wrong_uses(arguments: list[str], words: str) -> None:
    done = tidegate("run", *arguments)
    assert done.code == 2 and words in " ".join(done.err.split()), done.err
