"""What the study says of its data beforehand: card, columns of bytes, bytes that somebody planned for.

Text and numbers alone, so that a training reads them without the catalogue and its packages.
"""

SIZES = {"bytes": "everything", "typed_bytes": "with typed lines"}
PLANNED = {"Germany": 0.5e9, "Christchurch": 19.36e9, "Potsdam, Zeebrugge": 0.455e9}  # of the three sets of the plan

CARD = """
**Source.** Aerial images of roofs from five kinds of places: RID (Krapf et al. 2022; Wartenberg, Germany; masks of
superstructures and outlines, segments with azimuth and slope), the Roofline set (Alidoost et al. 2019; Potsdam and
Zeebrugge; lines and heights), AIRS (Chen et al. 2019; Christchurch; outlines), SimpleRoof (Hensel et al. 2021; untyped
wireframes), and any georeferenced raster with outlines (OpenAerialMap, SpaceNet, INRIA, WHU, your own). Where there are
none, the study makes its own scenes in the layouts of the first three. From RID's segments it derives faces with
bearing and pitch, typed lines (ridge, hip, valley, eave, gable, height break) and height above the eave.

**Licence.** RID: vectors LGPL-3.0, imagery of Google, non-commercial fair use, never published here. Roofline and
SimpleRoof: none stated, internal tests only. AIRS: imagery CC BY (LINZ). OpenAerialMap CC BY 4.0 with outlines of
OpenStreetMap (ODbL): the one real set whose pictures may be shown, with credit. SpaceNet CC BY-SA 4.0. INRIA, WHU: the
terms of their publishers. Synthetic scenes: that of this project.

**Units.** Pixels, x to the right and y down, 0 at the outer corner of the first pixel; metres of ground per pixel,
measured on the ellipsoid (a metre of EPSG:3857 is too long by 1 / cos(latitude)). Bearings in degrees of the compass,
down the face; pitch in degrees; heights in metres, above the eave (`rise`) or above the ground (`height`).

**Known defects.** RID's masks know the building in the middle alone; its other labels come from vectors, in which a few
sheds are missing. Its planes disagree at a ridge by about half a metre, its slopes are rounded to 5 degrees, and its
images overlap. Roofline has no class of valleys and does not state the size of a pixel, nor does SimpleRoof, whose
training crops are turned and tinted copies. AIRS lacks `test.txt`. OpenStreetMap's outlines may be shifted by a metre.
Nothing here shows steep mountains, thatch or snow. Synthetic scenes are easier than real ones.

**Model after.** HAWP (Xue et al., CVPR 2020) and L-CNN (Zhou et al., ICCV 2019) for lines and their metric, U-Net and
FPN for maps, Kendall et al. (CVPR 2018) for weights of tasks, partial labels as in MTPSL (Li et al., CVPR 2022).
"""
