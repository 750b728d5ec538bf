"""The toy study of the tests of training, under parameters that can be had without torch."""

from stepladder.studies.drill.params import DrillParams
from stepladder.studies.toy.study import Toy


class Drill(Toy):
    """See `Toy`."""

    name, title, Params = "drill", "Drill", DrillParams


study = Drill()
