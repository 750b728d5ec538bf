"""The phases of training: the language model where none is given, every control, and last what it is all about."""

from typing import Final

from stepladder.core.types import TrainingPhase
from stepladder.studies.captions.params import CaptionsParams

PROJECTION: Final = ("vision_projection.", "world_projection.", "brackets.")


def phases(params: CaptionsParams) -> list[TrainingPhase]:
    """Phases in order; each ends at its best weights by validation."""
    training, size, world = params.training, params.conversion.size, params.model.world
    trained = [prefix for prefix in PROJECTION if world or prefix == "vision_projection."]
    if size == "gemma3_4b":  # its projector of pictures is published, and stays as it is
        trained.remove("vision_projection.")
    if params.model.vision == "released":
        trained.append("vision_tower.")
    controls = [(name, (f"controls.{name}.",)) for name in params.model.controls if world]
    found = [
        TrainingPhase(name, training.steps, prefixes, keep_if_better=True)
        for name, prefixes in (*controls, ("projection", tuple(trained)))
    ]
    if size == "gemma3_4b":
        return found
    return [
        TrainingPhase("language", training.language_steps, ("language.",), training.language_rate, keep_if_better=True),
        *found,
    ]
