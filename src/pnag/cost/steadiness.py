"""Whether times were taken while the machine was busy with something else."""

from __future__ import annotations

BUSY_SPREAD = 0.15  # of the machine's speed; on quiet machines it is 0.02 to 0.08


def why_unsure(unsteady: int, spread: float) -> str:
    """What was wrong while times were taken, for people; empty if the machine was steady.

    Args:
        unsteady: disturbed turns that were kept, as too many were. spread: of the machine's speed.
            Both as `timing.Drift` has them.
    """
    if not unsteady and spread <= BUSY_SPREAD:
        return ""
    kept = f", {unsteady:,} disturbed turns had to be kept" if unsteady else ""
    return f"the machine was busy, its speed moved by ±{spread:.0%}{kept}"
