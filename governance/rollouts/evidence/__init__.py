"""Evidence packs: everything behind a promotion or a period, checkable without Countersign."""

from governance.rollouts.evidence.packing import (
    Packed,
    pack_period,
    pack_promotion,
    period_label,
)

__all__ = ("Packed", "pack_period", "pack_promotion", "period_label")
