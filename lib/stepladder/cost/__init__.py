"""What a run will cost, and what it did: offers of machines, the projection, the bill, a plan's numbers."""
