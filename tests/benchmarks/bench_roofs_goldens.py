"""Roofs: our metrics against numbers known elsewhere, and rivals' lines by them. Needs the real files.

Run `python tests/benchmarks/bench_roofs_goldens.py`: the agreement of RID's annotators, the evaluation files of
solaris with what they are expected to give, and sAP on the SimpleRoof validation crops of LSD, and of LSD weighed by
HED where its weights are installed. The record is tests/benchmarks/records/roofs_goldens.json.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from PIL import Image

from stepladder.dev import records
from stepladder.studies.roofs.data.crops import normalised
from stepladder.studies.roofs.evaluation import agreement, lines, polygons
from stepladder.studies.roofs.models.baselines import hed, lsd
from stepladder.studies.roofs.models.baselines.drawn import Detector

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STEPLADDER_SHARED_DATA") or ROOT.parent / "shared" / "data") / "roofs"
AGREEMENT = {
    "mean": 0.474, "any class": 0.694, "outline": 0.953, "pvmodule": 0.643, "dormer": 0.661, "window": 0.178,
    "ladder": 0.144, "chimney": 0.415, "shadow": 0.317, "tree": 0.427, "unknown": 0.164, "background": 0.988,
}  # fmt: skip
LSD = {"sAP5": 2.0, "sAP10": 5.0, "sAP15": 6.7}  # of all 139 crops
GEOJSON = (8, 20, 20)  # right, false, missed: solaris, tests/test_eval/evaluator_test.py


def main() -> None:
    """Measure, print, record."""
    record = {"agreement": agreements(), "agreement_expected": AGREEMENT, "solaris": solaris(), "lines": rivals()}
    record["lines_expected"] = {"LSD": LSD}
    for name, value in record["agreement"].items():
        print(f"agreement of annotators, {name}: {value:.4f} ({AGREEMENT[name]:.3f})")
    for row in record["solaris"]:
        print(f"solaris, {row['file']}: {row['found']}, expected {row['expected']}")
    for name, row in record["lines"].items():
        print(f"{name} on {row['crops']} crops: {', '.join(f'{k} {v:.1f}' for k, v in row['sap'].items())}")
    records.write(__file__, record)


def agreements() -> dict[str, float]:
    """What the annotators of the RID images given agree on."""
    found = agreement.of_rid(DATA / "rid")
    return {"mean": found.mean, "any class": found.any_class, "outline": found.outline, **found.classes}


def solaris() -> list[dict[str, Any]]:
    """Every image of solaris' evaluation files: (right, false, missed, precision, recall, F1), ours and expected."""
    folder, rows = DATA / "spacenet_solaris", []
    for prefix in ("", "SN2_"):
        truth, guess, expected = (
            pd.read_csv(folder / f"{prefix}{name}.csv")
            for name in ("sample_truth", "sample_preds", "test_results_full")
        )
        for row in expected.itertuples():
            true, ours = (table[table["ImageId"] == row.imageID] for table in (truth, guess))
            shapes = (shapely.from_wkt(table["PolygonWKT_Pix"].tolist()) for table in (true, ours))
            found = polygons.find(*shapes, ours["Confidence"].tolist(), smallest=20)
            known = (row.TruePos, row.FalsePos, row.FalseNeg, row.Precision, row.Recall, row.F1Score)
            rows.append({"file": row.imageID, "found": _counted(found), "expected": list(known)})
    truth, guess = (gpd.read_file(folder / name) for name in ("gt.geojson", "pred.geojson"))
    found = polygons.find(list(truth.geometry), list(guess.geometry), guess["conf"].tolist())
    share = GEOJSON[0] / sum(GEOJSON[:2])
    return [*rows, {"file": "pred.geojson", "found": _counted(found), "expected": [*GEOJSON, share, share, share]}]


def _counted(found: polygons.Found) -> list[float]:
    return [len(found.pairs), found.false, found.missed, found.precision, found.recall, found.f1]


def rivals() -> dict[str, dict[str, Any]]:
    """sAP 5, 10, 15, mAP-J and seconds per crop of the detectors that need no training."""
    detectors: dict[str, Detector] = {"LSD": lsd.detect} | ({} if hed.missing() else {"LSD x HED": hed.HedLines()})
    return {name: measured(detector) for name, detector in detectors.items()}


def measured(detector: Detector) -> dict[str, Any]:
    """One detector on the validation crops."""
    begin, images = time.process_time(), []
    for path in sorted((DATA / "rooflines_hensel").glob("val_*.jpg")):
        image_YXC = np.asarray(Image.open(path).convert("RGB"))
        found_LF = detector(normalised(image_YXC))
        size = (image_YXC.shape[1], image_YXC.shape[0])
        images.append(lines.Scored(segments(path.with_suffix(".txt")), found_LF[:, :4], found_LF[:, 5], size))
    sap = {f"sAP{threshold}": lines.sap(images, threshold) for threshold in lines.THRESHOLDS}
    sap["mAP-J"] = float(np.mean([lines.junction_ap(images, distance) for distance in lines.JUNCTIONS]))
    return {"sap": sap, "crops": len(images), "seconds_a_crop": (time.process_time() - begin) / len(images)}


def segments(path: Path) -> np.ndarray:
    """Lines (L, 4) of a SimpleRoof text file: its part #2#."""
    text = path.read_text(encoding="utf-8").split("#2#")[1].split("#3#")[0]
    return np.array(re.findall(r"-?\d+\.\d+", text), dtype=float).reshape(-1, 4)


if __name__ == "__main__":
    main()
