"""What test_stack.py starts in namespaces of its own: `python -m tests.compose.up build|up FOLDER`.

`up` writes FOLDER/report.json: {what was looked at: what was seen}; the test judges it.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from tests.compose import scenario
from tests.compose.compose_file import load
from tests.compose.container import Root
from tests.compose.image import Image, build
from tests.compose.stack import Stack

#: With every character that a URL, YAML or a shell could trip over.
PASSWORD = "p:a/s@s w%20o'r\"d#?&$(x)"


def main(action: str, folder: Path) -> None:
    root = Root(folder / "root").make()
    if action == "build":
        build(root).save(folder / "image.json")
        return
    stack = Stack(
        load({"POSTGRES_PASSWORD": PASSWORD}),
        Image.load(folder / "image.json"),
        root,
        folder,
        kafka_classpath=os.environ["KAFKA_CLASSPATH"],
    )
    report = scenario.Report()
    try:
        stack.prepare()
        scenario.run(stack, report)
    except BaseException:
        report["failure"] = traceback.format_exc()
    finally:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        for running in stack.running.values():
            if running.process.poll() is None:
                running.process.kill()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
