"""Sentences that our own tokenizer is trained on: what the grammar can say, and every description of a photograph.

They are the same whatever the seed and the size of a corpus, so that token ids never change with the data.
"""

import numpy as np

from stepladder.studies.captions.data.synthesis import moving, photographs, scenes

COUNT = 300  # still scenes, and as many moving ones


def texts() -> list[str]:
    """Captions, questions and answers, a few thousand in a fixed order; every word of the grammar occurs."""
    said = [
        sentence
        for photograph in photographs.PHOTOGRAPHS.values()
        for view in photograph.views
        for sentence in (*view.captions, photograph.subject)
    ]
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        scene, moved = scenes.scene(rng), moving.moving(rng)
        said += [scenes.caption(rng, scene), moving.caption(moved)]
        asked = [*scenes.questions(rng, scene), *moving.questions(rng, moved)]
        said += [sentence for question in asked for sentence in (question["question"], *question["choices"])]
    return [photographs.QUESTION, *said]
