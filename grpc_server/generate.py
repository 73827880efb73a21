"""Makes `grpc_server/generated/` and the client package's own from `proto/`: `python -m grpc_server.generate`.

protoc's Python plug-ins name modules after the .proto files (`tidegate.v1.…`), which would have to
lie on the import path as a package of their own. Here they lie below `grpc_server.generated` (and
`tidegate_client.generated`), so the imports among them are rewritten to say so. The descriptors keep
their own names: what reflection and other languages see is `tidegate/v1/*.proto`.

Needs grpcio-tools and mypy-protobuf (the `dev` extra). The outcome is committed; a test compares.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from segmentation.errors import TidegateError

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
#: Package -> its folder.
GENERATED = {
    "grpc_server.generated": ROOT / "grpc_server" / "generated",
    "tidegate_client.generated": ROOT / "clients" / "python" / "tidegate_client" / "generated",
}

_IMPORT = re.compile(r"^(from|import) (tidegate\b)", re.MULTILINE)


def generate(target: Path, package: str) -> None:
    """Replaces `target` by the code generated from all .proto files, to be imported as `package`."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with TemporaryDirectory() as scratch:
        arguments = [f"--{plugin}_out={scratch}" for plugin in ("python", "pyi", "grpc_python", "mypy_grpc")]
        plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
        code = protoc.main([
            "protoc", f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy_grpc={plugin}", *arguments, *protos,
        ])  # fmt: skip
        if code:
            raise TidegateError("protoc refused the files in proto/; what it says stands above.")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for path in (Path(scratch), *sorted(Path(scratch).rglob("*"))):
            place = target / path.relative_to(scratch)
            if path.is_dir():
                place.mkdir(exist_ok=True)
                (place / "__init__.py").touch()
            else:
                place.write_text(_IMPORT.sub(rf"\1 {package}.\2", path.read_text()))


def contents(folder: Path) -> dict[str, str]:
    """Relative path -> text of every generated file."""

    def walk() -> Iterator[tuple[str, str]]:
        for path in sorted(folder.rglob("*.py*")):
            if path.suffix in (".py", ".pyi"):
                yield str(path.relative_to(folder)), path.read_text()

    return dict(walk())


if __name__ == "__main__":
    for package, folder in GENERATED.items():
        generate(folder, package)
        print(f"{len(contents(folder))} files in {folder}")
