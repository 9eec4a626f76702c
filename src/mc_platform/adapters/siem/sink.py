"""The SIEM in the format that the settings name.

Each format is a module of its own beside this one; docs/reference/siem.md says what they promise.
"""

from __future__ import annotations

from pathlib import Path

from mc_contract.siem import DEFAULT_INDEX, SiemFormat
from mc_platform.adapters.siem.cef import CefSiem
from mc_platform.adapters.siem.elastic import ElasticSiem
from mc_platform.adapters.siem.ocsf import OcsfSiem
from mc_platform.adapters.siem.splunk import Acknowledgement, SplunkSiem


def siem_sink(
    *,
    url: str,
    key: str,
    format: SiemFormat,
    version: str,
    index: str = DEFAULT_INDEX,
    ca_file: Path | None = None,
    hec_ack_required: bool = True,
) -> OcsfSiem | SplunkSiem | ElasticSiem | CefSiem:
    """The sink for `AUDIT_SIEM_URL`; nothing is connected before the first batch.

    What does not belong to the format is not looked at.

    Args:
        url: As `mc_contract.siem.target_problems` accepts it.
        key: What the receiver is shown; empty for CEF.
        format: How events are told.
        version: Of the service.
        index: Elastic's index.
        ca_file: The CA of the SIEM's certificate; None for the system's.
        hec_ack_required: Whether Splunk must acknowledge.

    Raises:
        Misconfigured: `ca_file` cannot be used.
    """
    ca = None if ca_file is None else str(ca_file)
    match format:
        case SiemFormat.ocsf:
            return OcsfSiem(url=url, key=key, version=version, ca_file=ca)
        case SiemFormat.splunk_hec:
            return SplunkSiem(
                url=url,
                key=key,
                version=version,
                acknowledgement=Acknowledgement(required=hec_ack_required),
                ca_file=ca,
            )
        case SiemFormat.elastic:
            return ElasticSiem(url=url, key=key, version=version, index=index, ca_file=ca)
        case SiemFormat.cef:
            return CefSiem(url=url, version=version, ca_file=ca)
