"""What is measured, its target, whether it is met, and the record behind it: the rows of the tables of results.

Decisions:
- Whether a target is met is computed from the record, never typed; one without a threshold says so by `met=None`.
- Seconds and rates depend on the machine: such rows (`absolute`) are shown with the one they were measured on.
- A part of the project has a file of rows in `target_rows`.
"""

from stepladder.dev.target_rows import captions, ladder, machines, pde, plateau, road, roofs, scroll
from stepladder.dev.target_rows.row import Row

# By part of the project.
ROWS: dict[str, tuple[Row, ...]] = {
    "The road": road.ROWS,
    "The ladder": ladder.ROWS,
    "Rented machines": machines.ROWS,
    "PLATEAU": plateau.ROWS,
    "Scroll": scroll.ROWS,
    "PDE": pde.ROWS,
    "Roofs": roofs.ROWS,
    "Captions": captions.ROWS,
}
