"""What the study says of its data beforehand: card, columns of bytes, bytes that somebody planned for.

Text and numbers alone, so that a training reads them without the catalogue and its packages.
"""

SIZES = {"bytes": "lists and pictures", "list_bytes": "lists alone"}
PLANNED = {"DataComp small": 450e9}  # the plan's 12.8 million pictures of DataComp-small at 512 pixels

CARD = """
**Source.** Lists of addresses and texts: DataComp-small (12.8 million rows, Gadre et al. 2023) and any other parquet,
csv, tsv or jsonl file with an address and a text in a row (CC12M, CC3M, LAION, COYO). The pictures lie at thousands of
hosts and are asked for one by one, politely. Also tars in webdataset layout, and NLVR (Suhr et al. 2017). Where there
is no list the study makes one: photographs that scikit-image ships, crops of them and drawn scenes, described by us,
served by a faulty server on this machine. Towers: SigLIP and Gemma 3 4B (Google), the VAE of Cosmos-Predict2 (NVIDIA;
its class is Wan's), or EfficientNet-Lite0 and a VAE and a language model of our own in the sizes that run offline.

**Licence.** DataComp's metadata are CC BY 4.0, and nothing more: each picture keeps the rights of whoever made it, a
list of addresses grants none, and robots.txt and noai headers are heeded by default. Pictures are never published from
here, figures of real ones neither without their owners' leave. scikit-image's photographs: CC0 or public domain. NLVR:
CC BY 4.0. BLINK and VSR: annotations Apache-2.0, pictures those of their sets. Gemma's weights: Google's terms of use,
not Apache-2.0; what is trained on them carries these terms. Cosmos: NVIDIA's open model licence. Code: that of this
project.

**Units.** Pictures uint8 (Y, X, 3), sRGB, 0 at the upper left, at most 512 pixels along the longer side. World
features are latents of the VAE: input in [-1, 1], normalised by its own mean and deviation. Texts UTF-8, as they came.
Sizes in a list in pixels, CLIP similarities cosines, boxes of faces x0, y0, x1, y1 as shares of the sides. Tokens are
counted after the tokenizer. Probabilities are natural; a metric of 1 is perfect.

**Known defects.** Links die: 86 to 97 % lived when DataComp was new, 62 % of CC12M after five years; what is got is
not a fair sample of what was listed. 14 % of DataComp's checksums did not match in one download, and pictures that say
"removed" look like successes. Texts are what somebody typed beside a picture: half name a product. DataComp's English
filter is a network that is not here; ours is lighter and keeps names in other languages. Faces are blurred only where
the list tells boxes. Our offline corpus has few photographs and short descriptions: a good score there says that the
road works, not that a model understands the world.

**What the plan claims, and what we found.** Its 76.3 million trainable parameters "projection and temporal embeddings"
are 73,296,659 of the VAE's unused decoder and quantising layers, 2,950,272 of Gemma's own projector, and 43,520 of the
projection: 76,290,451, of which 0.06 % are meant. Its world branch never ran in the published evaluation, which was
called without images: four "different" models gave the same 1,406 answers. Its labels were overwritten, so about 280
of 296 supervised positions were prompt and placeholders. Its benchmark's answers were hidden: scored against the test
split of BLINK, whose answers are the word "hidden", every model gets 0.0 %. Its temporal embeddings are in no code.
None of its gains can be told from nothing; so this study asks every arm the same questions and may answer "no effect".

**Model after.** Gemma 3 (2025), Cosmos-Predict2 (2025) and Wan (2025), LLaVA (Liu et al. 2023) for a projection
between frozen towers, the resampler of Flamingo (Alayrac et al. 2022), prefix tuning (Li and Liang 2021) as a control,
BLINK (Fu et al. 2024) for questions, CIDEr (Vedantam et al. 2015) for captions.
"""
