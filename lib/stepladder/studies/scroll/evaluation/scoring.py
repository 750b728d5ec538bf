"""How a prediction of sheets is scored, and the baselines it stands beside.

Decisions:
- Metrics are those of the surface-detection challenge (`metrics`, `topology`), of whole volumes: a metric of a patch is
  not that of its volume. Where the batch holds patches (a smoke test) they are scored as if each were a volume.
- A volume counts once, whatever its size: every record has the denominator 1, so a metric is the mean over volumes and
  a group's is the mean over the volumes of its scroll.
- VOI alone is easily fooled: "nothing anywhere" scores near 1 where the truth is one component. It is read beside
  surface Dice, where that scores 0, and that is why `all_empty` stands in every table.
- The strongest baseline gets the model's own post-processing, so that the model must be worth more than the chain.
"""

import torch

from stepladder.core.types import Batch, Prediction, Record
from stepladder.studies.scroll.data.labels import SHEET
from stepladder.studies.scroll.evaluation import metrics, topology
from stepladder.studies.scroll.params import ScrollParams

TOPOLOGY = {
    "topo": "Betti matching of components, tunnels and cavities in 2 x 2 x 2 octants, weighted F1",
    "euler_score": "stand-in for the challenge's topology term, which needs the compiled package betti_matching: Betti "
    "numbers by the Euler characteristic in 2 x 2 x 2 octants, weighted F1, places not compared (an upper bound)",
}


def oracle(batch: Batch) -> Prediction:
    """The truth in the form of a prediction."""
    mask_BZYX = (batch["label_ZYX"] == SHEET).to(torch.uint8)
    return {"mask_BZYX": mask_BZYX, "probability_BZYX": mask_BZYX.float()}


def score(batch: Batch, prediction: Prediction, params: ScrollParams) -> list[Record]:
    """One record per volume and metric of `metrics.scores`, with the denominator 1."""
    pairs = zip(batch["label_ZYX"].cpu().numpy(), prediction["mask_BZYX"].cpu().numpy(), strict=True)
    return [
        Record(item, metric, value, 1.0)
        for item, (label_ZYX, mask_ZYX) in enumerate(pairs)
        for metric, value in metrics.scores(label_ZYX, mask_ZYX).items()
    ]


def protocol(params: ScrollParams) -> dict[str, str]:
    """What is printed beside every number."""
    split = "scroll" if params.splits.by == "group" else "volume"
    post = ", ".join(f"{name} {value:g}" for name, value in params.evaluation.post.model_dump().items())
    return {
        "space": "whole volumes at the voxel size of their files",
        "split": f"by {split}",
        "averaging": "every metric per volume, then the mean over volumes, whatever their size",
        "not labelled": "voxels of label 2 are background in truth and prediction",
        f"SurfaceDice@{metrics.TOLERANCE:g}": "share of both surfaces, by area, within "
        f"{metrics.TOLERANCE:g} voxels of the other (Nikolov et al., 2018)",
        "VOI score": f"1 / (1 + {metrics.ALPHA:g} VOI), VOI in bits between the 26-connected components on the union "
        "of both foregrounds; near 1 for an empty prediction of a single component",
        topology.name(): TOPOLOGY[topology.name()],
        "Dice": "of voxels; not part of the challenge",
        "inference": f"windows of {' x '.join(map(str, params.model.patch))} voxels, "
        f"{params.model.overlap:.0%} overlap, Gaussian blending of logits",
        "post-processing": f"{post}; for the model and for sheetness_post",
    }
