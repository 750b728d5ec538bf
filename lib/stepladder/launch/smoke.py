"""The smoke test of an environment on a box: `python -m stepladder.launch.smoke STUDY`.

Decisions:
- torch, stepladder and the study are imported, and one step of the template's small network is trained, on the card
  where there is one: forward, backward and optimizer in a second, without any data.
"""

import json
import sys
import time
from typing import Any


def step(seed: int = 0) -> dict[str, Any]:
    """Train one step of the template study on random images; its loss, and where it was trained."""
    import torch

    from stepladder.testing.template.study import IMAGES, SIDE, DiscParams, study
    from stepladder.training.step import lone_train_state, to_device, train_step

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    params = DiscParams.model_validate({"study": "template", "run": "smoke"})
    torch.manual_seed(seed)
    image_BYX = torch.randn(IMAGES, SIDE, SIDE)
    batch = to_device({"image_YX": image_BYX, "mask_YX": (image_BYX > 1).long()}, device)
    training = params.training.model_copy(update={"batch": IMAGES, "accumulate": 1})
    train_state = lone_train_state(study, study.model(params).to(device), study.phases(params)[0], training, seed)
    loss = float(train_step(train_state, 0, [batch]).loss)
    if not loss < float("inf"):
        raise RuntimeError(f"the loss of the first step is {loss}")
    return {"torch": torch.__version__, "device": device.type, "loss": loss}


def main() -> None:
    """Print what was seen as a line of JSON."""
    from stepladder.core.study import find

    began = time.monotonic()
    find(sys.argv[1])
    found = step()
    print(json.dumps({**found, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
