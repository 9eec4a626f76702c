"""The platform's keys on disk: made, listed, rotated in two steps that each replica must have taken."""

from __future__ import annotations

from mc_ops.keys.files import SIGNING, KeyFiles
from mc_ops.keys.rotate import Fleet, Rotation, rotate

__all__ = ["SIGNING", "Fleet", "KeyFiles", "Rotation", "rotate"]
