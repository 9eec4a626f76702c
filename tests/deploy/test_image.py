"""The Containerfile's promises, read from it; and an image built of it, looked at and run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.conftest import until

from mc_platform.administration import migrate

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"
USER = 65532
pytestmark = pytest.mark.timeout(1800)  # what is built takes minutes on a busy machine
_VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]
WRITTEN = {"/tmp", "/var/lib/mc-platform/signer", "/var/log/mc-audit"}


@dataclass(frozen=True)
class Stage:
    """One `FROM` with what follows it."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def all(self, word: str) -> list[str]:
        """The arguments of every instruction of that name."""
        return [argument for name, argument in self.steps if name == word]


def _stages() -> list[Stage]:
    lines = re.sub(r"(?m)^\s*#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"))
    steps = [
        tuple(re.sub(r"\s*\\\n\s*", " ", step).split(maxsplit=1))
        for step in re.split(r"(?<!\\)\n+", lines.strip())
    ]
    starts = [at for at, step in enumerate(steps) if step[0] == "FROM"]
    ends = [*starts[1:], len(steps)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        base, _, name = steps[start][1].partition(" AS ")
        found.append(Stage(name, base, tuple(steps[start + 1 : end])))
    return found


BUILT, BUILT_OPERATIONS, STRIPPED, OPERATIONS, SERVICE = _stages()
EVERY = (BUILT, BUILT_OPERATIONS, STRIPPED, OPERATIONS, SERVICE)


def test_the_base_is_given_by_a_digest_or_the_build_fails() -> None:
    """All stages are of the one base; the argument has no default, and the first step checks it."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^ARG BASE.*$", text) == ["ARG BASE", "ARG BASE"]
    bases = {stage.name: stage.base for stage in EVERY}
    assert bases == {
        "built": "${BASE}",
        "built-operations": "built",
        "stripped": "${BASE}",
        "operations": "stripped",
        "service": "stripped",  # the last one is what a build without a target makes
    }
    assert "@sha256:[0-9a-f]{64}$" in BUILT.all("RUN")[0]
    assert not re.search(r"sha256:[0-9a-f]{64}", text), (
        "a digest stands in whoever builds' settings"
    )


def test_only_the_lock_of_its_target_is_installed_and_only_with_hashes() -> None:
    """Every `pip install` has hashes and wheels, or is of the wheel that was just made."""
    for stage, lock in ((BUILT, "service"), (BUILT_OPERATIONS, "operations")):
        installs = re.findall(r"pip [^&]*\binstall\b[^&]*", " ".join(stage.all("RUN")))
        for one in installs:
            assert "--require-hashes --only-binary :all:" in one or (
                "--no-deps --no-index " in one and "/build/wheel/*.whl" in one
            )
        target = [one for one in installs if "--python /opt/mc-platform/bin/python" in one]
        assert [re.findall(r"requirements/\S+", one) for one in target] == [
            [f"requirements/{lock}.lock"],
            [],
        ]
    assert "development" not in " ".join(name for stage in EVERY for name in stage.all("COPY"))


def test_what_is_shipped_takes_one_folder_and_runs_as_a_number() -> None:
    """What built it stays behind; the user is a number, so that `runAsNonRoot` can be checked."""
    assert STRIPPED.all("COPY") == []
    assert STRIPPED.all("USER") == [f"{USER}:{USER}"]
    for stage, source, entry in (
        (SERVICE, "built", ["python", "-m", "mc_platform"]),
        (OPERATIONS, "built-operations", ["mcctl"]),
    ):
        assert stage.all("COPY") == [f"--from={source} /opt/mc-platform /opt/mc-platform"]
        assert stage.all("RUN") == stage.all("USER") == [], "nothing runs, and nobody else is it"
        assert json.loads(stage.all("ENTRYPOINT")[0]) == entry
    assert json.loads(SERVICE.all("CMD")[0]) == ["serve"]
    assert [step for stage in EVERY for step in stage.all("HEALTHCHECK")] == []
    assert not re.search(r"(TOKEN|SECRET|PASSWORD|KEY)=", CONTAINERFILE.read_text(encoding="utf-8"))


def test_what_is_written_is_named() -> None:
    """The folders that are mounted over a read-only root are in the file's comment and exist."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    for folder in WRITTEN:
        assert folder in re.sub(r"\n# ?", " ", text)
    made = re.search(r"install -d -o 65532 -g 65532 -m 0700 ([^&]+)", STRIPPED.all("RUN")[0])
    assert made is not None
    assert {*made[1].split(), "/tmp"} == WRITTEN


def test_the_builder_sees_what_is_copied_and_nothing_else() -> None:
    """Everything is ignored but what the file copies; no secret, no history, no environment."""
    lines = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line[1:] for line in rules if line.startswith("!")}
    copies = [one for stage in (BUILT, BUILT_OPERATIONS) for one in stage.all("COPY")]
    assert allowed == {name for one in copies for name in one.split()[:-1]}
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"


