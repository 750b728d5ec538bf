"""Parameters of the PDE study."""

from typing import Literal

from pydantic import Field, model_validator

from stepladder.core.schema import ConversionParams, DataParams, EvaluationParams, Parameters, Section


class Task(Section):
    """One file of trajectories for the solvers to make (see `solvers.tasks`)."""

    equation: str = Field(description="a task of `solvers.tasks.TASKS`, such as burgers")
    coefficients: dict[str, float] = Field({}, description="by symbol, such as {eps: 0.01}; others take the published")
    files: int = Field(1, ge=1, description="files, each with trajectories of its own")
    trajectories: int = Field(10, ge=1, description="trajectories of each file")
    points: int = Field(128, ge=8, description="points along each axis that are stored")


class PdeData(DataParams):
    """Choice of the trajectories a run uses."""

    tasks: list[Task] = Field([], description="what is solved (source: synthetic); empty: Burgers, eps 0.01")
    groups: list[str] = Field([], description="beginnings of group names, such as `burgers eps=0.01`; empty: all found")
    budget_tb: float = Field(1.0, gt=0, description="terabytes of disk that the inventory plans for")


class PdeConversion(ConversionParams):
    """How files become shards of trajectories."""

    points: int = Field(0, ge=0, description="points kept along each axis of a grid, evenly thinned; 0: all")
    every_frame: int = Field(1, ge=1, description="frames of the file between two that are kept")
    block: int = Field(500, ge=1, description="trajectories of a shard at most")
    most: int = Field(0, ge=0, description="trajectories taken of each file at most; 0: all")


class PdeModel(Section):
    """The network and the samples it sees."""

    name: str = Field("operator", description="which network (see `forecaster.BUILDERS`)")
    kind: Literal["grid", "mesh", "particles"] = Field("grid", description="what the samples live on")
    axes: int = Field(1, ge=1, le=3, description="axes of space")
    fields: int = Field(1, ge=1, description="channels of the state")
    answers: int = Field(0, ge=0, description="channels of the answer of a steady problem; 0: the next state is asked")
    periodic: bool = Field(True, description="all grids are periodic")
    conservative: bool = Field(True, description="keep the mean of conserved fields exactly")
    width: int = Field(64, ge=4, description="length of a latent token")
    depth: int = Field(1, ge=1, description="latent blocks on each side of each level")
    levels: int = Field(1, ge=1, description="levels of the U-shaped latent transformer")
    heads: int = Field(4, ge=1, description="attention heads")
    conditioning: int = Field(32, ge=4, description="width of the vector that tells the physics")
    channels: int = Field(32, ge=4, description="channels of the full-resolution layers")
    modes: int = Field(32, ge=1, description="Fourier modes of the full-resolution layers")
    before: int = Field(2, ge=0, description="full-resolution layers before the latent part")
    after: int = Field(2, ge=0, description="full-resolution layers after it")
    layers: int = Field(4, ge=1, description="layers of fno, afno and dit")
    patch: int = Field(8, ge=1, description="points of a patch along each axis")
    supernodes: int = Field(64, ge=1, description="latent tokens of meshes and particles")
    rounds: int = Field(2, ge=1, description="rounds of message passing")
    reconstruct: float = Field(0.1, ge=0, description="weight of reconstructing the state from its tokens")
    unrolled: float = Field(0.0, ge=0, description="weight of the later frames of a short rollout")
    rollout: int = Field(1, ge=1, description="frames after the present one that a training sample holds")
    stride: int = Field(1, ge=1, description="frames of a shard that one step of the network is long (grids)")
    rescale: float = Field(
        0.0, ge=0, le=1, description="share of training samples seen by another clock, with coefficients in between"
    )
    early: int = Field(
        1, ge=1, description="times the first window of a trajectory is listed; the later ones 1/(t+1) as often"
    )
    carry: bool = Field(
        False, description="add increments to the state moved by a learned distance (periodic 1-D grids)"
    )
    augment: bool = Field(False, description="train on random equivalents: moved, mirrored, turned, in a wind")
    flow_steps: int = Field(0, ge=0, description="optimizer steps of stage `flow` (periodic grids, in time); 0: none")
    student_steps: int = Field(0, ge=0, description="optimizer steps of stage `consistency`; needs flow_steps")
    prior_steps: int = Field(0, ge=0, description="optimizer steps of stage `steady` (Darcy's problem); 0: none")
    temperature: float = Field(0.0, ge=0, le=1, description="draws per group go as samples^temperature; 0: all alike")
    diffuse: bool = Field(
        False, description="smooth answers by the heat kernel of viscosity or diffusion (periodic 1-D grids)"
    )
    fit_scale: bool = Field(True, description="the first training batch decides the sizes of channels")

    @model_validator(mode="after")
    def _fits_together(self) -> "PdeModel":
        line = self.name == "operator" and self.kind == "grid" and self.axes == 1 and self.periodic
        if (self.carry or self.diffuse) and not line:
            raise ValueError("carry and diffuse are of the operator on periodic grids of one axis; set them to false")
        if self.name != "operator" and self.kind != "grid":
            raise ValueError(f"name = {self.name!r} works on grids only; on a {self.kind} take operator")
        if self.student_steps and not self.flow_steps:
            raise ValueError("student_steps: a student needs a teacher; set flow_steps too")
        if self.unrolled and self.rollout == 1:
            raise ValueError(f"unrolled = {self.unrolled} weighs later frames; set rollout to 2 or more")
        attending = {"operator": ("width", "channels"), "dit": ("width",)}.get(self.name, ())
        for name in attending if self.kind == "grid" else attending[:1]:
            if getattr(self, name) % (2 * self.heads):
                raise ValueError(f"{name} = {getattr(self, name)} is not divisible by 2 x heads = {2 * self.heads}")
        if self.name == "unet" and (self.channels % 4 or self.axes > 2):
            raise ValueError("a unet has channels in fours and one or two axes")
        if self.name == "afno" and self.width % 4:
            raise ValueError(f"width = {self.width}: an afno's is divisible by 4")
        return self


class PdeEvaluation(EvaluationParams):
    """How 06_evaluation scores."""

    members: int = Field(8, ge=2, description="members of an ensemble, where the forecast is drawn")
    horizon: int = Field(0, ge=0, description="frames forecast from the first one; 0: to the trajectory's end")


class PdeParams(Parameters):
    """Parameters of the PDE study."""

    data: PdeData = PdeData.defaults()
    conversion: PdeConversion = PdeConversion.defaults()
    model: PdeModel = PdeModel.defaults()
    evaluation: PdeEvaluation = PdeEvaluation.defaults()
