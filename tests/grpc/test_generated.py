"""The generated code is that of the .proto files, under the names that the project imports it by."""

from pathlib import Path

import pytest

from grpc_server.generate import GENERATED, PROTO, contents, generate


@pytest.mark.parametrize("package", GENERATED)
def test_generated_code_is_up_to_date(tmp_path: Path, package: str) -> None:
    generate(tmp_path / "generated", package)
    assert contents(tmp_path / "generated") == contents(GENERATED[package]), "run `python -m grpc_server.generate`"


def test_descriptors_keep_the_names_that_other_languages_see() -> None:
    from grpc_server.generated.tidegate.v1 import definition_pb2, explanation_pb2, membership_pb2, segments_pb2

    modules = (definition_pb2, explanation_pb2, membership_pb2, segments_pb2)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    assert sorted(module.DESCRIPTOR.name for module in modules) == files
    assert {module.DESCRIPTOR.package for module in modules} == {"tidegate.v1"}
