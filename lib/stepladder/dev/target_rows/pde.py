"""Rows of the study pde."""

from stepladder.dev import measured as m
from stepladder.dev.target_rows.row import CLEAR, Record, Row, below


def _burgers(record: Record) -> bool:
    ours = m.seeds_mean(record, "operator", "nrmse")
    others = {row["method"] for row in record["rows"]} - {"operator"}
    return ours <= 0.02 and all(ours < (1 - CLEAR) * m.seeds_mean(record, name, "nrmse") for name in others)


def _viscous(record: Record) -> bool:
    values = {group: methods["operator"] for group, methods in m.groups(record, "burgers_eps").items()}
    return values["eps=0.03"] <= 2 * min(values["eps=0.01"], values["eps=0.1"])


def _wrong_speed(record: Record) -> bool:
    rows = m.groups(record, "advection").values()
    return all(values["operator, wrong speed"] > 10 * values["operator"] for values in rows)


ROWS = (
    Row(
        "burgers",
        "Burgers eps 0.01, 20 steps, 150 CPU-s: nRMSE",
        "≤ 0.02, below every FNO",
        m.burgers,
        _burgers,
        headline=True,
    ),
    Row(
        "burgers",
        "... mass drift (cRMSE)",
        "< 0.001",
        m.drift,
        lambda r: m.seeds_mean(r, "operator", "crmse") < 0.001,
    ),
    Row(
        "burgers",
        "... milliseconds a trajectory (the solver: next row / 200)",
        "no target",
        m.milliseconds,
        None,
        absolute=True,
    ),
    Row(
        "solvers",
        "our solver of that equation, 1024 cells, 200 trajectories, exact to 1e-4",
        "≤ 60 s",
        m.solvers,
        lambda r: max(r["burgers_cpu_s_per_200"].values()) <= 60,
        absolute=True,
    ),
    Row(
        "tasks",
        "advection, one model for 4 speeds: nRMSE (an exact shift is 0)",
        "below each FNO without the moving frame, equal total CPU",
        m.ADVECTION,
        below("advection"),
    ),
    Row("tasks", "... told a wrong speed", "clearly worse", m.WRONG_SPEED, _wrong_speed),
    Row("tasks", "Burgers, 4 viscosities in one model: nRMSE", "eps 0.03 ≤ 2 x its neighbours", m.viscous, _viscous),
    Row("tasks", "three equations in one model: nRMSE", "joint beside single", m.MIXED, None),
    Row(
        "tasks",
        "Darcy, 16 x 16, real file: L2RE",
        "below ridge, nearest",
        m.DARCY,
        below("darcy", key="l2re"),
    ),
    Row(
        "tasks",
        "Poisson, mesh with holes, real file: L2RE",
        "below all others",
        m.MESH,
        below("mesh", key="l2re"),
    ),
    Row(
        "tasks",
        "Lennard-Jones, real file, 20 frames: nRMSE",
        "clearly below constant acceleration",
        m.PARTICLES,
        below("particles"),
    ),
    Row(
        "tasks",
        "Burgers eps 0.01, networks of one size, 150 CPU-s (only the operator has the moving frame): nRMSE",
        "below all",
        m.nets,
        below("nets"),
    ),
    Row("steady", "steady prior over Darcy's operator: kept?", "only what wins", m.stages, None),
    Row(
        "scaling_law",
        "scaling law: a run outside its grid, 4 x in both",
        "in its forecast band",
        m.LAWS,
        lambda r: all(law["verdict"] == "hit" for law in r["laws"]),
    ),
    Row("stages", "flow over the operator's error, its student: kept?", "only what wins", m.stages, None),
)
