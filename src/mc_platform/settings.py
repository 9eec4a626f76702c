"""One frozen tree of settings, read once at start-up; every problem is reported at once.

Names with a fixed meaning for operators (`AUDIT_*`) have no prefix; all others begin with `MC_`.
Secrets are `SecretStr` and print as `**********`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from mc_contract.configuration import (
    MOST_TENANT_BYTES,
    FileProblems,
    document_digest,
    filled,
    placeholders,
    problems_of,
    toml_of,
)
from mc_contract.numbers import number, whole_number
from mc_contract.rule_changes import held_document
from mc_contract.siem import DEFAULT_INDEX, INDEX_PATTERN, SiemFormat, target_problems
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import (
    LEAST_RETENTION_DAYS,
    MOST_RETENTION_DAYS,
    Catalogue,
    parse_catalogue,
)

_OF_THE_TOOLS = (
    "MC_DATABASE_ADMIN_URL", "MC_ARBITER_ADMIN_URL", "MC_HOME", "MC_EDGE_PORT", "MC_EDGE_STATE_FILE",
    "MC_EDGE_CONTROL_SOCKET", "MC_TOKEN_FILE", "MC_CANARY_TOKEN", "MC_PRICES_FILE",
    "MC_PROMETHEUS_TOKEN_FILE", "MC_SIEM_KEY_FILE", "MC_SIEM_FAIL", "MC_CREDENTIALS_FILE",
    "MC_SAMPLE_HOST", "MC_EGRESS_TABLE", "MC_REDTEAM_AGENT_URL", "MC_REPLICATION_PEER",
    "MC_REPLICATION_PEER_URL", "MC_REPLICATION_PASSWORD", "MC_REPLICATION_PASSFILE", "MC_LOG_FILE",
)  # fmt: skip
"""Variables of `mcctl` and of the service's neighbours, from whose environment it may inherit."""
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP)|$)")
"""What Kubernetes sets for each service, whatever the service is called."""
_NEAR = 0.75


