"""The world tower of size `small`: a Wan autoencoder made here, in half a minute, and judged before it is used.

Decisions:
- It is trained on drawn pictures of seeds of its own, so nothing that is tested was ever seen by it, and the same code
  makes the same tower on the same machine. Its file is a raw file of the run: 02 makes it once, every shard names it,
  and another file makes other shards.
- It begins as what is known to work: colours are carried through every level as themselves and as their opposites
  beside a constant, each level averages two by two or spreads back, and all residual branches begin at zero. So its
  first answer is near that of 8 x 8 means, smoothly spread (18 dB from it), and its latents are those
  means. From a random beginning it needs twenty times as long to get there: its norms divide out how bright
  anything is.
- Only still pictures are trained on. Filters look at no earlier frame, and where frames are joined it is by their mean:
  as Wan's own image autoencoder was widened to video.
- The verdict stands in the file's metadata and is a gate of 02. The strongest rival is the linear one: the principal
  components of 8 x 8 patches, as many as there are latents.

Shape legend: N pictures, T frames, Y X pixels, C colours or channels, V U rows and columns of cells, D numbers of
a patch.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.core import closure, files
from stepladder.core.types import Check, Gathered, StudyError
from stepladder.studies.captions.data.layout import WEIGHTS
from stepladder.studies.captions.models.towers import wan

CHANNELS, WIDTH, SIDE, CELL = 4, 16, 64, 8
COLOURS, CONSTANT = 3, 4.0  # carried as themselves, as their opposites, and beside a constant
STEPS, BATCH, TRAINED_SIDE, RATE = 260, 8, 32, 1e-3
NOISE = 0.02  # added to latents in training, so that neighbours mean the same
JUDGED = 64  # pictures kept out
SEED = 7
STUDY = "studies/captions/"  # the part of the code that decides the tower


class OwnWan(wan.Wan):
    """Latents of 4 channels in 8 x 8 places.

    Raises:
        StudyError: the file is not one that `weights` wrote.
    """

    def __init__(self, path: Path):
        from safetensors.torch import load_file

        model = _empty()
        try:
            model.load_state_dict(load_file(path))
        except Exception as error:  # of a file that somebody else wrote, or that is cut: safetensors says what
            raise _foreign(path, error) from None
        _judge(path)
        super().__init__(model, SIDE, files.file_sha256(path))


def beside(brought: Gathered, folder: Path, tell: Callable[[str], None]) -> Gathered:
    """What was brought into `folder`, and the tower beside it, with its verdict as a gate."""
    tell("the world tower is made, or found")
    path = weights(folder)
    return Gathered(folder, brought.paths | {path}, brought.shown, [*brought.checks, verdict(path)])


def place_of(folder: Path) -> Path:
    """Where the tower that this code makes lies below a folder."""
    code = {name: digest for name, digest in closure.of_modules(__name__).items() if STUDY in name}
    return folder / "towers" / files.fingerprint(code) / WEIGHTS


def weights(folder: Path) -> Path:
    """The file of the tower below `folder`, which is made where it is not there: half a minute."""
    place = place_of(folder)
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(place.parent):
            if not place.is_file():
                _make(place)
    return place


def verdict(path: Path) -> Check:
    """Whether the tower in a file carries more than what it began as.

    Raises:
        StudyError: the file is not one that `weights` wrote.
    """
    told = _judge(path)
    own, means, linear = told["own"], told["means"], told["components"]
    words = (
        f"{own:.1f} dB on {JUDGED} drawn pictures kept out; 8 x 8 means {means:.1f}, as many components {linear:.1f}"
    )
    return Check("the world tower reconstructs", own > means, words, own, means)


def _judge(path: Path) -> dict[str, float]:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})["judged"])
    except Exception as error:  # as above
        raise _foreign(path, error) from None


def _foreign(path: Path, error: Exception) -> StudyError:
    return StudyError(f"{path.name} holds no world tower of this version ({error}): delete it, run 02 again")


def _make(place: Path) -> None:
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = begun(_empty())
        _train(model)
        judged = {**judge(model, _pictures(JUDGED, SEED + 1, SIDE)), "steps": STEPS}
    with files.atomic(place) as temporary:
        save_file(dict(model.state_dict()), temporary, {"judged": json.dumps(judged)})


def _empty() -> Any:
    return wan.autoencoder(CHANNELS, WIDTH)


def begun(model: Any) -> Any:
    """The autoencoder as averages and copies (see above), in place."""
    for conv in model.modules():
        if isinstance(conv, nn.Conv3d):
            conv.weight.data[:, :, :-1] = 0.0  # no earlier frame
    for module in model.modules():
        match type(module).__name__:
            case "WanResidualBlock":
                _silent(module.conv2)
                if isinstance(module.conv_shortcut, nn.Conv3d):
                    _carry(module.conv_shortcut, torch.ones(1, 1))
            case "WanAttentionBlock":
                _silent(module.proj)
            case "WanResample":
                spread = torch.outer(*[torch.tensor([0.25, 0.5, 0.25])] * 2)
                halve = functional.pad(torch.full((2, 2), 0.25), (0, 1, 0, 1))
                _carry(module.resample[1], spread if module.mode.startswith("upsample") else halve)
                _join(getattr(module, "time_conv", None))
            case _:
                pass
    _enter(model.encoder.conv_in)
    _leave(model.encoder.conv_out)
    _enter(model.decoder.conv_in)
    _leave(model.decoder.conv_out)
    for bridge in (model.quant_conv, model.post_quant_conv):
        bridge.weight.data = torch.eye(len(bridge.weight))[..., None, None, None].clone()
        nn.init.zeros_(bridge.bias)
    return model


def _silent(conv: nn.Module) -> None:
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)


def _carry(conv: Any, kernel_VU: Tensor) -> None:
    """A convolution that hands on colours, opposites and the constant, filtered by a kernel; others as they are."""
    nn.init.zeros_(conv.bias)
    for channel in range(2 * COLOURS + 1):
        conv.weight.data[channel] = 0.0
        target = conv.weight.data[channel, channel]
        (target[-1] if target.ndim == 3 else target)[...] = kernel_VU


def _enter(conv: Any) -> None:
    """The first convolution of either side: colours, opposites, and the constant by its bias."""
    nn.init.zeros_(conv.bias)
    conv.bias.data[2 * COLOURS] = CONSTANT
    conv.weight.data[: 2 * COLOURS + 1] = 0.0
    for colour in range(COLOURS):
        conv.weight.data[colour, colour, -1, 1, 1] = 1.0
        conv.weight.data[COLOURS + colour, colour, -1, 1, 1] = -1.0


def _leave(conv: Any) -> None:
    """The last convolution of either side, behind a norm and SiLU: silu(x) - silu(-x) = x, so colours come out."""
    nn.init.zeros_(conv.bias)
    conv.weight.data[:COLOURS] = 0.0
    gain = CONSTANT / math.sqrt(conv.weight.shape[1])
    for colour in range(COLOURS):
        conv.weight.data[colour, colour, -1, 1, 1] = gain
        conv.weight.data[colour, COLOURS + colour, -1, 1, 1] = -gain


def _join(conv: Any) -> None:
    """Where frames are joined or parted: the mean of three, or each as it was."""
    if conv is None:
        return
    nn.init.zeros_(conv.bias)
    conv.weight.data.zero_()
    joins = conv.weight.shape[0] == conv.weight.shape[1]
    for channel in range(len(conv.weight)):
        taps = conv.weight.data[channel, channel % conv.weight.shape[1], :, 0, 0]
        taps[slice(None) if joins else -1] = 1 / len(taps) if joins else 1.0


def _train(model: Any) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    drawn = np.random.default_rng(SEED)
    pictures_NYXC = _pictures(STEPS * 2, SEED, SIDE)
    model.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = (
            RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        )
        video_NCTYX = torch.stack(list(_crops(pictures_NYXC, drawn)))
        latent = model.quant_conv(model.encoder(video_NCTYX)).chunk(2, dim=1)[0]
        # The decoder itself: what the class calls decoding cuts off at -1 and 1, where there is no gradient.
        again = model.decoder(model.post_quant_conv(latent + NOISE * torch.randn_like(latent)))
        loss = (again - video_NCTYX).abs().mean() + 1e-3 * latent.square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def _crops(pictures_NYXC: np.ndarray, drawn: np.random.Generator) -> Iterator[Tensor]:
    """Quarters of pictures in [-1, 1], each (C, 1, Y, X)."""
    for number in drawn.integers(len(pictures_NYXC), size=BATCH):
        top, left = drawn.integers(SIDE - TRAINED_SIDE + 1, size=2)
        crop_YXC = pictures_NYXC[number, top : top + TRAINED_SIDE, left : left + TRAINED_SIDE]
        yield _range(crop_YXC[None])[0]


def _range(pictures_NYXC: np.ndarray) -> Tensor:
    """Pictures as videos of one frame in [-1, 1], (N, C, 1, Y, X)."""
    return torch.from_numpy(pictures_NYXC).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1


def _pictures(count: int, seed: int, side: int) -> np.ndarray:
    """Drawn pictures (N, side, side, C) uint8 that no list holds."""
    from stepladder.studies.captions.data.synthesis.drawing import pictures

    return np.stack(pictures(count, seed, side))


@torch.no_grad()
def judge(model: Any, pictures_NYXC: np.ndarray) -> dict[str, float]:
    """Peak signal-to-noise ratios in dB of what comes back: own, 8 x 8 means spread, components of patches."""
    true = _range(pictures_NYXC)
    own = model.decode(model.encode(true).latent_dist.mode()).sample
    still_NCYX = true[:, :, 0]
    means = functional.avg_pool2d(still_NCYX, CELL)
    spread = functional.interpolate(means, scale_factor=CELL, mode="bilinear", align_corners=False)
    patches_ND = functional.unfold(still_NCYX, CELL, stride=CELL).transpose(1, 2).flatten(0, 1)
    mean_D = patches_ND.mean(0)
    components_CD = torch.linalg.svd(patches_ND - mean_D, full_matrices=False)[2][:CHANNELS]
    linear_ND = (patches_ND - mean_D) @ components_CD.T @ components_CD + mean_D
    return {
        "own": decibels(own, true),
        "means": decibels(spread, still_NCYX),
        "components": decibels(linear_ND, patches_ND),
    }


def decibels(found: Tensor, true: Tensor) -> float:
    """10 log10(range ** 2 / mean square error) of values in [-1, 1]."""
    return float(10 * torch.log10(4 / (found - true).square().mean()))
