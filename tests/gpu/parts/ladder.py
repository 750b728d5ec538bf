"""04 on two quick profiles: what it chose, what it says limits this machine, and whether its forecasts hold here.

A forecast is judged where the search itself measured it: settings by their rungs, and the row of this card in the
cost table by the row of this machine. Without a card the 04 of a smoke run is looked at.
"""

from pathlib import Path
from statistics import median
from typing import Any

from stepladder.core import files
from stepladder.cost.offers import read_prices
from tests.gpu import place as p

WALKS = 4
PROFILES = ("plateau", "pde")
NEAR = 0.3  # of a rate: the median error of the forecasts of what was tried
MARGIN = 1.1  # of the interval of hours, for what an interruptible offer loses


def measure(place: p.Place) -> tuple[dict[str, Any], list[p.Check]]:
    """Per profile: choice, diagnosis, forecasts."""
    figures, checks = {}, []
    wanted = [study for study in PROFILES if study in place.studies]
    for study in place.in_time(wanted):
        figures[study] = found = one(place, study)
        checks.append(p.Check(f"{study}: chosen", bool(found["chosen"]), f"{found['chosen']}; {found['sentence']}"))
        if (error := found["forecast error"]) is not None:
            said = f"{error:.0%} off at the median of {found['tried']} settings"
            checks.append(p.Check(f"{study}: forecasts", error <= NEAR or not place.cuda, said))
        if place.cuda:
            checks.append(of_this_card(study, found))
    done = len(figures) == len(wanted)
    return figures, [p.Check("all profiles", done, ", ".join(figures) or "none asked for"), *checks]


def one(place: p.Place, study: str) -> dict[str, Any]:
    """What 04 of a study's run left."""
    if place.cuda:
        p.walk(study, place.outputs, "1-4", profile="quick")
        folder = place.outputs / study / "quick" / "04_scaling"
    else:
        folder = place.shards(study, "1-4").folder / "04_scaling"
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """Choice, diagnosis, errors of forecasts and the cost table of one 04."""
    ladder, result = files.read_json(folder / "ladder.json"), files.read_json(folder / "result.json")
    pairs = [
        (rung["forecast"]["rate"], rung["trial"]["probe"]["rate"])
        for rung in ladder["climb"]["rungs"]
        if rung["forecast"] and rung["trial"]["probe"]
    ]
    errors = [abs(said / truth - 1) for said, truth in pairs]
    return {
        "chosen": result["chosen"],
        "limit": ladder["limit"],
        "sentence": ladder["sentence"],
        "forecast error": median(errors) if errors else None,
        "tried": len(errors),
        "prices": result["prices"],
    }


def of_this_card(study: str, found: dict[str, Any]) -> p.Check:
    """The cost table's row of this card against the row of this machine."""
    import torch

    name = torch.cuda.get_device_name(0)
    offer = read_prices().match(name)
    here = found["prices"][0]
    row = next((row for row in found["prices"][1:] if offer and row["GPU"] == offer.name), None)
    if row is None or row["hours"] is None:
        return p.Check(f"{study}: its card", True, f"the price table has no row for {name}")
    held = row["hours low"] / MARGIN <= here["hours"] <= row["hours high"] * MARGIN
    said = f"{here['samples/s']:.0f} samples/s measured, {row['samples/s']:.0f} foretold for {offer.name}"
    return p.Check(f"{study}: its card", held, f"{said} ({row['limit']})")
