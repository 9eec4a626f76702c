"""A message's parts, with what is found out about them: once, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from mc_platform.model.label import Part
from mc_platform.screen.cost import estimate
from mc_platform.screen.findings import Budget
from mc_platform.screen.message.strings import Leaf, Walk, walked


class Content(tuple[Part, ...]):  # noqa: SLOT001 - a tuple's subclass can have no slots
    """A2A parts in JSON form, which nobody changes from now on.

    What is found out does not travel to another process, and is not part of what compares equal.

    Attributes:
        said: See `screen.said`; None: not asked yet.
        hits: Of texts that screening read, which decoders' prefilter patterns occur in them, and
            whether that of announced pieces does.
        repeats: For a tenant, the fingerprints of what the parts could repeat; None: not asked yet.
    """

    said: tuple[tuple[str, ...], bool] | None
    hits: dict[str, Sequence[int]]
    repeats: tuple[str, frozenset[int]] | None
    _cost_s: dict[bool, float]
    _leaves: Walk | None

    def __new__(cls, parts: Sequence[Part]) -> Self:
        """Nothing is found out yet."""
        made = super().__new__(cls, parts)
        made.said = made.repeats = made._leaves = None
        made.hits = {}
        made._cost_s = {}
        return made

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Content:
        """The parts themselves if they are one already."""
        return parts if type(parts) is cls else cls(parts)

    def __reduce__(self) -> tuple[Callable[[Sequence[Part]], Content], tuple[tuple[Part, ...]]]:
        """Pickled as its parts."""
        return Content, (tuple(self),)

    def cost_s(self, *, modelled: bool = False) -> float:
        """What screening it costs at most; see `cost.estimate`."""
        if modelled not in self._cost_s:
            self._cost_s[modelled] = estimate(self, modelled=modelled)
        return self._cost_s[modelled]

    @property
    def leaves(self) -> list[Leaf]:
        """Every string of the parts, in order."""
        if self._leaves is None:
            self._leaves = walked(self)
        return self._leaves.found

    @property
    def only_leaf(self) -> Leaf | None:
        """The one string, if there is no other and they were walked over already."""
        known = self._leaves
        return known.found[0] if known is not None and len(known.found) == 1 else None

    def leaves_within(self, budget: Budget) -> list[Leaf]:
        """The same, paid from a budget; if that ends, see `message.strings.leaves`."""
        known = self._leaves
        if known is not None:
            return known.found if budget.affords(known.work) else walked(self, budget).found
        walk = walked(self, budget)
        if walk.whole:
            self._leaves = walk
        return walk.found
