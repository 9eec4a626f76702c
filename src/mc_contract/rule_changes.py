"""What a change of a rule set is in words: which items, and which of their keys.

A set is held as `{item: {key: value's digest}}`, e.g. `{"tenants.T": {"autonomy_tier": "9f.."}}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Held = Mapping[str, Mapping[str, str]]


def compare_held(old: Held, new: Held) -> list[str]:
    """`added X`, `removed X`, `changed X (key, key)`, in the order of the items' names."""
    told = []
    for item in sorted(set(old) | set(new)):
        if item not in old:
            told.append(f"added {item}")
        elif item not in new:
            told.append(f"removed {item}")
        elif old[item] != new[item]:
            keys = sorted(
                key
                for key in set(old[item]) | set(new[item])
                if old[item].get(key) != new[item].get(key)
            )
            named = ", ".join(key for key in keys if key)
            told.append(f"changed {item}{f' ({named})' if named else ''}")
    return told


def held_document(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """A document of tables of tables: of each inner table its keys, with digests of their values."""
    held: dict[str, dict[str, str]] = {}
    for table, rows in document.items():
        for name, row in rows.items() if isinstance(rows, Mapping) else ():
            values = row if isinstance(row, Mapping) else {"": row}
            held[f"{table}.{name}"] = {key: value_digest(value) for key, value in values.items()}
    return held


def value_digest(value: Any) -> str:
    """Something that differs when the value does."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
