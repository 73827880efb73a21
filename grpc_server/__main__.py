"""`python -m grpc_server`: the server alone, with settings from tidegate.yml and TIDEGATE_* variables."""

import logging
import sys

from pydantic import ValidationError

from grpc_server.serve import serve
from segmentation.errors import TidegateError
from storage.settings import load


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(load())
    except TidegateError as error:
        print(error, file=sys.stderr)
        return 2
    except ValidationError as error:
        # Not `str(error)`: that would repeat the values, secrets among them.
        for problem in error.errors(include_url=False, include_input=False):
            print(f"settings: {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
