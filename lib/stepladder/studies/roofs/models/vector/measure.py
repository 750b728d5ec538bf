"""What is measured on roofs, in true metres: areas along the slope, lengths in space, and the report they make.

Decisions:
- A roof is small: around its middle, one 2 x 2 matrix takes a step in pixels to metres of east and north, measured by
  geodesics where the image has a georeference. So neither a degree that is shorter to the east nor EPSG:3857's metres,
  too long by 1 / cos(latitude), enters. Without one, `gsd_m` is all there is, and up is north.
- A face's area is that of its plan by cos(pitch); an edge's length is that in space, its rise told by the faces beside
  it (the mean, if they disagree). Where a pitch is not known, both are those of the plan.
- Where the image cuts a roof off, the edge is untyped and the roof not `whole`: its totals are of what is seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
import pandas as pd

from stepladder.studies.roofs.data.georeference import ELLIPSOID, Georeference
from stepladder.studies.roofs.data.labels import LINES, SECTORS
from stepladder.studies.roofs.models.vector.faces import Face, Line
from stepladder.studies.roofs.models.vector.roofs import Roof

POINTS: Final = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
STEP: Final = 8.0  # pixels of the geodesics that tell the metres of a pixel
KINDS: Final = (*LINES, "untyped")
ROOF: Final = (
    *("roof", "whole", "faces", "plan_m2", "area_m2", "pitch_deg", "perimeter_m", "eave_height_m"),
    *(f"{kind}_m" for kind in KINDS),
)
FACTS: Final = {
    "plan_m2": "area of the plan, m²",
    "area_m2": "area along the slope, m²",
    "pitch_deg": "pitch of the largest face, degrees",
    "perimeter_m": "perimeter, m",
    "eave_height_m": "height of the eave, m",
    "faces": "faces",
}
TOTALS: Final = ("plan_m2", "area_m2", "perimeter_m", *(f"{kind}_m" for kind in KINDS))
FACE: Final = ("roof", "face", "area_m2", "plan_m2", "pitch_deg", "azimuth_deg", "faces_to", "height_m", "score")
LINE: Final = ("roof", "type", "length_m", "plan_m", "score")


@dataclass(frozen=True)
class Report:
    """Tables of all roofs (one row per roof, face, line), numbered from 1, and what they say in words."""

    roofs: pd.DataFrame
    faces: pd.DataFrame
    lines: pd.DataFrame

    def markdown(self) -> str:
        """The report as text with tables."""
        return "\n\n".join(f"{'#' * level} {title}\n\n{_markdown(table)}" for level, title, table in self._sections())

    def html(self) -> str:
        """The report as a fragment of HTML."""
        return "\n".join(
            f"<h{level}>{escape(title)}</h{level}>\n{table.to_html(index=False, border=0, na_rep='-')}"
            for level, title, table in self._sections()
        )

    def _sections(self) -> Iterator[tuple[int, str, pd.DataFrame]]:
        totals = self.roofs[list(TOTALS)].sum().astype(float).round(1)
        yield 1, f"Roof report: {len(self.roofs)} roofs", totals.to_frame().T
        for number, facts in self.roofs.set_index("roof").iterrows():
            seen = "" if facts["whole"] else ", cut off by the image's border: what is seen of it"
            said = pd.Series({label: facts[name] for name, label in FACTS.items()}).astype(float).round(1)
            yield 2, f"Roof {number}{seen}", said.rename_axis("what").rename("value").reset_index()
            yield 3, "Faces", self.faces[self.faces["roof"] == number].drop(columns=["roof", "score"]).round(1)
            some = self.lines[self.lines["roof"] == number].groupby("type", sort=False)
            yield 3, "Lengths", some["length_m"].agg(["count", "sum"]).round(1).reset_index()


def scale(roof: Roof, gsd_m: float, georeference: Georeference | None = None) -> np.ndarray:
    """Matrix (2, 2) from steps in pixels (x right, y down) to metres (east, north) at a roof."""
    if georeference is None:
        return np.diag([gsd_m, -gsd_m])
    x, y = roof.outline.centroid.coords[0]
    ends = georeference.to_lonlat(STEP / 2 * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)]) + (x, y))
    azimuth_2, _, metres_2 = ELLIPSOID.inv(*ends[::2].T, *ends[1::2].T)
    return np.stack([np.sin(np.radians(azimuth_2)), np.cos(np.radians(azimuth_2))]) * metres_2 / STEP


def measure(roof: Roof, gsd_m: float, georeference: Georeference | None = None) -> dict[str, Any]:
    """What a report says of one roof: square metres, metres, and the pitch of its largest face in degrees.

    Args:
        roof: in pixels.
        gsd_m: true metres per pixel, used where there is no `georeference`.
    """
    metres_22 = scale(roof, gsd_m, georeference)
    plan = abs(np.linalg.det(metres_22))
    areas = [area(face, metres_22) for face in roof.faces]
    totals: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for line in roof.lines:
        totals[line.kind] += length(line, roof, metres_22)
    rings = (np.array(ring.coords) for ring in (roof.outline.exterior, *roof.outline.interiors))
    return {
        "whole": roof.whole,
        "faces": len(roof.faces),
        "plan_m2": roof.outline.area * plan,
        "area_m2": sum(areas),
        "pitch_deg": roof.faces[int(np.argmax(areas))].pitch if areas else np.nan,
        "perimeter_m": sum(float(np.linalg.norm(np.diff(ring, axis=0) @ metres_22.T, axis=1).sum()) for ring in rings),
        "eave_height_m": roof.eave,
        **{f"{kind}_m": total for kind, total in totals.items()},
    }


def area(face: Face, metres_22: np.ndarray) -> float:
    """Square metres along the slope: plan by cos(pitch), of the plan where the pitch is not known."""
    plan = face.polygon.area * abs(float(np.linalg.det(metres_22)))
    return plan if np.isnan(face.pitch) else plan / float(np.cos(np.radians(face.pitch)))


def length(line: Line, roof: Roof, metres_22: np.ndarray) -> float:
    """Metres in space: `sqrt(plan^2 + rise^2)`, the rise as the mean of what the faces beside the line say."""
    step_E = line.end - line.start
    # Slopes count from the image's top, so the step is measured along its rows and columns.
    level_G = step_E * np.linalg.norm(metres_22, axis=0) * (1, -1)
    rises = [float(roof.faces[number].slope_G @ level_G) for number in line.faces]
    rises = [rise for rise in rises if np.isfinite(rise)]
    return float(np.hypot(np.linalg.norm(metres_22 @ step_E), np.mean(rises) if rises else 0.0))


def bearing(face: Face, metres_22: np.ndarray) -> float:
    """Compass bearing of the way down from true north, degrees; NaN where the face is flat."""
    up_2 = metres_22 @ (0.0, -1.0)
    return (face.bearing + float(np.degrees(np.arctan2(*up_2)))) % 360


def report(roofs: Sequence[Roof], gsd_m: float, georeference: Georeference | None = None) -> Report:
    """Tables of everything that is measured on the roofs of an image."""
    rows, faces, lines = [], [], []
    for number, roof in enumerate(roofs, 1):
        metres_22 = scale(roof, gsd_m, georeference)
        rows.append({"roof": number, **measure(roof, gsd_m, georeference)})
        for place, face in enumerate(roof.faces, 1):
            faces.append({"roof": number, "face": place, **of_face(face, metres_22)})
        lines += [{"roof": number, **of_line(line, roof, metres_22)} for line in roof.lines]
    tables = ((rows, ROOF), (faces, FACE), (lines, LINE))
    return Report(*(pd.DataFrame(table, columns=list(columns)) for table, columns in tables))


def of_face(face: Face, metres_22: np.ndarray) -> dict[str, Any]:
    """What is measured on a face."""
    way = bearing(face, metres_22)
    return {
        "area_m2": area(face, metres_22),
        "plan_m2": face.polygon.area * abs(float(np.linalg.det(metres_22))),
        "pitch_deg": face.pitch,
        "azimuth_deg": way,
        "faces_to": _point(way, face.pitch),
        "height_m": face.height,
        "score": face.score,
    }


def of_line(line: Line, roof: Roof, metres_22: np.ndarray) -> dict[str, Any]:
    """What is measured on a line."""
    plan = float(np.linalg.norm(metres_22 @ (line.end - line.start)))
    return {"type": line.kind, "length_m": length(line, roof, metres_22), "plan_m": plan, "score": line.score}


def _point(way: float, pitch: float) -> str:
    """Point of the compass a face looks to."""
    if np.isnan(way):
        return "-" if np.isnan(pitch) else "flat"
    return POINTS[round(way * SECTORS / 360) % SECTORS]


def _markdown(table: pd.DataFrame) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.astype(object).where(table.notna(), "-").to_numpy()]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
