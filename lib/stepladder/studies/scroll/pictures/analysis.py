"""What 06_evaluation shows of a test volume beside its scores: post-processing step by step, and slices."""

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import default_collate

from stepladder.core.types import Dataset
from stepladder.studies.scroll.models import inference, postprocess
from stepladder.studies.scroll.params import ScrollParams
from stepladder.studies.scroll.pictures import scenes


@torch.inference_mode()
def analysis(model: nn.Module, cases: Dataset, params: ScrollParams) -> dict[str, pd.DataFrame | Figure]:
    """Of the first test volume: what each step of post-processing adds, and slices of what came out."""
    sample = cases.sample(0, None)
    prediction = inference.predict(model.eval(), default_collate([sample]))
    probability_ZYX, mask_ZYX = (prediction[name][0].cpu().numpy() for name in ("probability_BZYX", "mask_BZYX"))
    return {
        "Post-processing, step by step": postprocess.ablation(
            probability_ZYX, sample["label_ZYX"], params.evaluation.post
        ),
        "Prediction beside truth": scenes.volume_figure(sample["image_ZYX"], sample["label_ZYX"], mask_ZYX),
    }
