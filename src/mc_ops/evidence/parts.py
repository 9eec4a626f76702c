"""What one source gives to a pack: artefacts, the claims over them, and the controls they serve."""

from __future__ import annotations

from dataclasses import dataclass, field

from mc_contract.canonical import Json
from mc_contract.evidence import Claim, Control, Status
from mc_contract.evidence.claims import recompute


@dataclass(slots=True)
class Part:
    """Collects what one source gave; parts are put together by `build`."""

    artifacts: dict[str, bytes] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)

    def claim(self, name: str, fn: str, *sources: str, **params: Json) -> None:
        """Add a claim with the value that `verify` will compute too.

        Raises:
            NotRecomputable: the artefacts do not give one.
        """
        value = recompute(fn, sources, params, self.artifacts)
        self.claims.append(Claim(name, value, fn, sources, dict(params)))

    def measured(self, control: str, reason: str, *claims: str) -> None:
        """Add a control that leans on claims."""
        self.controls.append(Control(control, Status.measured, reason, claims))

    def declared(self, control: str, reason: str) -> None:
        """Add a control that nothing here measured, and say why."""
        self.controls.append(Control(control, Status.declared, reason[:1000], ()))

    def merge(self, other: Part) -> None:
        """Take over all of another part."""
        self.artifacts.update(other.artifacts)
        self.claims.extend(other.claims)
        self.controls.extend(other.controls)


def absent(control: str, reason: str) -> Part:
    """A part of a source that gave nothing."""
    part = Part()
    part.declared(control, reason)
    return part
