"""How large the latent part of an operator is, on grids, meshes and particles alike."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How large the latent part is.

    Attributes:
        width: length of a token.
        depth: blocks on each side of each level of the U.
        levels: levels of the U.
        heads: attention heads.
        conditioning: width of the conditioning vector.
    """

    width: int = 64
    depth: int = 1
    levels: int = 1
    heads: int = 4
    conditioning: int = 32
