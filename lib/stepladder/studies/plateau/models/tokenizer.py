"""The scene tokenizer of OccWorld: a window of labels as a small map of codes, and back.

A vector-quantised autoencoder (W. Zheng et al., "OccWorld", ECCV 2024; residual encoder and decoder after Esser et al.,
"Taming Transformers", CVPR 2021), written anew with the published layer shapes.

Decisions:
- The heights of a column are stacked into channels, so all convolutions are two-dimensional.
- The decoder scores a class by the dot product with that class's input embedding; there is no separate output table.
- It starts at the prior: label embeddings have equal length and the last bias is the embedding of EMPTY, so an
  untrained tokenizer says "empty" everywhere and cannot beat the all-empty baseline by luck.
- Losses are means over samples, so they do not depend on how a batch is divided.

Shape legend: N windows, X Y Z voxels, E embedding, C channels, H W latent map, K codes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepladder.studies.plateau.data.citygml.classes import EMPTY, OCC3D

CLASSES = len(OCC3D)
EMBEDDING = 8
MULTIPLIERS = (1, 2, 4)
BLOCKS = 2


class Tokenizer(nn.Module):
    """Labels (N, X, Y, Z) to codes (N, H, W) with H, W = X / 4, Y / 4 (rounded up), and back to class scores.

    Args:
        heights: voxels of a column, Z.
        width: channels of the first level (published: 64); codes have 2 * width channels.
        codes: entries of the codebook (published: 512).
    """

    def __init__(self, heights: int, width: int, codes: int) -> None:
        super().__init__()
        channels, latent = heights * EMBEDDING, 2 * width
        self.label = nn.Embedding(CLASSES, EMBEDDING)
        self.encoder = Encoder(channels, width, latent)
        self.before = nn.Conv2d(latent, latent, 1)
        self.codebook = nn.Embedding(codes, latent)
        self.after = nn.Conv2d(latent, latent, 1)
        self.decoder = Decoder(latent, width, channels)
        self._start_empty(heights, codes)

    def _start_empty(self, heights: int, codes: int) -> None:
        with torch.no_grad():
            self.codebook.weight.uniform_(-1 / codes, 1 / codes)
            # Equal lengths and the last bias at EMPTY make EMPTY the likeliest class everywhere before anything is
            # learnt.
            self.label.weight.copy_(functional.normalize(self.label.weight) * math.sqrt(EMBEDDING))
            self.decoder.last.weight.mul_(0.1)
            assert self.decoder.last.bias is not None
            self.decoder.last.bias.copy_(self.label.weight[EMPTY].repeat(heights))

    def encode(self, occ_NXYZ: Tensor) -> Tensor:
        """Continuous latents (N, C, H, W) of labels, before they are quantised."""
        x_NXYZE = self.label(occ_NXYZ.int())
        return self.before(self.encoder(x_NXYZE.flatten(3).permute(0, 3, 1, 2)))

    def quantise(self, z_NCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest codes: latents (N, C, H, W) with straight-through gradient, indices (N, H, W), codebook loss.

        Loss with beta = 1: mean((sg[q] - z)^2) + mean((q - sg[z])^2) (van den Oord et al., 2017, eq. 3).
        """
        z_NHWC = z_NCHW.permute(0, 2, 3, 1)
        with torch.no_grad():
            # The choice itself has no gradient.
            index_NHW = torch.cdist(z_NHWC.flatten(1, 2), self.codebook.weight[None]).argmin(-1).view(z_NHWC.shape[:3])
        code_NHWC = self.codebook(index_NHW)
        loss = functional.mse_loss(z_NHWC, code_NHWC.detach()) + functional.mse_loss(code_NHWC, z_NHWC.detach())
        # Forward the code, backward the latent: the encoder learns as if nothing had been quantised.
        through_NHWC = z_NHWC + (code_NHWC - z_NHWC).detach()
        return through_NHWC.permute(0, 3, 1, 2), index_NHW, loss

    def decode(self, code_NCHW: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Class scores (N, X, Y, Z, 18) of quantised latents; `shape` is the window's (X, Y, Z)."""
        x_NCXY = self.decoder(self.after(code_NCHW), sizes(shape[0], shape[1]))
        return x_NCXY.permute(0, 2, 3, 1).unflatten(-1, (shape[2], EMBEDDING)) @ self.label.weight.T

    def forward(self, occ_NXYZ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class scores (N, X, Y, Z, 18), code indices (N, H, W) and codebook loss of labels."""
        code_NCHW, index_NHW, loss = self.quantise(self.encode(occ_NXYZ))
        return self.decode(code_NCHW, tuple(occ_NXYZ.shape[1:])), index_NHW, loss


class Encoder(nn.Module):
    """Residual convolutions at full, half and quarter resolution; self-attention at the last."""

    def __init__(self, channels: int, width: int, latent: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.levels, self.downs = nn.ModuleList(), nn.ModuleList()
        before = width
        # Each level but the last halves the map; attention only at the last, where there are few places.
        for level, multiplier in enumerate(MULTIPLIERS):
            last = level == len(MULTIPLIERS) - 1
            self.levels.append(_level(before, multiplier * width, attention=last))
            before = multiplier * width
            if not last:
                self.downs.append(nn.Conv2d(before, before, 3, stride=2, padding=1))
        self.middle = _middle(before)
        self.norm = _norm(before)
        self.last = nn.Conv2d(before, latent, 3, padding=1)

    def forward(self, x_NCXY: Tensor) -> Tensor:
        """Latent maps of planes: (N, latent, H, W), a quarter of X and Y, rounded up."""
        x_NCXY = self.first(x_NCXY)
        for level, block in enumerate(self.levels):
            x_NCXY = block(x_NCXY)
            if level < len(self.downs):
                x_NCXY = self.downs[level](x_NCXY)
        return self.last(functional.silu(self.norm(self.middle(x_NCXY))))


class Decoder(nn.Module):
    """The encoder mirrored: nearest-neighbour enlargement, each followed by a convolution."""

    def __init__(self, latent: int, width: int, channels: int) -> None:
        super().__init__()
        before = width * MULTIPLIERS[-1]
        self.first = nn.Conv2d(latent, before, 3, padding=1)
        self.middle = _middle(before)
        self.levels, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, multiplier in enumerate(reversed(MULTIPLIERS)):
            self.levels.append(_level(before, multiplier * width, attention=level == 0))
            before = multiplier * width
            if level < len(MULTIPLIERS) - 1:
                self.ups.append(nn.Conv2d(before, before, 3, padding=1))
        self.norm = _norm(before)
        self.last = nn.Conv2d(before, channels, 3, padding=1)

    def forward(self, z_NCHW: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """Planes from latent maps; `sizes` of the levels as in `sizes`."""
        x_NCXY = self.middle(self.first(z_NCHW))
        for level, block in enumerate(self.levels):
            x_NCXY = block(x_NCXY)
            if level < len(self.ups):
                # Nearest neighbours to the encoder's own size at that level, then a convolution: no chequerboard.
                x_NCXY = self.ups[level](functional.interpolate(x_NCXY, size=sizes[-2 - level], mode="nearest"))
        return self.last(functional.silu(self.norm(x_NCXY)))


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1 x 1 shortcut where the number of channels changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = _norm(after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Maps of the same size, with `after` channels."""
        y_NCHW = self.conv1(functional.silu(self.norm1(x_NCHW)))
        return self.shortcut(x_NCHW) + self.conv2(functional.silu(self.norm2(y_NCHW)))


class SpatialAttention(nn.Module):
    """Residual self-attention with one head over all places of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Maps of the same shape."""
        q_NLC, k_NLC, v_NLC = self.qkv(self.norm(x_NCHW)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        y_NLC = functional.scaled_dot_product_attention(q_NLC, k_NLC, v_NLC)
        return x_NCHW + self.out(y_NLC.transpose(1, 2).unflatten(2, x_NCHW.shape[2:]))


def sizes(x: int, y: int) -> list[tuple[int, int]]:
    """Size of the map at each level of the encoder, from the window's own; each level halves, rounding up."""
    return [(-(-x // 2**level), -(-y // 2**level)) for level in range(len(MULTIPLIERS))]


def tokenizer_loss(scores_NXYZC: Tensor, occ_NXYZ: Tensor, codebook: Tensor, samples: int) -> dict[str, Tensor]:
    """Parts of the tokenizer's loss, unweighted: cross entropy, Lovasz-softmax and codebook loss.

    The Lovasz term is taken over all frames of a sample together, then averaged over the `samples` the N windows
    belong to (N is samples x frames), so that it does not depend on the batch size.
    """
    # All frames of a sample in a row: a class absent from one frame may be in the next.
    flat_BVC = scores_NXYZC.reshape(samples, -1, CLASSES)
    label_BV = occ_NXYZ.reshape(samples, -1).long()
    lovasz = torch.stack([lovasz_softmax(s.softmax(-1), label) for s, label in zip(flat_BVC, label_BV, strict=True)])
    return {
        "cross entropy": functional.cross_entropy(flat_BVC.flatten(0, 1), label_BV.flatten()),
        "lovasz": lovasz.mean(),
        "codebook": codebook,
    }


def lovasz_softmax(probability_VC: Tensor, label_V: Tensor) -> Tensor:
    """Lovasz extension of the Jaccard loss, mean over the classes present (Berman et al., CVPR 2018, eq. 9 and 11)."""
    losses = []
    for present in label_V.unique().tolist():
        # Errors of one class from the largest to the smallest; the weight of each is by how much it lowers the Jaccard
        # index when the larger ones are mistakes already.
        truth_V = (label_V == present).to(probability_VC.dtype)
        error_V, order_V = (truth_V - probability_VC[:, present]).abs().sort(descending=True)
        truth_V = truth_V[order_V]
        missed_V = truth_V.sum() - truth_V.cumsum(0)
        union_V = truth_V.sum() + (1 - truth_V).cumsum(0)
        jaccard_V = 1 - missed_V / union_V
        losses.append(error_V @ jaccard_V.diff(prepend=jaccard_V.new_zeros(1)))
    return torch.stack(losses).mean()


def _level(before: int, after: int, attention: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for block in range(BLOCKS):
        layers.append(Residual(before if block == 0 else after, after))
        if attention:
            layers.append(SpatialAttention(after))
    return nn.Sequential(*layers)


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), SpatialAttention(channels), Residual(channels, channels))


def _norm(channels: int) -> nn.GroupNorm:
    """Groups of four channels up to 32 channels, then 32 groups (or as many as divide the channels)."""
    return nn.GroupNorm(channels // 4 if channels <= 32 else math.gcd(32, channels), channels, eps=1e-6)
