"""The parser of free answers: what it reads, when it abstains, by sentences that published models wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.studies.captions.evaluation import parser

YES = ("yes", "no")
IMAGES = ("the second image", "the third image")


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("B", "ABCD", "B"),
        ("(b).", "ABCD", "B"),
        ("<s> (A) Point A", "ABCD", "A"),
        ("C. left", "ABCD", "C"),
        ("The reference point lies on the bird's leg. **The correct answer is (B).**", "ABCD", "B"),
        ("The answer is (A). No, wait: the answer is (C).", "ABCD", "C"),
        ("So, the answer is:\n\n**(B) the third image**", IMAGES, "B"),
        ("The third image (B) is most similar to the first image, whereas the second image (A) is not.", IMAGES, None),
        ("Box A more accurately encloses the cat. Box B, on the other hand, is larger.", "AB", "A"),
        ("I cannot tell for certain. Therefore, I choose option (B) the third image.", IMAGES, "B"),
        ("Yes", YES, "A"),
        ("<s> No.", YES, "B"),
        ("The truck is in front of the boat, so yes, it is.", YES, "A"),
    ],
)
def test_an_answer_is_read_as_a_person_would(answer: str, choices: tuple[str, ...], letter: str | None) -> None:
    if letter is not None:
        assert parser.explain(answer, tuple(choices))[0] == letter


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The image shows a dog.",
        "It is not possible to confidently select either (A) the second image or (B) the third image.",
        "None of the choices (A, B, C, D) corresponds to the point.",
        "However, this number is not listed in the provided choices (A) 4, (B) 5, (C) 6, (D) 3.",
    ],
)
def test_no_answer_is_no_letter(answer: str) -> None:
    assert parser.parse(answer) is None


def test_words_that_begin_with_a_letter_are_no_choice() -> None:
    assert parser.parse("Based on the picture there is nothing.") is None
    assert parser.parse("The picture is blank.", tuple("ABCDEFGH")) is None


@given(st.text(max_size=60), st.integers(1, 8))
def test_only_choices_that_exist_are_named(answer: str, count: int) -> None:
    place = parser.parse(answer, tuple(parser.LETTERS[:count]))
    assert place is None or 0 <= place < count


@given(st.sampled_from("ABCD"), st.sampled_from(["the answer is ({})", "({})", "{}", "({}) a car", "Answer: {}"]))
def test_what_is_said_plainly_is_read(letter: str, form: str) -> None:
    assert parser.parse(form.format(letter)) == "ABCD".index(letter)


def test_the_rival_that_never_abstains_takes_a_refusal_for_its_first_letter() -> None:
    assert parser.never_abstains("I cannot tell.") == 2
    assert parser.never_abstains("Hmm.") == 0
