"""The vocabulary of the study: equations, coefficients and boundary types, their names and numbers.

Decisions:
- The coefficients of all equations share one vector, so that one model can be told any of them: `COEFFICIENTS` is its
  order, 0 stands for "not in this equation". Values are physical (Burgers: the viscosity, not the eps of file names).
- Numbers of equations and boundary types are places in these tables: append, never reorder.
- Groups, the strata of every table of results, are an equation with its coefficients as its files name them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

BOUNDARIES = ("periodic", "dirichlet", "neumann", "outflow", "wall", "open", "mixed")
COEFFICIENTS = (
    "viscosity",
    "bulk_viscosity",
    "speed",
    "diffusion",
    "diffusion_2",
    "reaction",
    "force",
    "mach",
    "parameter_1",
    "parameter_2",
)


@dataclass(frozen=True)
class Equation:
    """One equation.

    Attributes:
        formula: what is solved.
        symbols: symbol in file names and attributes -> name in `COEFFICIENTS`, and the factor between the two.
        boundary: the usual boundary type; files may say otherwise.
        conserved: whether the mean of every field stays as it is (of a periodic or closed domain).
        steady: whether the answer has one frame and the question is another field.
        timed: what another unit of time changes by one factor (see `clock.py`): the coefficients, or the fields too,
            because they are velocities; empty where something else sets a time.
    """

    formula: str
    symbols: Mapping[str, tuple[str, float]]
    boundary: str = "periodic"
    conserved: bool = False
    steady: bool = False
    timed: Literal["", "coefficients", "fields"] = ""


NAVIER_STOKES = {"eta": ("viscosity", 1.0), "zeta": ("bulk_viscosity", 1.0)}
EQUATIONS = {
    "burgers": Equation(
        "u_t + (u^2 / 2)_x = (eps / pi) u_xx", {"eps": ("viscosity", 1 / np.pi)}, conserved=True, timed="fields"
    ),
    "advection": Equation("u_t + beta u_x = 0", {"beta": ("speed", 1.0)}, conserved=True, timed="coefficients"),
    "reaction_diffusion": Equation(
        "u_t = nu u_xx + rho u (1 - u)", {"nu": ("diffusion", 1.0), "rho": ("reaction", 1.0)}, timed="coefficients"
    ),
    "diffusion_sorption": Equation("u_t = D / R(u) u_xx", {"D": ("diffusion", 1.0)}, "mixed"),
    "compressible_1d": Equation("compressible Navier-Stokes, 1-D", NAVIER_STOKES),
    "compressible_2d": Equation("compressible Navier-Stokes, 2-D", NAVIER_STOKES | {"M": ("mach", 1.0)}),
    "compressible_3d": Equation("compressible Navier-Stokes, 3-D", NAVIER_STOKES | {"M": ("mach", 1.0)}),
    "darcy": Equation("-div(a grad u) = beta", {"beta": ("force", 1.0)}, "dirichlet", steady=True),
    "reaction_diffusion_2d": Equation(
        "u_t = Du lap u + u - u^3 - k - v, v_t = Dv lap v + u - v",
        {"Du": ("diffusion", 1.0), "Dv": ("diffusion_2", 1.0), "k": ("reaction", 1.0)},
        "neumann",
    ),
    "shallow_water": Equation("shallow water, radial dam break", {}, "open"),
    "navier_stokes": Equation(
        "u_t + u . grad u = -grad p + nu lap u + f, div u = 0, c_t + u . grad c = nu lap c",
        {"nu": ("viscosity", 1.0)},
    ),
    "well": Equation("as the file of The Well says", {}, "mixed"),
    "lagrangian": Equation("particles", {}),
    "poisson": Equation("-lap u = f", {"mu1": ("parameter_1", 1.0), "mu2": ("parameter_2", 1.0)}, "mixed", steady=True),
    "car_pressure": Equation("pressure on a car's surface", {}, "wall", steady=True),
    "points": Equation("a field on scattered points", {"Re": ("parameter_1", 1.0)}, "mixed", steady=True),
    "allen_cahn": Equation("u_t = nu u_xx + 5 (u - u^3)", {"nu": ("diffusion", 1.0)}),
    "darcy_indicator": Equation("-div(a grad u) = f, a one of two values not told", {}, "dirichlet", steady=True),
    "korteweg_de_vries": Equation("u_t + u u_x + nu u_xxx = 0", {"nu": ("parameter_1", 1.0)}, conserved=True),
}
NAMES = tuple(EQUATIONS)


def number(equation: str) -> int:
    """The number of an equation, as samples carry it."""
    return NAMES.index(equation)


def vector(equation: str, coefficients: Mapping[str, float]) -> np.ndarray:
    """Coefficients by symbol as the common vector, float32 (K,)."""
    values = np.zeros(len(COEFFICIENTS), dtype=np.float32)
    for symbol, value in coefficients.items():
        name, factor = EQUATIONS[equation].symbols[symbol]
        values[COEFFICIENTS.index(name)] = value * factor
    return values


def symbols(equation: str, vector_K: np.ndarray) -> dict[str, float]:
    """The inverse of `vector`: coefficients by symbol."""
    table = EQUATIONS[equation].symbols
    return {symbol: float(vector_K[COEFFICIENTS.index(name)]) / factor for symbol, (name, factor) in table.items()}


def group(equation: str, coefficients: Mapping[str, float]) -> str:
    """Name of the stratum of an equation at its coefficients: `burgers eps=0.01`."""
    return " ".join([equation, *(f"{symbol}={value:g}" for symbol, value in coefficients.items())])
