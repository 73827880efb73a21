"""`python -m storage.audit`: one round in a process of its own, which an engine starts beside its flow.

Settings come as JSON on stdin, since they hold a password; what was found goes to stdout, as one line of JSON.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from random import Random

from segmentation.errors import TidegateError
from storage import postgres
from storage.audit.findings import remember_failure
from storage.audit.round import audit
from storage.settings import Settings


def main() -> None:
    os.nice(19)
    settings = Settings(**json.loads(sys.stdin.readline()))
    url = settings.database_url.get_secret_value()
    try:
        done = audit(url, settings.storage_url, settings.audit_users, Random())
    except TidegateError as error:
        said = {"failure": str(error)}
        try:
            with postgres.connect(url, application="tidegate audit", autocommit=True) as connection:
                remember_failure(connection, str(error))
        except (TidegateError, OSError):
            pass  # the engine says it in its log
    else:
        # All that this process has taken, its start included.
        said = asdict(done) | {"agree": len(done.agree), "seconds": time.process_time()}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
