"""What moves cost: measured on the machine at hand, and priced before the first measurement."""

from hotbunk.costs.moves import MoveCosts

__all__ = ["MoveCosts"]
