"""Which choice a free answer names: a parser that may abstain, beside two rivals that others use.

Decisions:
- Only letters of choices that the question has can be read, so "The ..." is never T and "Based on ..." never B.
- Rules go from what is said plainly to what is only mentioned. The last declaration counts, for people reason first
  and answer last; a refusal after which nothing is declared is no answer.
- No answer is None and scores as wrong. A parser that must answer gives its default (A) credit for every refusal.
- Every rule is told, so that a page can say how an answer was read; the rivals are kept to be measured beside it.
"""

import re
from collections.abc import Callable, Sequence

LETTERS = "ABCDEFGH"
NOISE = re.compile(r"</?s>|[*_`$\"“”]|\\\w+\{")  # marks of templates, markdown and TeX
DECLARES = (
    r"(?:\b(?:[Aa]nswer|[Cc]hoice|[Oo]ption|[Ss]election|[Cc]onclusion)s?"
    r"(?:\s+(?:is|are|would be|should be|must be|seems to be)\b\s*:?|\s*:)"
    r"|\bis:|\b(?:choose|select|pick)\b)"
)
REFUSAL = re.compile(
    r"\b(?:not|n't|n’t) (?:be |currently )?(?:possible|able)\b|\b(?:cannot|can't|can’t|can not|unable to) (?:\w+ )?"
    r"(?:determine|select|answer|choose|provide|identify|make|tell|say|be determined)\b|\bimpossible to\b"
    r"|\bnone of (?:the|these|them)\b|\bnot (?:listed|(?:one of|among) the)\b",
    re.IGNORECASE,
)

Rule = Callable[[str, Sequence[str], str], str | None]  # text, choices, letters of the choices -> letter


def parse(answer: str, choices: Sequence[str] = ("A", "B", "C", "D")) -> int | None:
    """The place of the choice that `answer` names, or None where it names none."""
    letter, _ = explain(answer, choices)
    return None if letter is None else LETTERS.index(letter)


def explain(answer: str, choices: Sequence[str] = ("A", "B", "C", "D")) -> tuple[str | None, str]:
    """The letter that `answer` names (or None) and the rule by which it was read."""
    text, letters = NOISE.sub("", answer).strip(), LETTERS[: len(choices)]
    for rule in (_bare, _declared, _leading):
        if letter := rule(text, choices, letters):
            return letter, rule.__name__[1:]
    if REFUSAL.search(text):
        return None, "refused"
    for rule in (_only, _text, _subject, _last):
        if letter := rule(text, choices, letters):
            return letter, rule.__name__[1:]
    return None, "nothing"


def _bare(text: str, choices: Sequence[str], letters: str) -> str | None:
    """Nothing but a letter, or but a choice's own words: `b`, `(B).`, `Yes.`."""
    if match := re.fullmatch(rf"\(?([{letters}])\)?[.:]?", text, re.IGNORECASE):
        return match[1].upper()
    same = [choice.lower() == text.lower().rstrip(". ") for choice in choices]
    return letters[same.index(True)] if any(same) else None


def _declared(text: str, choices: Sequence[str], letters: str) -> str | None:
    """The last `answer is (B)`, `choose option B`; not `either (A) or (B)`, nor one that a later refusal takes back."""
    letter = rf"(?:\(([{letters}])\)|([{letters}])(?=[.,:;)]|\s*$))(?!,? (?:or|and|nor)\b)"
    found = list(re.finditer(rf"{DECLARES}\s*(?:option|choice)?\s*{letter}", text, re.MULTILINE))
    if not found or ("nswer" not in found[-1][0] and REFUSAL.search(text[found[-1].end() :])):
        return None
    return found[-1][1] or found[-1][2]


def _leading(text: str, choices: Sequence[str], letters: str) -> str | None:
    """A letter in parentheses or with a full stop that the answer begins with: `(A) the second image`, `B. left`."""
    match = re.match(rf"(?:\(([{letters}])\)|([{letters}])[.):])\s", text)
    return match[1] or match[2] if match else None


def _only(text: str, choices: Sequence[str], letters: str) -> str | None:
    """The one letter that is in parentheses anywhere."""
    found = set(re.findall(rf"\(([{letters}])\)", text))
    return found.pop() if len(found) == 1 else None


def _text(text: str, choices: Sequence[str], letters: str) -> str | None:
    """The choice whose own words the first sentence, the last or the whole answer has, where it is one."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    for part in (sentences[0], sentences[-1], text):
        named = [re.search(rf"\b{re.escape(choice)}\b", part, re.IGNORECASE) is not None for choice in choices]
        if sum(named) == 1 and len(choices[named.index(True)]) > 1:
            return letters[named.index(True)]
    return None


def _subject(text: str, choices: Sequence[str], letters: str) -> str | None:
    """What the answer speaks of first: `Box A fits closely. Box B, on the other hand, ...`."""
    match = re.match(rf"(?:The )?(?:[Bb]ox|[Pp]oint|[Pp]icture|[Ii]mage|[Oo]ption|[Cc]hoice) ([{letters}])\b", text)
    return match[1] if match else None


def _last(text: str, choices: Sequence[str], letters: str) -> str | None:
    """The last letter in parentheses, else the last that stands alone."""
    found = re.findall(rf"\(([{letters}])\)", text) or re.findall(rf"\b([{letters}])\b(?!['’])", text)
    return found[-1] if found else None


def two_rules(answer: str, choices: Sequence[str] = ("A", "B", "C", "D")) -> int | None:
    """A rival: the first letter in parentheses, else what follows `answer is`; may abstain."""
    letters = LETTERS[: len(choices)]
    match = re.search(rf"\(([{letters}])\)", answer) or re.search(rf"answer is:?\s*\(?([{letters}])\b", answer)
    return LETTERS.index(match[1]) if match else None


def never_abstains(answer: str, choices: Sequence[str] = ()) -> int:
    """A rival with the rules of a published script: a start, `answer is`, a choice's words, any A to D, else A."""
    text = answer.strip()
    if re.fullmatch("[A-Da-d]", text):
        return LETTERS.index(text.upper())
    for pattern in (r"^([A-Da-d])[):.\s]", r"(?i:answer is) ([A-Da-d])"):
        if match := re.search(pattern, text):
            return LETTERS.index(match[1].upper())
    named = [place for place, choice in enumerate(choices) if choice.lower() in text.lower()]
    loose = [LETTERS.index(letter) for letter in text.upper() if letter in "ABCD"]
    return [*named, *loose, 0][0]