class Settings(BaseSettings):
    """Settings of one workbench process."""

    model_config = SettingsConfigDict(
        env_prefix="MC_", frozen=True, extra="ignore", allow_inf_nan=False
    )

    database_url: SecretStr
    colour: str = Field(default="blue", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    replica: str = Field(default="blue-1", pattern=r"^[a-z][a-z0-9-]{0,60}$")
    pod_uid: str = Field(default="", pattern=r"^[A-Za-z0-9-]{0,64}$")
    region: str = Field(default="local-1", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=1, le=65535)
    public_url: str = "http://127.0.0.1:8080"
    catalogue: Path = Path("deploy/local/catalogue.toml")
    policy_dir: Path = Path("policies")
    ledger_key_file: Path
    keyring_file: Path | None = None
    pseudonym_key_file: Path | None = None
    signer_state_dir: Path | None = None
    witnesses_file: Path | None = None
    witness_key_file: Path | None = None
    witness_interval_s: float = Field(default=10.0, ge=1, le=3600)
    arbiter_url: SecretStr | None = None
    peers_file: Path | None = None
    sync_wait_s: float = Field(default=2.0, gt=0, le=60)

    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    max_json_values: int = Field(default=5000, ge=100, le=1_000_000)
    max_json_depth: int = Field(default=64, ge=16, le=200)
    ner_pipeline: str = Field(default="", max_length=4096)
    worker_processes: int = Field(default=2, ge=1, le=64)
    worker_deadline_s: float = Field(default=10.0, ge=1, le=60)
    large_messages_queued_per_tenant: int = Field(default=16, ge=1, le=10_000)
    rate_limit_per_s: float = Field(default=500.0, gt=0)
    rate_limit_burst: int = Field(default=1000, ge=1)
    credential_cache_s: float = Field(default=5.0, ge=0, le=300)
    authentication_failures_per_min: float = Field(default=600.0, gt=0, le=1_000_000)
    authentication_failures_burst: int = Field(default=300, ge=1)
    trusted_proxies: str = ""
    loopback_is_local: bool = True
    scrape_token_file: Path | None = None
    health_cache_s: float = Field(default=1.0, ge=0, le=60)
    connections: int = Field(default=4096, ge=16, le=65536)
    connections_per_peer: int = Field(default=1024, ge=1)
    head_timeout_s: float = Field(default=30.0, ge=0.1, le=600)
    body_timeout_s: float = Field(default=30.0, gt=0, le=600)
    write_timeout_s: float = Field(default=30.0, gt=0, le=600)
    checkpoint_interval_s: float = Field(default=1.0, gt=0)
    questions_at_once_per_tenant: int = Field(default=64, ge=1, le=10_000)
    questions_at_once_per_agent: int = Field(default=128, ge=2, le=10_000)
    operations_awaited_per_tenant: int = Field(default=256, ge=1, le=10_000)
    slot_wait_s: float = Field(default=1.0, gt=0, le=60)
    operation_wait_s: float = Field(default=60.0, gt=0)
    operations_at_once: int = Field(default=32, ge=2, le=256)
    operations_at_once_per_tenant: int = Field(default=16, ge=2, le=256)
    application_version: str = Field(default="", pattern=r"^[A-Za-z0-9._+-]{0,64}$")
    drain_s: float = Field(default=10.0, ge=0)
    retention_days: int = Field(default=365, ge=LEAST_RETENTION_DAYS, le=MOST_RETENTION_DAYS)
    retention_interval_s: float = Field(default=21_600.0, ge=60, le=604_800)
    breaker_enabled: bool = True
    breaker_ratio: float = Field(default=0.005, gt=0, lt=1)
    breaker_window_s: float = Field(default=86_400.0, gt=0)
    breaker_min_operations: int = Field(default=100, ge=1)
    breaker_interval_s: float = Field(default=15.0, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    audit_siem_url: str | None = Field(default=None, validation_alias="AUDIT_SIEM_URL")
    audit_siem_key: SecretStr | None = Field(default=None, validation_alias="AUDIT_SIEM_KEY")
    audit_siem_format: SiemFormat = Field(
        default=SiemFormat.ocsf, validation_alias="AUDIT_SIEM_FORMAT"
    )
    audit_siem_index: str = Field(
        default=DEFAULT_INDEX,
        pattern=INDEX_PATTERN,
        max_length=200,
        validation_alias="AUDIT_SIEM_INDEX",
    )
    audit_siem_ca_file: Path | None = Field(default=None, validation_alias="AUDIT_SIEM_CA_FILE")
    audit_siem_hec_ack: Literal["required", "off"] = Field(
        default="required",
        validation_alias="AUDIT_SIEM_HEC_ACK",
    )
    audit_siem_insecure: bool = Field(default=False, validation_alias="AUDIT_SIEM_INSECURE")
    audit_file_enabled: bool = Field(default=False, validation_alias="AUDIT_FILE_ENABLED")
    audit_file_path: Path | None = Field(default=None, validation_alias="AUDIT_FILE_PATH")
    audit_file_after_s: float = Field(default=30.0, ge=0)
    audit_file_max_bytes: int = Field(default=67_108_864, ge=65_536)
    audit_file_keep: int = Field(default=10, ge=1)
    siem_drain_events_per_s: float = Field(default=5000.0, ge=100)
    siem_late_after_s: float = Field(default=60.0, gt=0)

    faults_allowed: bool = False
    fault_slow_factor: float = Field(default=1.0, ge=1.0, le=100.0)
    fault_error_ratio: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _hold_together(self) -> Settings:
        problems = []
        if self.audit_siem_url:
            problems += target_problems(
                self.audit_siem_url,
                siem_format=self.audit_siem_format,
                has_key=bool(self.audit_siem_key and self.audit_siem_key.get_secret_value()),
                insecure=self.audit_siem_insecure,
            )
        if self.audit_file_enabled and not self.audit_file_path:
            problems.append("AUDIT_FILE_ENABLED is true, AUDIT_FILE_PATH is not set")
        if self.faulty and not self.faults_allowed:
            problems.append(
                "MC_FAULT_SLOW_FACTOR or MC_FAULT_ERROR_RATIO is set without MC_FAULTS_ALLOWED=1; "
                "faults are for rehearsals only"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_plain(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        read = {int: whole_number, float: number}.get(kind) if isinstance(kind, type) else None
        if read is None or not isinstance(value, str):
            return value
        try:
            return read(value)
        except ValueError:
            raise ValueError from None  # without words of its own: the form and its bounds are told

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for place, word in enumerate(text.replace(",", " ").split(), 1):
            try:
                ip_network(word)
            except ValueError:
                raise ValueError(
                    f"entry {place} is no address and no network (CIDR, host bits zero)"
                ) from None
        return text

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `MC_TRUSTED_PROXIES`."""
        return tuple(ip_network(word) for word in self.trusted_proxies.replace(",", " ").split())

    @property
    def faulty(self) -> bool:
        """Whether a fault switch is on; `/health` shows it."""
        return self.fault_slow_factor > 1.0 or self.fault_error_ratio > 0.0


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        Misconfigured: with every problem, by the name of its variable; never with a value.
    """
    problems = []
    settings = None
    try:
        settings = Settings()  # type: ignore[call-arg]  # pydantic reads the environment
    except ValidationError as error:
        problems = problems_of(error, Settings, path=_variable)
    problems += [
        f"{name} is unknown; did you mean {near}?"
        for name, near in _strange_variables(settings)
        if near
    ]
    if settings is None or problems:
        raise Misconfigured(
            f"settings do not hold together: {'; '.join(problems)}",
            hint="each is described in docs/reference/settings.md",
        )
    return settings


def unknown_variables(settings: Settings) -> list[str]:
    """Variables that begin as a setting does, and mean nothing here."""
    return [name for name, _ in _strange_variables(settings)]


def _strange_variables(settings: Settings | None) -> Iterator[tuple[str, str]]:
    """Variables that are no setting and nobody else's, each with the setting that is near, if any."""
    known = {
        _variable((field.validation_alias or name,))
        for name, field in Settings.model_fields.items()
    }
    path = settings.catalogue if settings else Path(os.environ.get("MC_CATALOGUE") or "")
    others = set(_OF_THE_TOOLS)
    with suppress(Misconfigured):  # by its text: it is parsed once, where it is needed
        others |= placeholders(_catalogue_bytes(path).decode(errors="replace"))
    for name in sorted(os.environ):
        ours = name.startswith(("MC_", "AUDIT_SIEM_", "AUDIT_FILE_"))
        if ours and name not in known | others and not _SERVICE_LINK.search(name):
            near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
            yield name, near[0] if near else ""


def _variable(location: tuple[Any, ...]) -> str:
    if not location:
        return "settings"
    name = str(location[0])
    return name if name.isupper() else f"MC_{name.upper()}"


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """The catalogue's file, as it was read at one moment.

    Attributes:
        catalogue: What it declares.
        digest: SHA-256 of what it says, with the values of its placeholders.
        held: What it holds, without them, by which a change is told (`rule_changes`).
    """

    catalogue: Catalogue
    digest: str
    held: Mapping[str, Mapping[str, str]]


def open_catalogue(path: Path) -> CatalogueFile:
    """Read the file once, for all that a replica needs of it; raises as `load_catalogue` does."""
    raw = read_catalogue(path)
    catalogue, document = _parsed(path, raw, unset=None)
    return CatalogueFile(catalogue, document_digest(document), held_document(raw))


def load_catalogue(
    path: Path, *, unset: str | None = None, raw: dict[str, Any] | None = None
) -> Catalogue:
    """Read the catalogue file; `${MC_NAME}` in its strings comes from the environment.

    Args:
        path: The file.
        unset: What stands for a variable that is not set; None refuses the file.
        raw: What `read_catalogue` gave, if it was asked already.

    Raises:
        Misconfigured: unreadable, an unset placeholder, or anything that is wrong with it.
    """
    return _parsed(path, read_catalogue(path) if raw is None else raw, unset=unset)[0]


def _parsed(path: Path, raw: dict[str, Any], *, unset: str | None) -> tuple[Catalogue, Any]:
    """The catalogue, and its document with the placeholders filled."""
    missing = unset_variables(raw)
    if missing and unset is None:
        raise Misconfigured(
            f"catalogue {path} names unset variables: {', '.join(missing)}",
            hint="set them, or write the values into the catalogue",
        )
    try:
        document = filled(raw, os.environ, unset or "")
        return parse_catalogue(document, shown=raw), document
    except FileProblems as error:
        raise Misconfigured(
            f"catalogue {path}: {error}", hint="docs/reference/catalogue.md has every key"
        ) from error


def read_catalogue(path: Path) -> dict[str, Any]:
    """The catalogue's document as the file has it, placeholders and all.

    Raises:
        Misconfigured: it is unreadable, or no TOML.
    """
    try:
        return toml_of(_catalogue_bytes(path), most_bytes=MOST_TENANT_BYTES)
    except FileProblems as error:
        raise Misconfigured(f"catalogue {path} cannot be read: {error}") from error


def _catalogue_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_TENANT_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"catalogue {path} cannot be read: {error.strerror}", hint="MC_CATALOGUE names it"
        ) from error


def unset_variables(raw: Any) -> list[str]:
    """The variables that a catalogue's document names and the environment does not have."""
    return sorted(placeholders(raw) - set(os.environ))
