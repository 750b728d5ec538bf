"""What a voxel of a label may be. Sets say it in these numbers, and so do shards, losses, scores and pictures."""

BACKGROUND, SHEET, UNKNOWN = 0, 1, 2  # UNKNOWN: nobody labelled it, so nothing is learnt or scored there
NAMES = {"background": BACKGROUND, "surface": SHEET, "ignore": UNKNOWN}  # the competition's words
