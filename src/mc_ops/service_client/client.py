"""Calls to the workbench (or the edge before it): health, metrics, messages, tasks.

Only what pre-flight, runbooks and drills need; any A2A client can do more. It never retries:
whoever measures the service must see each failure.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from mc_contract.governance import GOVERNANCE_URI, POLICY_DENIED_CODE
from mc_ops.errors import CouldNotTell, Finding, NotAllowed, UnusableInput
from mc_ops.service_client.http import HttpClient, bearer

SCRAPE_TOKEN_FILE = "MC_SCRAPE_TOKEN_FILE"  # noqa: S105 - the name of a variable
SERVICE = "agent-workbench"  # what the service calls itself in /health


class Denied(Finding):
    """Policy denied the request; the message has the reason and the decision's id."""

    code = "policy-denied"

    def __init__(self, message: str, *, decision_id: str | None) -> None:
        super().__init__(message, hint="policies/ defines what is permitted; nothing was done")
        self.decision_id = decision_id


class NotTheService(CouldNotTell):
    """Something answers, and not as the workbench does."""

    code = "not-the-service"


@dataclass(frozen=True, slots=True)
class Governance:
    """What travels with a message as the governance extension."""

    agent: str = "records"
    purpose: str = "support"
    residency: str = "eu"
    operation: str | None = None

    def as_dict(self) -> dict[str, str]:
        """The extension's value in a message's metadata."""
        value = {
            "agent": self.agent,
            "purpose": self.purpose,
            "residency": self.residency,
        }
        return {**value, "operation": self.operation} if self.operation else value


@dataclass(frozen=True, slots=True)
class Health:
    """What /health said; `http_status` is 503 when the service cannot serve."""

    http_status: int
    status: str
    version: str
    colour: str
    replica: str
    region: str
    dependencies: Mapping[str, Mapping[str, Any]]
    faults: Mapping[str, Any]
    keys: str = ""  # the digest of those in use; empty: not told

    @property
    def serving(self) -> bool:
        """Whether it can serve, perhaps degraded."""
        return self.http_status == httpx.codes.OK


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task: its id, its state without the `TASK_STATE_` prefix, and its governance metadata."""

    id: str
    state: str
    text: str
    governance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a message: its text, and the task if it became one."""

    text: str
    task: TaskView | None


