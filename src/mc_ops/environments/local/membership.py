"""What a region of a home with two knows of the other: `secrets/region.json`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from mc_ops.errors import CouldNotTell
from mc_ops.files import read_json_object


@dataclass(frozen=True, slots=True)
class Membership:
    """A region, its peer and what both share.

    Attributes:
        region: Its own name.
        peer: The other's.
        arbiter_url: Where tenants' homes stand, as the regions' role.
        replication_url: The peer's database, as the role that replicates.
        replication_password: Of that role in this region's database.
        neighbours_port: The edge's port of the region that started the sample agents and the SIEM.
    """

    region: str
    peer: str
    arbiter_url: str = field(repr=False)
    replication_url: str = field(repr=False)
    replication_password: str = field(repr=False)
    neighbours_port: int


def read_membership(path: Path) -> Membership | None:
    """What is known of the peer; None where there is none.

    Raises:
        CouldNotTell: the file is damaged.
    """
    hint = "remove it, then `mcctl up --regions 2` of the first region's home writes it again"
    kept = read_json_object(path, hint)
    if kept is None:
        return None
    wanted = {one.name: int if one.name == "neighbours_port" else str for one in fields(Membership)}
    if {name: type(value) for name, value in kept.items()} != wanted:
        raise CouldNotTell(f"{path} is not what a region knows of its peer", hint=hint)
    return Membership(**kept)
