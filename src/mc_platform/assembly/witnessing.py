"""Witnesses: this region's checkpoints are cosigned by others, and it cosigns those of others.

Both are off unless `MC_WITNESSES_FILE` names somebody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mc_contract.configuration import FileProblems, toml_of
from mc_contract.ledger.checkpoint import ED25519
from mc_contract.ledger.cosignature import (
    COSIGNATURE,
    VerifierKey,
    cosigner_name,
    parse_verifier_key,
)
from mc_platform.adapters.http import Outgoing
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.witnessing import PostgresCosignedLog, PostgresWitnessStore
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.assembly.keys import ed25519_key
from mc_platform.errors import (
    Inconsistent,
    Misconfigured,
    OtherSize,
    PlatformError,
    RateLimited,
)
from mc_platform.model.reply import Reply
from mc_platform.model.witnesses import Witnesses, parse_witnesses
from mc_platform.observe import metrics
from mc_platform.ports import Clock
from mc_platform.receive.limits import ClientLimiter
from mc_platform.receive.peers import Peers
from mc_platform.record import (
    CheckpointKeeper,
    Cosigner,
    LogWitness,
    Memory,
    ProcessMemory,
    Prover,
    Witness,
    memory_name,
)
from mc_platform.record.checkpoints import ledger_origin
from mc_platform.record.witness_wire import SIZE_TYPE
from mc_platform.record.witnesses import MOST_ANSWER_BYTES, TIMEOUT_S
from mc_platform.settings import Settings

ADD_CHECKPOINT = "/witness/add-checkpoint"
_PER_MIN, _BURST = 120.0, 60
_MOST_AT_ONCE = 16
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """What the settings say, read and checked."""

    file: Witnesses
    key: Ed25519PrivateKey | None


def read_witnesses(settings: Settings, ledger_keys: Sequence[Ed25519PrivateKey]) -> WitnessSettings:
    """The file and the key.

    Raises:
        Misconfigured: either cannot be read, or they do not go together.
    """
    file = Witnesses()
    if settings.witnesses_file is not None:
        try:
            file = parse_witnesses(toml_of(settings.witnesses_file.read_bytes()))
        except OSError as error:
            raise Misconfigured(
                f"MC_WITNESSES_FILE cannot be read: {error.strerror}",
                hint="docs/how-to/witnesses.md has its form",
            ) from error
        except FileProblems as error:
            raise Misconfigured(
                f"MC_WITNESSES_FILE: {error}", hint="docs/how-to/witnesses.md has its form"
            ) from error
    if (settings.witness_key_file is None) != (not file.log):
        raise Misconfigured(
            "MC_WITNESS_KEY_FILE and logs to witness ([[log]] in MC_WITNESSES_FILE) go together",
            hint="set both, or neither: docs/how-to/witnesses.md",
        )
    key = None
    if settings.witness_key_file is not None:
        key = ed25519_key(settings.witness_key_file, "MC_WITNESS_KEY_FILE")
    _refuse_own(settings, file, key, ledger_keys)
    return WitnessSettings(file, key)


def _refuse_own(
    settings: Settings,
    file: Witnesses,
    key: Ed25519PrivateKey | None,
    ledger_keys: Sequence[Ed25519PrivateKey],
) -> None:
    """A key has one purpose, and whoever witnesses itself witnesses nothing."""
    own = [each.public_key().public_bytes_raw() for each in (key, *ledger_keys) if each is not None]
    if len(set(own)) < len(own):
        raise Misconfigured(
            "MC_WITNESS_KEY_FILE holds the ledger's key", hint="make one of its own"
        )
    mine = ledger_origin(settings.region)
    if any(origin == mine or origin.startswith(f"{mine}/") for origin in file.logs):
        raise Misconfigured(
            "MC_WITNESSES_FILE: [[log]] names this region's own log", hint="name the peer's"
        )
    given = [(each.key, COSIGNATURE) for each in file.witness]
    given += [(each.key, ED25519) for each in file.log]
    for text, kind in given:
        named = parse_verifier_key(text, kind)
        if named.public.public_bytes_raw() in own:
            raise Misconfigured(
                f"MC_WITNESSES_FILE: {named.name} has a key of this region's own",
                hint="a witness is somebody else",
            )


@dataclass(slots=True, kw_only=True)
class Witnessing:
    """Both sides, as far as they are configured."""

    cosigner: Cosigner | None
    witness: LogWitness | None
    peers: Peers
    outgoing: Outgoing
    limiter: ClientLimiter = field(
        default_factory=partial(ClientLimiter, per_min=_PER_MIN, burst=_BURST)
    )
    _at_once: int = 0

    def routes(self) -> list[Route]:
        """The routes, for the application to mount."""
        routes = []
        if self.cosigner is not None:
            routes.append(Route("/ledger/checkpoint/cosigned", self._get_cosigned))
        if self.witness is not None:
            routes.append(Route(ADD_CHECKPOINT, self._add_checkpoint, methods=["POST"]))
        return routes

    async def _get_cosigned(self, _request: Request) -> Response:
        """The newest cosigned checkpoint; public, as it is there to be compared."""
        assert self.cosigner is not None
        return PlainTextResponse(await self.cosigner.newest())

    async def _add_checkpoint(self, request: Request) -> Response:
        """C2SP tlog-witness; the signature on the checkpoint is the credential."""
        try:
            line = await self._cosigned(request)
        except PlatformError as error:
            metrics.witness_requests.labels(_status_of(error)).inc()
            if isinstance(error, OtherSize):
                return PlainTextResponse(f"{error.size}\n", 409, media_type=SIZE_TYPE)
            raise
        metrics.witness_requests.labels("cosigned").inc()
        return PlainTextResponse(line)

    async def _cosigned(self, request: Request) -> str:
        assert self.witness is not None
        self.limiter.admit(self.peers.client(request.scope))
        if self._at_once >= _MOST_AT_ONCE:
            raise RateLimited("too many checkpoints are being cosigned", retry_after_s=1.0)
        self._at_once += 1
        try:
            return await self.witness.add_checkpoint(await request.body())
        finally:
            self._at_once -= 1


def _status_of(error: PlatformError) -> str:
    if isinstance(error, OtherSize):
        return "conflict"
    return "inconsistent" if isinstance(error, Inconsistent) else "refused"


def witnessing(
    settings: Settings,
    found: WitnessSettings,
    *,
    log: str,
    pools: Pools,
    checkpoints: CheckpointKeeper,
    prover: Prover,
    peers: Peers,
    clock: Clock,
) -> Witnessing:
    """Both sides from their settings.

    Args:
        log: The name of the log that is written: of the region's newest epoch.
    """
    outgoing = Outgoing()
    cosigner = witness = None
    if found.file.witness:
        cosigner = Cosigner(
            [
                Witness(
                    each.name, each.url, parse_verifier_key(each.key, COSIGNATURE), each.required
                )
                for each in found.file.witness
            ],
            checkpoint=checkpoints.plain,
            proof=prover.consistency,
            store=PostgresCosignedLog(pools, region=log),
            post=post_to(outgoing),
            clock=clock,
            interval_s=settings.witness_interval_s,
        )
    if found.key is not None:
        name = cosigner_name(settings.region)
        own = VerifierKey(name, COSIGNATURE, found.key.public_key())
        witness = LogWitness(
            name=name,
            key=found.key,
            logs=found.file.logs,
            store=PostgresWitnessStore(pools),
            memory=partial(_memory, settings, own),
            clock=clock,
            look_again=_LogsOfFile(settings.witnesses_file, found.file.logs),
        )
    return Witnessing(cosigner=cosigner, witness=witness, peers=peers, outgoing=outgoing)


class _LogsOfFile:
    """The logs in the file of witnesses, read again when it has changed; one that is wrong by then changes nothing."""

    def __init__(self, path: Path | None, logs: Mapping[str, Sequence[VerifierKey]]) -> None:
        self._path, self._logs = path, logs
        self._seen = 0

    def __call__(self) -> Mapping[str, Sequence[VerifierKey]]:
        try:
            if self._path is None or (at := self._path.stat().st_mtime_ns) == self._seen:
                return self._logs
            self._seen = at
            self._logs = parse_witnesses(toml_of(self._path.read_bytes())).logs
        except (OSError, FileProblems) as error:
            _log.warning("witnesses_file_not_read_again", reason=str(error))
        return self._logs


def post_to(outgoing: Outgoing) -> Callable[[str, bytes], Awaitable[Reply]]:
    """Sends a submission to a witness: its answer is bounded, in time as well."""

    async def post(url: str, body: bytes) -> Reply:
        return await outgoing.exchange(
            "POST",
            url,
            timeout_s=TIMEOUT_S,
            most_bytes=MOST_ANSWER_BYTES,
            body=body,
            headers={"Content-Type": "text/plain; charset=utf-8"},
        )

    return post


def _memory(settings: Settings, own: VerifierKey, origin: str) -> Memory:
    if settings.signer_state_dir is None:
        return ProcessMemory()
    name = memory_name(own, origin)
    return SignerFile(settings.signer_state_dir, region=settings.region, name=name)
