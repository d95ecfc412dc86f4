"""Settings that earlier versions of pnag lacked, or had and no longer have."""

from __future__ import annotations

from typing import Any

# What runs without these settings trained by.
LACKED = {"supernet.fit.last_rate": 0.0, "supernet.fit.averaged": 0.0}

# What these did at these values, which recipes of earlier versions hold, is what is done today.
DROPPED = {"fit": {"ema": 0}}


def without_dropped(section: Any) -> Any:
    """A recipe's section without settings of DROPPED; any other value of them stays, an error."""
    if not isinstance(section, dict):
        return section
    kept = dict(section)
    for name, dropped in DROPPED.items():
        if isinstance(inner := section.get(name), dict):
            kept[name] = {k: v for k, v in inner.items() if k not in dropped or v != dropped[k]}
    return kept
