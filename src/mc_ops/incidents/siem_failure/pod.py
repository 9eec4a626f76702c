"""The probes from within a replica's pod: what its policies, its DNS and its CA file let it reach.

    probe_siem(target, FromPod("agent-workbench-0", curl))

By the curl that the image has. The key is on its standard input: no list of processes shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from subprocess import CompletedProcess
from typing import Any, Final

import httpx

from mc_ops.errors import UnusableInput
from mc_ops.incidents.finding import Finding, Status
from mc_ops.incidents.siem_failure.probe import TIMEOUT_S, SiemTarget

CURL: Final = ("curl", "--disable", "--config", "-")
"""The command; its settings are its standard input."""
_LAYERS: Final = {  # curl's exit codes
    6: ("dns", "check the host of AUDIT_SIEM_URL, and the cluster's DNS"),
    7: (
        "tcp",
        "is the SIEM up? does an egress policy stand between? scripts/test-egress-policy.sh",
    ),
    28: (
        "tcp",
        "is the SIEM up? does an egress policy stand between? scripts/test-egress-policy.sh",
    ),
    35: ("tls", "is it a TLS port?"),
    60: ("tls", "renew the certificate, or name the CA that signed it in AUDIT_SIEM_CA_FILE"),
    77: ("tls", "AUDIT_SIEM_CA_FILE names no readable file in the pod"),
}


class _NoAnswer(httpx.HTTPError):
    """curl ended without one.

    Attributes:
        code: curl's exit code; None where curl could not be run.
    """

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class FromPod:
    """A pod of the platform.

    Attributes:
        name: The pod's.
        curl: Runs `CURL` in it, with this text as its standard input.
    """

    name: str
    curl: Callable[[str], CompletedProcess[str]]

    def reached(self, target: SiemTarget) -> Finding:
        """As `Through`: DNS, TCP and TLS are one step, named by what fails."""
        host, port = target.address
        if not target.siem_format.needs_key:
            why = "syslog is not tried from a pod"
            return Finding("tcp", Status.unknown, why, "mcctl logs: what the replicas say of it")
        try:
            answer = self.send(target, "POST", target.event_url, {}, b"")
        except _NoAnswer as error:
            detail = f"{host}:{port} from {self.name}: {error}"
            if error.code not in _LAYERS:
                return Finding("tcp", Status.unknown, detail, "kubectl exec must be possible")
            step, remedy = _LAYERS[error.code]
            return Finding(step, Status.failed, detail, remedy)
        where = answer.extensions["reached"]
        verified = ", chain and host name verified" if target.secured else ""
        return Finding("tcp", Status.ok, f"{self.name} reaches {host} at {where}{verified}")

    def send(
        self, target: SiemTarget, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> httpx.Response:
        """As `Through`."""
        done = self.curl(_settings(target, method, url, headers, content))
        try:
            first, _, rest = done.stdout.partition("\n")
            told, found = json.loads(first), json.loads(rest or "{}")
            code, status = int(told["exitcode"]), int(told["http_code"])
        except (ValueError, KeyError, TypeError) as error:
            said = " ".join(done.stderr.split())[:200] or f"exit {done.returncode}"
            raise _NoAnswer(f"curl could not be run: {said}", None) from error
        if code or not status:
            raise _NoAnswer(str(told.get("errormsg") or f"curl ended with {code}"), code)
        response = httpx.Response(
            status,
            headers=_headers(found),
            extensions={"reached": f"{told.get('remote_ip')}:{told.get('remote_port')}"},
        )
        response.elapsed = timedelta(seconds=float(told.get("time_total") or 0))
        return response


def _headers(found: Any) -> list[tuple[str, str]]:
    return [
        (str(name), str(value))
        for name, values in (found.items() if isinstance(found, dict) else ())
        for value in values
        if name.lower() in ("location", "retry-after")
    ]


def _settings(
    target: SiemTarget, method: str, url: str, headers: Mapping[str, str], content: bytes
) -> str:
    options = [
        ("url", url),
        ("request", method),
        ("data-raw", content.decode()),
        *(("header", f"{name}: {value}") for name, value in headers.items()),
        ("max-time", f"{TIMEOUT_S:g}"),
        ("proto", "=http,https"),
        ("noproxy", "*"),
        ("output", "/dev/null"),
    ]
    if target.ca_file:
        options.append(("cacert", str(target.ca_file)))
    lines = [f"{name} = {_quoted(value)}" for name, value in options]
    return "\n".join((*lines, "silent", 'write-out = "%{json}\\n%{header_json}"', ""))


def _quoted(text: str) -> str:
    if any(sign in text for sign in "\r\n\0"):
        raise UnusableInput("a setting of the SIEM has a line end in it")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
