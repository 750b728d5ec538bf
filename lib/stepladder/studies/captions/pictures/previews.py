"""An item as the model reads it: what the towers hand on, and the sequence with what of it is learnt.

Decisions:
- What is drawn is what is in the sample, not the photograph: the first three channels of the latents as colours, how
  strong the vision features of every place are, and the positions of the sequence, supervised ones in amber.
- The photograph stands beside them where the sample holds it, as evaluation's do.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stepladder.core.types import Sample
from stepladder.studies.captions.data.layout import PAD, TEXT
from stepladder.studies.captions.data.sequence import IGNORED
from stepladder.studies.captions.data.tokenizer import tokenizer
from stepladder.studies.captions.params import CaptionsParams
from stepladder.studies.captions.pictures import style
from stepladder.view.style import INK


def preview(sample: Sample, params: CaptionsParams) -> Figure:
    """Features of the first picture, the sequence, and its texts."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.6, 1])
    upper, lower = halves
    shown = "pixels_MYXC" in sample
    axes = list(upper.subplots(1, 4 if shown else 3, width_ratios=[1] * (3 if shown else 2) + [2.4]))
    if shown:
        axes[0].imshow(np.asarray(sample["pixels_MYXC"])[0])
        style.bare(axes[0], "picture")
    vision(axes[-3], np.asarray(sample["vision_MPF"], np.float32)[0])
    world(axes[-2], np.asarray(sample["world_MTVUC"], np.float32)[0])
    _texts(axes[-1], sample, params)
    sequence(lower.subplots(), sample)
    return figure


def vision(axes: Axes, vision_PF: np.ndarray) -> None:
    """How strong the vision features of every place are."""
    side = int(len(vision_PF) ** 0.5)
    axes.imshow(np.linalg.norm(vision_PF, axis=1)[: side * side].reshape(side, side), cmap="magma")
    style.bare(axes, f"vision: {len(vision_PF)} x {vision_PF.shape[1]}")


def world(axes: Axes, world_TVUC: np.ndarray) -> None:
    """The first three channels of the latents as colours, frames side by side."""
    colour_TVUC = world_TVUC[..., :3]
    low, high = np.percentile(colour_TVUC, (1, 99), axis=(0, 1, 2))
    scaled_TVUC = np.clip((colour_TVUC - low) / np.maximum(high - low, 1e-6), 0, 1)
    axes.imshow(np.concatenate(list(scaled_TVUC), axis=1))
    frames, rows, columns, channels = world_TVUC.shape
    style.bare(axes, f"world: {frames} x {rows} x {columns} x {channels}")


def sequence(axes: Axes, sample: Sample) -> None:
    """Every position of the sequence in the colour of its kind; what is learnt in amber."""
    kinds_T, labels_T = np.asarray(sample["kinds_T"]), np.asarray(sample["labels_T"])
    length = max(int((kinds_T != PAD).sum()), 1)
    for place in range(length):
        learnt = labels_T[place] != IGNORED
        colour = style.SUPERVISED if learnt else style.KIND[int(kinds_T[place])]
        axes.axvspan(place + 0.08, place + 0.92, 0.12, 0.88, color=colour, linewidth=0)
    named = {style.KIND_NAME[kind]: colour for kind, colour in style.KIND.items() if kind in kinds_T[:length]}
    handles = [Patch(color=colour, label=name) for name, colour in (*named.items(), ("learnt", style.SUPERVISED))]
    axes.legend(
        handles=handles, ncols=len(handles), fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.95), frameon=False
    )
    axes.set(xlim=(0, length), yticks=[])
    axes.set_xlabel(f"position in the sequence ({len(kinds_T) - length} of {len(kinds_T)} are padding)", fontsize=9)


def _texts(axes: Axes, sample: Sample, params: CaptionsParams) -> None:
    """What is asked and answered, from the ids themselves."""
    words = tokenizer(params.conversion)
    tokens_T, labels_T = np.asarray(sample["tokens_T"]), np.asarray(sample["labels_T"])
    answer = words.decode(labels_T[labels_T != IGNORED].tolist())
    prompt = words.decode(tokens_T[(labels_T == IGNORED) & (np.asarray(sample["kinds_T"]) == TEXT)].tolist())
    style.bare(axes)
    axes.text(0.02, 0.95, style.wrapped(prompt, 44), fontsize=9, va="top", color=INK)
    axes.text(0.02, 0.45, style.wrapped(answer, 44), fontsize=9, va="top", color=style.SUPERVISED)
