"""What a Prometheus and an Alertmanager of this machine need to watch one local platform.

The checked-in files of `deploy/` are taken as they are, but for what only this machine knows: which
replicas run, where they listen, where the rules lie, and the token that lets an alert halt autonomy.
Nothing is started here. The list of targets is a file of its own at which Prometheus looks again, so
after `mcctl scale` it is enough to write it anew (`refresh`).
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mc_ops.environments import credentials
from mc_ops.environments.interface import BASELINE, Colour, Environment
from mc_ops.environments.workspace import checkout
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import write_atomically

_CREDENTIAL = "ALERTMANAGER"
_HALTING = "halt-autonomy"
_FOLDER, _TARGETS = "monitoring", "targets.json"
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What was written, and how the two are started.

    Attributes:
        targets: Each replica's name and `host:port`.
        commands: Argument lists, of Prometheus and of Alertmanager; run from anywhere.
    """

    folder: Path
    targets: dict[str, str]
    commands: tuple[tuple[str, ...], tuple[str, ...]]


def write(
    environment: Environment,
    *,
    folder: Path | None = None,
    prometheus: str = "127.0.0.1:9090",
    alertmanager: str = "127.0.0.1:9093",
) -> Monitoring:
    """Write `prometheus.yml`, `targets.json`, `alertmanager.yml` and the token's file.

    Args:
        environment: The platform that is to be watched; it must run.
        folder: Where to; default `MC_HOME/monitoring`. It is made, for this user alone.
        prometheus: Where Prometheus shall listen, `host:port`.
        alertmanager: Where Alertmanager shall listen.

    Raises:
        UnusableInput: an address is none, or the checkout has no rules.
        CouldNotTell: no replica runs, or the files cannot be written.
    """
    for address in (prometheus, alertmanager):
        if not _ADDRESS.fullmatch(address):
            raise UnusableInput(
                f'"{address}" is no address', hint="form: host:port, for example 127.0.0.1:9090"
            )
    targets = _targets(environment)
    source = checkout() / "deploy"
    folder = (folder or environment.workspace.home / _FOLDER).absolute()
    texts = {
        _TARGETS: _targets_file(targets),
        "prometheus.yml": _prometheus(
            source / "prometheus", folder, alertmanager, environment.workspace.scrape_token
        ),
        "alertmanager.yml": _alertmanager(source / "alertmanager", folder, environment.url),
        "alertmanager.token": credentials.tenant_token(environment.workspace, _CREDENTIAL) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, text in texts.items():
            write_atomically(folder / name, text)
    except OSError as error:
        raise CouldNotTell(
            f"{folder} cannot be written: {error.strerror}", hint="give another folder with --out"
        ) from error
    return Monitoring(
        folder=folder,
        targets={entry["labels"]["instance"]: entry["targets"][0] for entry in targets},
        commands=_commands(folder, prometheus, alertmanager),
    )


def refresh(environment: Environment) -> None:
    """Write the targets anew, where `write` has written them into the platform's own folder.

    Raises:
        CouldNotTell: no replica runs.
        OSError: the file cannot be written.
    """
    file = environment.workspace.home / _FOLDER / _TARGETS
    if file.exists():
        write_atomically(file, _targets_file(_targets(environment)))


def _targets_file(targets: list[dict[str, Any]]) -> str:
    return json.dumps(targets, indent=2) + "\n"


def _targets(environment: Environment) -> list[dict[str, Any]]:
    found = [
        {
            "targets": [instance.url.removeprefix("http://")],
            "labels": {"instance": instance.name, "colour": str(group)},
        }
        for group in (*Colour, BASELINE)
        for instance in environment.instances(group)
    ]
    if not found:
        raise CouldNotTell("no replica of the workbench runs here", hint="start it: mcctl up")
    return found


def _prometheus(source: Path, folder: Path, alertmanager: str, credential: Path) -> str:
    settings = _read(source / "prometheus.local.yml")
    settings["rule_files"] = [f"{_literal(source)}/{pattern}" for pattern in settings["rule_files"]]
    [static] = settings["alerting"]["alertmanagers"][0]["static_configs"]
    static["targets"] = [alertmanager]
    for job in settings["scrape_configs"]:
        job["authorization"] = {"credentials_file": str(credential)}
        for discovery in job["file_sd_configs"]:
            discovery["files"] = [f"{_literal(folder)}/{name}" for name in discovery["files"]]
    return _yaml(settings)


def _literal(folder: Path) -> str:
    """A folder where Prometheus reads a pattern.

    A star stands as "any character": Prometheus refuses one, escaped or not, but in a file's name.
    """
    return re.sub(r"[\[?\\]", r"\\\g<0>", str(folder)).replace("*", "?")


def _alertmanager(source: Path, folder: Path, url: str) -> str:
    """The routes as they are; only the platform's own webhook is reached from a laptop."""
    settings = _read(source / "alertmanager.yml")
    receivers = []
    for receiver in settings["receivers"]:
        if receiver["name"] != _HALTING:
            receivers.append({"name": receiver["name"]})
            continue
        [webhook] = receiver["webhook_configs"]
        webhook["url"] = f"{url}/operator/alertmanager"
        webhook["http_config"]["authorization"]["credentials_file"] = str(
            folder / "alertmanager.token"
        )
        receivers.append(receiver)
    return _yaml({**settings, "receivers": receivers})


def _commands(
    folder: Path, prometheus: str, alertmanager: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    # Debian calls it after the project it belongs to
    names = ("alertmanager", "prometheus-alertmanager")
    program = next((name for name in names if shutil.which(name)), names[0])
    return (
        (
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus-data'}",
            f"--web.listen-address={prometheus}",
        ),
        (
            program,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager-data'}",
            f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=",  # one Alertmanager: no port for its peers
        ),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableInput(
            f"{path} cannot be read: {error.strerror}", hint="run mcctl from a checkout"
        ) from error
    return settings


def _yaml(settings: dict[str, Any]) -> str:
    head = "# Written by `mcctl prometheus write`; edit the file under deploy/ instead.\n"
    return head + yaml.safe_dump(settings, sort_keys=False, width=100)
