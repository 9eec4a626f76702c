"""Credentials and rule changes over HTTP, for administrators.

    GET  /operator/credentials                     ?tenant=; without secrets
    POST /operator/credentials                     {"tenant", "reason", "principal"?, "role"?,
                                                    "scopes"?, "expires_in_s"?}
    POST /operator/credentials/{key id}/rotate     {"reason", "overlap_s"?, "expires_in_s"?}
    POST /operator/credentials/{key id}/revoke     {"reason"}
    GET  /operator/tenants                         the catalogue's tenants, and their credentials
    POST /operator/rules/declare                   {"kind", "digest", "reason"}

A secret is in the answer to the request that made it, and nowhere else: the database has its hash.
The change is in the ledger before the answer leaves. What is ended is refused by this replica at
once, and by all others when their cache of it ends (`MC_CREDENTIAL_CACHE_S`).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_contract.credential import KEY_ID_FORM, new_token, parts_of
from mc_platform.adapters.postgres.credentials import PostgresCredentials
from mc_platform.adapters.postgres.rules import PostgresRules
from mc_platform.errors import BadRequest, Conflict, NotFound
from mc_platform.model.credential import (
    LONGEST_LIFE_S,
    LONGEST_OVERLAP_S,
    OF_ROLE,
    Credential,
    Scope,
)
from mc_platform.model.event import Kind
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.model.verdict import Action, Decision
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import ReasonBody, fields_json, known_tenant, read_body
from mc_platform.query.parameters import refuse_unknown

_MOST_LISTED = 1000
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_KEY_ID = re.compile(KEY_ID_FORM)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class CreateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whose credential, and what for."""

    tenant: str
    reason: str
    principal: str = ""
    role: Role = Role.agent
    scopes: list[Scope] = []
    expires_in_s: int | None = None


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old one holds beside the new one, and when the new one ends."""

    reason: str
    overlap_s: int = 0
    expires_in_s: int | None = None


class DeclareBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which set comes into force, and why."""

    kind: Literal["policy_set", "catalogue", "keyring"]
    digest: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialHandlers(Handlers):
    """Answers them.

    Attributes:
        catalogued: The catalogue's tenants.
        forget: Takes a key id out of this replica's cache.
    """

    credentials: PostgresCredentials
    rules: PostgresRules
    catalogued: Mapping[TenantId, Tenant]
    forget: Callable[[str], None]

    def routes(self) -> list[Route]:
        return [
            Route("/operator/credentials", self.listed, methods=["GET"]),
            Route("/operator/credentials", self.create, methods=["POST"]),
            Route("/operator/credentials/{id}/rotate", self.rotate, methods=["POST"]),
            Route("/operator/credentials/{id}/revoke", self.revoke, methods=["POST"]),
            Route("/operator/tenants", self.tenants, methods=["GET"]),
            Route("/operator/rules/declare", self.declare, methods=["POST"]),
        ]

    async def listed(self, request: Request) -> Response:
        await self.permit(request, Action.read_credentials)
        refuse_unknown(request, "tenant")
        name = request.query_params.get("tenant")
        tenant = None if name is None else known_tenant(name, self.catalogued)
        found = await self.credentials.listed(tenant, _MOST_LISTED + 1)
        listed = [fields_json(credential) for credential in found[:_MOST_LISTED]]
        return JSONResponse({"credentials": listed, "more": len(found) > _MOST_LISTED})

    async def create(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.manage_credential)
        asked = await read_body(request, CreateBody)
        tenant = known_tenant(asked.tenant, self.catalogued)
        if (asked.role == Role.agent) == (tenant == PLATFORM):
            raise BadRequest(
                f"a role other than agent belongs to the tenant {PLATFORM}, and no agent does",
                hint=f"got role {asked.role} of {tenant}",
            )
        holder = asked.principal or f"{asked.role}@{tenant.lower().replace('_', '-')}"
        if not _PRINCIPAL.fullmatch(holder):
            raise BadRequest("principal has 1 to 128 letters, digits, . _ @ + or -")
        scopes = self._scopes(asked, principal)
        life_s = _seconds("expires_in_s", asked.expires_in_s, 1, LONGEST_LIFE_S)
        said = self._said(principal, decision, asked.reason)
        token = new_token()
        key_id, secret = parts_of(token)
        made = await self.credentials.create(
            key_id,
            _hash(secret),
            tenant=tenant,
            principal=PrincipalId(holder),
            role=asked.role.value,
            scopes=scopes,
            life_s=life_s,
            said=said,
        )
        return await self._shown_once(made, token)

    async def rotate(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.manage_credential)
        asked = await read_body(request, RotateBody)
        overlap_s = _seconds("overlap_s", asked.overlap_s, 0, LONGEST_OVERLAP_S)
        life_s = _seconds("expires_in_s", asked.expires_in_s, 1, LONGEST_LIFE_S)
        said = self._said(principal, decision, asked.reason)
        old = await self._known(request)
        # Another one for a tenant that is gone would open nothing
        known_tenant(old.tenant, self.catalogued)
        _require_no_more(old.role, old.scopes, principal)
        token = new_token()
        key_id, secret = parts_of(token)
        made = await self.credentials.rotate(
            old.key_id,
            key_id,
            _hash(secret),
            overlap_s=overlap_s or 0,
            life_s=life_s,
            by=principal.id,
            said={**said, "rotated_from": old.key_id, "rotated_to": key_id},
        )
        if made is None:
            raise Conflict(
                "the credential has ended, or is ending since it was rotated",
                hint="only one that holds, and was not rotated, can be rotated",
            )
        self.forget(old.key_id)
        return await self._shown_once(made, token)

    async def revoke(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.manage_credential)
        asked = await read_body(request, ReasonBody)
        said = self._said(principal, decision, asked.reason)
        old = await self._known(request)
        ended = await self.credentials.revoke(old.key_id, by=principal.id, said=said)
        if ended is None:
            raise Conflict("the credential is revoked already")
        self.forget(old.key_id)
        # Ended before it is told: ending must not wait for the ledger
        await self.rules.record_untold()
        return JSONResponse(fields_json(ended))

    async def tenants(self, request: Request) -> Response:
        await self.permit(request, Action.read_credentials)
        holding = await self.credentials.holding()
        declared = [
            {
                "id": tenant.id,
                "declared": True,
                "residency": tenant.residency,
                "purposes": sorted(tenant.purposes),
                "agents": sorted(tenant.agents),
                "autonomy_tier": tenant.autonomy_tier,
                "generally_available": tenant.generally_available,
                "credentials": holding.get(tenant.id, 0),
            }
            for tenant in self.catalogued.values()
        ]
        strays = sorted(set(holding) - {str(name) for name in self.catalogued})
        declared += [
            {"id": name, "declared": False, "credentials": holding[name]} for name in strays
        ]
        return JSONResponse({"tenants": declared})

    async def declare(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.change_rules)
        asked = await read_body(request, DeclareBody)
        if not _DIGEST.fullmatch(asked.digest):
            raise BadRequest("digest must be 64 hex digits", hint="mcctl policy check tells it")
        reason = self.reason(asked.reason)
        declaration = uuid.uuid4()
        detail = {
            "subject": asked.digest,
            "declaration": str(declaration),
            "what": asked.kind,
            "new": asked.digest,
            "reason": reason,
        }
        await self.recorder.record(Kind.rules_declared, PLATFORM, principal, decision, detail)
        await self.rules.declare(
            declaration,
            kind=asked.kind,
            digest=asked.digest,
            principal=principal.id,
            reason=reason,
        )
        answer = {"declaration": str(declaration), "principal": principal.id, "reason": reason}
        return JSONResponse(answer, status_code=201)

    # -- what all of them need ----------------------------------------------------------------

    async def _shown_once(self, made: Credential, token: str) -> Response:
        # A credential of which the ledger knows nothing has no reader: its secret is not told
        await self.rules.record_untold()
        return JSONResponse(
            {**fields_json(made), "token": token}, 201, {"Cache-Control": "no-store"}
        )

    async def _known(self, request: Request) -> Credential:
        key_id = request.path_params["id"]
        found = await self.credentials.get(key_id) if _KEY_ID.fullmatch(key_id) else None
        if found is None:
            raise NotFound("no such credential", hint="mcctl credential list has the key ids")
        return found

    def _scopes(self, asked: CreateBody, principal: Principal) -> list[str]:
        most = OF_ROLE[asked.role]
        scopes = set(asked.scopes) or ({Scope.a2a} if asked.role == Role.agent else set())
        if not scopes or not scopes <= most:
            raise BadRequest(
                f"scopes of a credential with the role {asked.role} are some of "
                f"{', '.join(sorted(most))}",
                hint="name them: the fewest that will do",
            )
        _require_no_more(asked.role, scopes, principal)
        return sorted(scopes)

    def _said(self, principal: Principal, decision: Decision, reason: str) -> dict[str, Any]:
        return self.recorder.detail(principal, decision, {"reason": self.reason(reason)})


def _require_no_more(role: str, scopes: Collection[str] | None, principal: Principal) -> None:
    """What an administrator makes, or makes again, is no administrator with more scopes than its own."""
    every = OF_ROLE[Role.administrator]
    own = every if principal.scopes is None else principal.scopes
    if role == Role.administrator and not set(every if scopes is None else scopes) <= set(own):
        raise BadRequest(
            "an administrator can make another one with no more scopes than its own",
            hint=f"own: {', '.join(sorted(own))}",
        )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _seconds(name: str, value: int | None, least: int, most: int) -> float | None:
    if value is None:
        return None
    if not least <= value <= most:
        raise BadRequest(f"{name} must be {least} to {most}, got {value}")
    return float(value)
