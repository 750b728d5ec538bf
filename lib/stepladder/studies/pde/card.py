"""What the study says of its data beforehand: card, columns of bytes, bytes that somebody planned for.

Text and numbers alone, so that a training reads them without the catalogue and its packages.
"""

SIZES = {"bytes": "all files", "fitting_bytes": "groups that fit data.budget_tb"}
PLANNED = {"all": 3.9e12}  # bytes of the manifest the original plan started from

CARD = """
**Source.** Own solvers (Burgers, advection, reaction-diffusion in one and two dimensions, Darcy, incompressible flow)
with PDEBench's initial conditions and file layouts; and readers for what others publish: PDEBench (Takamoto et al.,
NeurIPS 2022; doi:10.18419/darus-2986), The Well, LagrangeBench, neuraloperator, PINNacle, PINA, deepxde, Raissi.

**Licence.** Files made here: Apache-2.0. PDEBench data: as stated with its doi. The Well: BSD-3; LagrangeBench,
neuraloperator, PINNacle, PINA, Raissi: MIT; deepxde: LGPL-2.1. None is copied into this project.

**Units.** Dimensionless, unless a file says otherwise; then its units are attributes of the shard. Times and lengths in
the units of the file. Coefficients are physical: Burgers' viscosity is eps / pi, eps being what file names call Nu.

**Known defects.** PDEBench: the time coordinate is one longer than the data; the time axis of advection and the range
of x of Burgers were wrong in version 1; some compressible trajectories are broken; the published initial conditions
have a random mean, and first and last cell hold the same value. neuraloperator's Darcy file tells neither coefficients
nor force. deepxde's L-shape holds NaN outside its domain. Our incompressible flow is periodic, PDEBench's has walls.

**Model after.** Li et al., Fourier Neural Operator (ICLR 2021); Takamoto et al., PDEBench; Ohana et al., The Well
(NeurIPS 2024).
"""
