"""What the study says of its data beforehand: card, columns of bytes, bytes that somebody planned for.

Text and numbers alone, so that a training reads them without the catalogue and its packages.
"""

SIZES = {"bytes": "everything", "labelled_bytes": "with labels"}
PLANNED = {"Kaggle": 27.49e9}  # bytes the original plan mounted from a bucket

CARD = """
**Source.** Vesuvius Challenge: CT scans of carbonised papyrus scrolls from Herculaneum. Labelled cubes of the Kaggle
competition "Surface Detection" (786 volumes of six scrolls, mostly 320^3 voxels), labelled cubes and whole scans of the
open server. The study reads the competition's layout in any of five formats; it makes its own scrolls where there are
none, and FlyEM's medulla (Creative Commons attribution) in the same layout stands in where there is no token.

**Licence.** Competition data: CC BY-NC 4.0, a Kaggle token and accepted rules. Open server: terms by registration.
Synthetic volumes: that of this project.

**Units.** Voxels; spacing in micrometres along z, y, x where a file says it (7.91 for most scans). Intensities are
8-bit, normalised by mean and deviation of the volume.

**Known defects.** Half to two thirds of the voxels of a real label are 2 (ignore). 20 of the 806 rows of train.csv have
no file. Where sheets touch, even the competition's winners merge them. Synthetic scrolls are easier than real ones:
tears are round, fibres straight, and nothing is folded; a tenth of their voxels is surface, not a twentieth.

**Model after.** nnU-Net (Isensee et al., Nature Methods 2021) and the writeups of the competition's winners; skeleton
recall of Kirchhoff et al. (ECCV 2024), boundary loss of Kervadec et al. (MIDL 2019).
"""
