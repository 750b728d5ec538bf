"""BLEU, ROUGE-L and CIDEr-D of captions, and what an answer looks like without a reference.

Decisions:
- The numbers are those of the COCO caption evaluation, which papers print, with its constants; no Java, no downloads.
- One tokenizer, stated here: lower case, runs of letters, digits and inner apostrophes. That one of COCO is a Java
  program. They agree on plain captions; where they may not, numbers are not compared with printed ones.
- An answer without words is a real failure that averages hide, so empty and repetitive answers are counted.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

TOKENIZER = "lower case; runs of letters and digits, apostrophes inside them; punctuation dropped"
ORDER = 4  # longest n-gram
BETA = 1.2  # ROUGE-L: weight of recall over precision
SIGMA = 6.0  # CIDEr-D: width of the penalty of another length, in bigrams
TINY, SMALL = 1e-15, 1e-9  # COCO's guards against dividing by zero; they show where an order has no match

Words = list[str]
Grams = Counter[tuple[str, ...]]


def words(text: str) -> Words:
    """The words of a text, by `TOKENIZER`."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def grams(tokens: Sequence[str], size: int) -> Grams:
    """How often each n-gram of `size` occurs."""
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))


def bleu(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, each answer beside its references (Papineni et al. 2002; closest length).

    Raises:
        ValueError: no answers, or an answer has no reference.
    """
    pairs = _tokenized(answers, references)
    matched, guessed = [0] * ORDER, [0] * ORDER
    for answer, others in pairs:
        for size in range(1, ORDER + 1):
            found, allowed = grams(answer, size), _union([grams(other, size) for other in others])
            matched[size - 1] += (found & allowed).total()  # a word counts no more often than one reference has it
            guessed[size - 1] += found.total()
    length = sum(len(answer) for answer, _ in pairs)
    wanted = sum(_closest(len(answer), [len(other) for other in others]) for answer, others in pairs)
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = min(1.0, math.exp(1 - 1 / ratio))
    logs = [math.log((hit + TINY) / (all_ + SMALL)) for hit, all_ in zip(matched, guessed, strict=True)]
    return [brevity * math.exp(sum(logs[:size]) / size) for size in range(1, ORDER + 1)]


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """ROUGE-L of one answer (Lin 2004), 0 to 1: best precision and best recall of the longest common subsequence."""
    tokens, others = words(answer), [words(reference) for reference in references]
    lengths = [_common(tokens, other) for other in others]
    precision = max(lengths, default=0) / max(len(tokens), 1)
    recall = max((length / max(len(other), 1) for length, other in zip(lengths, others, strict=True)), default=0.0)
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def cider_d(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of every answer (Vedantam et al. 2015), 0 to 10; its mean is the corpus's.

    An n-gram weighs by how few of the pictures have it in a reference: of a single picture nothing weighs, all is 0.

    Raises:
        ValueError: no answers, or an answer has no reference.
    """
    pairs = _tokenized(answers, references)
    seen: Grams = Counter()
    for _, others in pairs:
        seen.update({gram for other in others for size in range(1, ORDER + 1) for gram in grams(other, size)})
    return [
        10 * sum(_consensus(answer, other, seen, len(pairs)) for other in others) / len(others)
        for answer, others in pairs
    ]


def _consensus(answer: Words, other: Words, seen: Grams, pictures: int) -> float:
    """Mean over n of the cosine of weighted n-grams, repeated ones clipped, less what another length costs."""
    total = 0.0
    for size in range(1, ORDER + 1):
        one, two = (_weighed(tokens, size, seen, pictures) for tokens in (answer, other))
        norms = math.hypot(*one.values()) * math.hypot(*two.values())
        product = sum(min(one[gram], two[gram]) * two[gram] for gram in one.keys() & two.keys())
        total += product / norms if norms else 0.0
    apart = max(len(answer) - 1, 0) - max(len(other) - 1, 0)
    return total / ORDER * math.exp(-(apart**2) / (2 * SIGMA**2))


def _weighed(tokens: Words, size: int, seen: Grams, pictures: int) -> dict[tuple[str, ...], float]:
    counts = grams(tokens, size)
    return {gram: count * (math.log(pictures) - math.log(max(seen[gram], 1))) for gram, count in counts.items()}


def corpus(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """All caption metrics of a corpus by name, as papers print them."""
    values = dict(zip(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"), bleu(answers, references), strict=True))
    rouge = [rouge_l(answer, others) for answer, others in zip(answers, references, strict=True)]
    cider = cider_d(answers, references)
    return {**values, "ROUGE-L": sum(rouge) / len(rouge), "CIDEr-D": sum(cider) / len(cider)}


def repetition(answer: str, size: int = ORDER) -> float:
    """Share of an answer's n-grams that it has said before, 0 to 1; 0 for one too short to repeat itself."""
    counts = grams(words(answer), size)
    return 1 - len(counts) / counts.total() if counts else 0.0


def distinct(answers: Sequence[str], size: int) -> float:
    """Different n-grams of all answers over all of them (distinct-n, Li et al. 2016); 0 where there is none."""
    counts = sum((grams(words(answer), size) for answer in answers), Counter())
    return len(counts) / counts.total() if counts else 0.0


def habits(answers: Sequence[str]) -> dict[str, float]:
    """What answers look like without a reference: empty ones, repetition, variety, length in words."""
    lengths = [len(words(answer)) for answer in answers]
    return {
        "empty": sum(length == 0 for length in lengths) / len(lengths),
        "repetitive": sum(repetition(answer, 2) > 0.3 for answer in answers) / len(answers),
        "different answers": len(set(answers)) / len(answers),
        "distinct-1": distinct(answers, 1),
        "distinct-2": distinct(answers, 2),
        "words": sum(lengths) / len(lengths),
    }


def _tokenized(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[tuple[Words, list[Words]]]:
    if len(answers) != len(references) or not answers or not all(references):
        told = f"{len(answers)} answers, {len(references)} lists of references"
        raise ValueError(f"{told}: every answer needs one reference or more")
    return [(words(one), [words(other) for other in others]) for one, others in zip(answers, references, strict=True)]


def _union(counts: Sequence[Grams]) -> Grams:
    """The largest count of each n-gram in any reference."""
    largest: Grams = Counter()
    for count in counts:
        largest |= count
    return largest


def _closest(length: int, lengths: Sequence[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))


def _common(one: Words, two: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(two) + 1)
    for word in one:
        before = row
        row = [0]
        for place, other in enumerate(two):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return row[-1]