# --- built ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Builder:
    """A builder with a storage of its own, which goes with the test, and a base in it."""

    storage: tuple[str, ...]
    base: str = "localhost/mc-base:1"

    def run(self, *arguments: str) -> str:
        """Run it; its standard output."""
        done = self.tries(*arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    def tries(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it."""
        command = ["buildah", *self.storage, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)

    def build(self, tag: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Build the Containerfile."""
        # The build's pip believes the CAs of this machine, as its clients do
        volume = "/etc/ssl/certs:/etc/ssl/certs:ro"
        how = ["--isolation", "chroot", "--layers", "--volume", volume, *options]
        return self.tries("build", *how, "-f", str(CONTAINERFILE), "-t", tag, str(ROOT))


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """With a base that has a Python, made of this machine's packages: no registry can be asked here."""
    for tool in ("buildah", "mmdebstrap"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed here; .ci/run installs it where it can")
    if os.geteuid() != 0:
        pytest.skip("building from a root folder of this machine takes root")
    folder = tmp_path_factory.mktemp("base")
    archive = folder / "root.tar"
    told = Path("/etc/os-release").read_text(encoding="utf-8")
    [release] = re.findall(r"(?m)^VERSION_CODENAME=(\w+)$", told) or [""]
    wanted = "--include=python3,python3-venv,ca-certificates"
    made = subprocess.run(
        ["mmdebstrap", "--variant=minbase", wanted, release, str(archive)],
        check=False,
        stdin=subprocess.DEVNULL,  # it would read sources from it
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if made.returncode != 0:
        pytest.skip(f"no root folder could be made of packages: {made.stderr[-300:]}")
    builder = Builder(("--root", str(folder / "images"), "--runroot", str(folder / "run")))
    try:
        container = builder.run("from", "scratch")
        builder.run("add", container, str(archive), "/")
        archive.unlink()
        builder.run("commit", "--quiet", "--rm", container, builder.base)
        yield builder
    finally:
        builder.tries("umount", "--all")
        builder.tries("rm", "--all")
        builder.tries("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Image:
    """A built image: its configuration, and its files mounted somewhere."""

    config: dict[str, Any]
    root: Path


@pytest.fixture(scope="module")
def build(builder: Builder) -> Callable[[str], Image]:
    """Builds a target as `make image` does, of the local base by its digest, and mounts it."""
    for lock in ("service", "operations"):
        bill = ROOT / "dist" / "sbom" / f"{lock}.cdx.json"
        command = [sys.executable, ROOT / "tools" / "sbom.py", ROOT / f"requirements/{lock}.lock"]
        subprocess.run([*command, bill], check=True)
    digest = builder.run("images", "--format", "{{.Digest}}", builder.base)
    base = f"BASE={builder.base.rpartition(':')[0]}@{digest}"

    def made(target: str) -> Image:
        arguments = ("--build-arg", base, "--build-arg", "COMMIT=0123456789abcdef")
        done = builder.build(f"localhost/{target}:1", "--target", target, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        container = builder.run("from", f"localhost/{target}:1")
        inspected = json.loads(builder.run("inspect", "--type", "image", f"localhost/{target}:1"))
        return Image(inspected["OCIv1"]["config"], Path(builder.run("mount", container)))

    return made


@pytest.fixture(scope="module")
def image(build: Callable[[str], Image]) -> Image:
    """A replica's."""
    return build("service")


@pytest.mark.long
@pytest.mark.parametrize("given", [None, "BASE=", "BASE=localhost/mc-base:1", "BASE=x@sha256:abc"])
def test_a_base_without_a_digest_is_refused(builder: Builder, given: str | None) -> None:
    """A tag moves; whoever gives one, or nothing, gets no image."""
    options = () if given is None else ("--build-arg", given)
    done = builder.build("localhost/none", *options)
    assert done.returncode != 0
    if given == f"BASE={builder.base}":
        assert "BASE names no digest" in done.stderr + done.stdout


def _holds(image: Image, lock: str) -> None:
    """Nothing to build with, and the packages that its bill of materials names."""
    found = [path for path in image.root.rglob("*") if "proc" not in path.parts]
    programs = {path.name for path in found if path.parent.name in ("bin", "sbin")}
    assert {"python", "sh", "curl"} <= programs
    assert not programs & {"pip", "pip3", "gcc", "cc", "pytest", "f2py"}
    assert not {path.name for path in found} & {"pip", "ensurepip", "hatchling", "pytest"}
    modes = (path.lstat().st_mode for path in found if path.is_file())
    assert not [mode for mode in modes if mode & 0o6000]
    [bill_file] = (image.root / "opt/mc-platform/share/sbom").iterdir()
    assert bill_file.name == f"{lock}.cdx.json"
    bill = json.loads(bill_file.read_text(encoding="utf-8"))
    packages = _site(image)
    installed = _installed(packages) - {("mc-platform", _VERSION)}
    known = {(one["name"], one["version"]) for one in bill["components"]}
    assert installed <= known
    optional = {one["name"] for one in bill["components"] if one["scope"] == "optional"}
    assert {name for name, _ in known - installed} <= optional
    assert (packages / "COMMIT").read_text(encoding="ascii") == "0123456789abcdef\n"


@pytest.mark.long
def test_the_image_has_what_a_replica_runs_with_and_nothing_else(image: Image) -> None:
    """No pip, compiler, mcctl or set-uid program."""
    _holds(image, "service")
    names = {path.name for path in (image.root / "opt/mc-platform/bin").iterdir()}
    assert "mcctl" not in names
    assert not [name for name, _ in _installed(_site(image)) if name in ("matplotlib", "typer")]


@pytest.mark.long
def test_that_of_operations_has_mcctl(build: Callable[[str], Image]) -> None:
    """It starts as the same user, and has what mcctl imports."""
    image = build("operations")
    _holds(image, "operations")
    command = ["chroot", f"--userspec={USER}:{USER}", image.root, "env", "-i", "HOME=/tmp"]
    entry = [f"/opt/mc-platform/bin/{image.config['Entrypoint'][0]}", "canary", "plan"]
    done = subprocess.run(
        [*command, *entry, "--minutes", "10"], check=False, capture_output=True, text=True
    )
    assert (done.returncode, "30000 pairs" in done.stdout) == (0, True), done.stderr


def _site(image: Image) -> Path:
    [packages] = image.root.glob("opt/mc-platform/lib/python3.*/site-packages")
    return packages


def _installed(packages: Path) -> set[tuple[str, str]]:
    found = set()
    for folder in packages.glob("*.dist-info"):
        told = (folder / "METADATA").read_text(encoding="utf-8")
        [name] = re.findall(r"(?m)^Name: (.*)$", told)
        [version] = re.findall(r"(?m)^Version: (.*)$", told)
        found.add((re.sub(r"[-_.]+", "-", name).lower(), version))
    return found


@pytest.mark.long
def test_it_serves_from_a_read_only_root_as_a_user_without_a_name(
    image: Image,
    run_postgres: Callable[[], AbstractContextManager[str]],
    free_ports: int,
    tmp_path: Path,
) -> None:
    """A replica of the image accepts, records and drains, with three folders that it may write."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "ledger.key").write_bytes(pem)
    table = 'residency = "eu"\npurposes = ["support"]\n'
    (mounted / "catalogue.toml").write_text(
        f'[tenants.TENANT_001]\n{table}agents = ["a"]\n[agents.a]\n{table}url = "http://127.0.0.1:1"\n'
    )
    with run_postgres() as admin_url:
        service_url = f"postgresql://mc_service:pw@{admin_url.split('@')[1].split('/')[0]}/mc"
        asyncio.run(migrate(admin_url=admin_url, service_url=service_url, credentials={}))
        assert "MC_HOST=0.0.0.0" in image.config["Env"], "else no probe would reach it"
        settings = {
            **dict(one.split("=", 1) for one in image.config["Env"]),
            # It shares this machine's addresses, and the test has its port on loopback alone
            "MC_HOST": "127.0.0.1",
            "MC_DATABASE_URL": service_url,
            "MC_LEDGER_KEY_FILE": "/mnt/ledger.key",
            "MC_CATALOGUE": "/mnt/catalogue.toml",
            "MC_SIGNER_STATE_DIR": "/var/lib/mc-platform/signer",
            "AUDIT_FILE_ENABLED": "true",
            "AUDIT_FILE_PATH": "/var/log/mc-audit/events.log",
            "MC_PORT": str(free_ports),
        }
        process = _contained(image, settings, mounted)
        try:
            url = f"http://127.0.0.1:{free_ports}"
            until(lambda: _health(process, url), what="the replica of the image is healthy")
            running = _health(process, url)["running"]
            assert running["commit"] == "0123456789abcdef"
            assert httpx.post(f"{url}/a2a", trust_env=False, content=b"{}").status_code == 401
            asked = f"curl -s http://localhost:{free_ports}/metrics"
            metrics = subprocess.run(
                ["chroot", f"--userspec={USER}:{USER}", image.root, "sh", "-c", asked],
                check=True,
                capture_output=True,
                text=True,
            )
            assert "mc_a2a_requests_total" in metrics.stdout
        finally:
            process.terminate()
            code = process.wait(30)
        assert code == 0


def _contained(image: Image, settings: dict[str, str], mounted: Path) -> subprocess.Popen[bytes]:
    """The image's entry point, with its root read-only as the orchestrator has it."""
    entry = [*image.config["Entrypoint"], *image.config["Cmd"]]
    root = str(image.root)
    script = f"""
    set -e
    mount --make-rprivate /
    mount --bind "{root}" "{root}"
    for folder in {" ".join(sorted(WRITTEN))}; do
        mount -t tmpfs -o mode=0700,uid={USER},gid={USER} tmpfs "{root}$folder"; done
    mount --bind "{mounted}" "{root}/mnt"
    chmod -R a+rX "{mounted}"
    mount --rbind /proc "{root}/proc"
    mount --rbind /dev "{root}/dev"
    mount -o remount,bind,ro "{root}"
    ! touch "{root}/opt/x" 2>/dev/null
    exec chroot --userspec={USER}:{USER} "{root}" env -i -C {image.config["WorkingDir"]} "$@"
    """
    given = [f"{name}={value}" for name, value in settings.items()]
    return subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh", *given, *entry])


def _health(process: subprocess.Popen[bytes], url: str) -> Any:
    assert process.poll() is None, "the replica ended"
    try:
        answer = httpx.get(f"{url}/health", trust_env=False, timeout=5)
    except httpx.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else None
