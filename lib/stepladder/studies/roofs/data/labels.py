"""What can be labelled, and how labels are stored: class tables, bits, units. Every other file takes them from here.

Decisions:
- A task is one thing a sample may be labelled with. Sources label different ones; nothing is invented for the others.
- Superstructures keep the ids of RID, whose background is the last class. Line types come from the angle and the
  bearings of the two faces that meet; where nobody typed a line it is UNTYPED, and only "a line is here" is known.
- Image coordinates are x to the right and y down, in pixels, 0 at the outer corner of the first pixel: the middle of a
  pixel is at +0.5. A mask and a polygon then mean the same place, and a factor of resolution is a plain factor.
- Bearings are compass bearings of the way down a face: 0 north, 90 east. Every stored image has north up, or its
  attribute `north_up` is false and its bearings count from the image's top.
- Two heights, because sources measure two things: `rise` above the eave of the same building (known from pitch), and
  `height` above the ground (an nDSM).
"""

from typing import Final

TASKS: Final = ("superstructure", "face", "outline", "line", "rise", "height")

SUPERSTRUCTURES: Final = (
    "pvmodule", "dormer", "window", "ladder", "chimney", "shadow", "tree", "unknown", "background",
)  # fmt: skip
BACKGROUND: Final = SUPERSTRUCTURES.index("background")

SECTORS: Final = 16  # of the compass; sector k is centred on 22.5 k degrees
FLAT: Final = SECTORS  # a face that falls nowhere
NO_FACE: Final = SECTORS + 1
FACES: Final = SECTORS + 2  # classes of the task `face`
FLAT_BELOW: Final = 5.0  # degrees of pitch

LINES: Final = ("ridge", "hip", "valley", "eave", "gable", "height_break")
UNTYPED: Final = len(LINES)  # id of a line nobody typed, and the channel "any line"
CHANNELS: Final = len(LINES) + 1

IGNORE: Final = 255  # in every map of classes: not labelled here
STRIDE: Final = 4  # image pixels per cell of the network's maps