class ServiceClient(HttpClient):
    """One service at one URL, on behalf of one tenant's credential (or of nobody)."""

    HEADERS = {"A2A-Version": "1.0"}  # noqa: RUF012 - typed by HttpClient

    def health(self) -> Health:
        """Ask /health; an unavailable service that says so is an answer, not an error.

        Raises:
            CouldNotTell: nothing answers.
            NotTheService: something else does.
        """
        response = self._send("GET", "/health", accept_failure=True, headers=_scraping())
        body = _json_object(response)
        parts = [body.get(name) or {} for name in ("dependencies", "faults")]
        if body.get("service") != SERVICE or not all(isinstance(one, dict) for one in parts):
            raise NotTheService(
                f"{self.url}/health answers {response.status_code}, and not as {SERVICE} does",
                hint="is it the address of a replica, or of the edge?",
            )
        return Health(
            http_status=response.status_code,
            status=str(body.get("status")),
            version=str(body.get("version", "")),
            colour=str(body.get("colour", "")),
            replica=str(body.get("replica", "")),
            region=str(body.get("region", "")),
            dependencies=parts[0],
            faults=parts[1],
            keys=str((body.get("running") or {}).get("keys") or ""),
        )

    def metrics(self) -> tuple[Sample, ...]:
        """Every sample of /metrics; elsewhere than on this machine with the scrape credential."""
        text = self._send("GET", "/metrics", headers=_scraping()).text
        try:
            return tuple(
                Sample(sample.name, dict(sample.labels), float(sample.value))
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            )
        except ValueError as error:
            raise CouldNotTell(f"{self.url}/metrics is not in the Prometheus format") from error

    def send_message(
        self,
        text: str | None = None,
        *,
        governance: Governance | None = None,
        data: Mapping[str, Any] | None = None,
        message_id: str | None = None,
    ) -> Reply:
        """Send one message and wait for its answer.

        Args:
            text: A text part, if any.
            governance: Which agent, for what purpose; the service has defaults.
            data: A data part, the input of an operation, if any.
            message_id: The idempotency key; a new one by default.

        Raises:
            Denied: by policy.
            NotAllowed: the credential is missing or wrong.
            CouldNotTell: the service is down or failed.
        """
        parts: list[dict[str, Any]] = []
        if text is not None:
            parts.append({"text": text})
        if data is not None:
            parts.append({"data": dict(data)})
        message: dict[str, Any] = {
            "messageId": message_id or str(uuid.uuid4()),
            "role": "ROLE_USER",
            "parts": parts,
        }
        if governance:
            message["metadata"] = {GOVERNANCE_URI: governance.as_dict()}
        result = self._call("SendMessage", {"message": message})
        with self._read():
            if "task" in result:
                task = _task(result["task"])
                return Reply(text=task.text, task=task)
            return Reply(text=_text(result.get("message", {}).get("parts")), task=None)

    def get_task(self, task_id: str) -> TaskView:
        """A task as it stands; raises as `send_message` does."""
        return self._task_by("GetTask", task_id)

    def cancel(self, task_id: str) -> TaskView:
        """Ask for a task's cancellation; raises as `send_message` does."""
        return self._task_by("CancelTask", task_id)

    def _task_by(self, method: str, task_id: str) -> TaskView:
        result = self._call(method, {"id": task_id})
        with self._read():
            return _task(result)

    @contextmanager
    def _read(self) -> Iterator[None]:
        """What is not shaped as A2A's answers are is told as that, whatever it breaks."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise NotTheService(f"{self.url} does not answer as A2A has it") from error

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        body = _json_object(self._send("POST", "/", json=call))
        if error := body.get("error"):
            with self._read():
                raise _rpc_error(method, error)
        result = body.get("result")
        if not isinstance(result, dict):
            raise NotTheService(f"{self.url} answered {method} with neither result nor error")
        return result

    def _send(
        self, method: str, path: str, *, accept_failure: bool = False, **more: Any
    ) -> httpx.Response:
        response = self.reach(method, path, **more)
        status = response.status_code
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NotAllowed(
                f"{self.url} refused the credential with {status}",
                hint=f"{SCRAPE_TOKEN_FILE} names the file of the scrape credential"
                if path in ("/metrics", "/health")
                else "tokens of this machine's platform are in MC_HOME/secrets/credentials.json",
            )
        if status >= httpx.codes.BAD_REQUEST and not accept_failure:
            raise CouldNotTell(f"{self.url}{path} answered {status}")
        return response


def _scraping() -> dict[str, str]:
    """The scrape credential in the file that `MC_SCRAPE_TOKEN_FILE` names, if it names one."""
    name = os.environ.get(SCRAPE_TOKEN_FILE)
    if not name:
        return {}
    try:
        return bearer(Path(name).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise UnusableInput(
            f"{SCRAPE_TOKEN_FILE} {name} cannot be read ({type(error).__name__})",
            hint="it must hold one bearer token",
        ) from error


def _rpc_error(method: str, error: Any) -> Exception:
    error = error if isinstance(error, dict) else {}
    code, message = error.get("code"), str(error.get("message", "no message"))
    if code != POLICY_DENIED_CODE:
        return CouldNotTell(f"{method} failed with {code}: {message}")
    details = error.get("data")
    first = details[0] if isinstance(details, list) and details else {}
    metadata = first.get("metadata", {}) if isinstance(first, dict) else {}
    reason = metadata.get("reason") or message
    decision_id = metadata.get("decision_id")
    return Denied(f"policy denied: {reason} (decision {decision_id})", decision_id=decision_id)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NotTheService(f"{response.url} answered {response.status_code} without a JSON object")
    return body


def _task(value: Mapping[str, Any]) -> TaskView:
    status = value.get("status") or {}
    said = _text((status.get("message") or {}).get("parts"))
    made = "".join(_text(artifact.get("parts")) for artifact in value.get("artifacts") or ())
    return TaskView(
        id=str(value.get("id", "")),
        state=str(status.get("state", "")).removeprefix("TASK_STATE_"),
        text=made or said,
        governance=(value.get("metadata") or {}).get(GOVERNANCE_URI) or {},
    )


def _text(parts: Any) -> str:
    found = parts if isinstance(parts, list) else []
    return "\n".join(str(part["text"]) for part in found if "text" in part)
