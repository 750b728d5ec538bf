"""Secrets of every kind are found however they are written, and what only resembles one is left alone."""

import base64
import html
import json
import random
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import secret_kinds, secrets
from stepladder.core.secret_kinds import KINDS
from stepladder.core.secrets import HIDDEN, find, held, redact, redacted
from tests.core import secret_samples
from tests.core.secret_samples import BARE, HEX32, INNOCENT, NAMED, WORTH, made, pem

NOTHING: dict[str, str] = {}
SAMPLES = [*((text, text) for text in BARE.values()), *NAMED.values()]
SHORT = {name: text for name, text in BARE.items() if "\n" not in text}
FRAMES = ("{}", "use {} to log in", "({})", '"{}"', "x={}", "a\n{}\nb", "[{}, 1]", "日本語{}日本語", "\t{}.")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("text", BARE.values(), ids=BARE.keys())
def test_a_token_is_found_wherever_it_stands(text, frame):
    assert find(frame.format(text), NOTHING)
    assert redact(frame.format(text), NOTHING) == frame.format(HIDDEN)


@pytest.mark.parametrize(("text", "worth"), NAMED.values(), ids=NAMED.keys())
def test_a_secret_beside_its_name_is_taken_out_and_the_name_stays(text, worth):
    assert find(text, NOTHING)
    left = redact(text, NOTHING)
    assert HIDDEN in left
    assert not worth or worth not in left


@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_resembles_a_secret_is_left_alone(text):
    assert find(text, NOTHING) == []
    assert redact(text, NOTHING) == text


@given(st.lists(st.one_of(st.sampled_from([text for text, _ in SAMPLES]), st.sampled_from(INNOCENT[:26]), st.text())))
@settings(max_examples=200)
def test_redaction_leaves_nothing_to_find_and_changes_nothing_twice(parts):
    text = redact(" ".join(parts), NOTHING)
    assert find(text, NOTHING) == []
    assert redact(text, NOTHING) == text


@given(st.text(), st.sampled_from(list(BARE.values())), st.text())
@settings(max_examples=200)
def test_no_token_survives_whatever_stands_around_it(before, token, after):
    assert token not in redact(f"{before} {token} {after}", NOTHING)


@given(st.text(st.sampled_from("a:/@?&=%40-_.\\\n (hidden)sk-tokenkey\"'>")))
@settings(max_examples=300)
def test_any_text_comes_to_rest(text):
    assert find(redact(text, NOTHING), NOTHING) == []


WRITINGS = {
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps({"source": json.dumps(["first\n" + text + "\nlast"])}),
    "JSON escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "repr": lambda text: repr("line\n" + text),
    "bytes": lambda text: repr(b"\xff\n" + text.encode()),
    "HTML": lambda text: html.escape("a\n" + text),
    "HTML numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "colours": lambda text: f"\x1b[0;31m{text[:6]}\x1b[0m\x1b[1m{text[6:]}\x1b[0m",
    "broken line": lambda text: f"{text[:14]}\n    {text[14:]}",
    "broken line in YAML": lambda text: f'note: "{text[:14]}\\\n  {text[14:]}"',
    "narrow window": lambda text: "\n".join(text[i : i + 12] for i in range(0, len(text), 12)),
    "traceback": lambda text: f'  File "x.py", line 3\nValueError: {text}\n\nThe above exception was the direct cause',
}


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS.keys())
@pytest.mark.parametrize("token", SHORT.values(), ids=SHORT.keys())
def test_no_way_of_writing_hides_a_token(token, write):
    written = write(token)
    left = redact(written, NOTHING)
    assert HIDDEN in left
    assert find(left, NOTHING) == []
    assert token[-12:] not in left.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    "address",
    [
        "https://someone:{}@host.org/x",
        "https%3A%2F%2Fsomeone%3A{}%40host.org%2Fx",
        "https:\\/\\/someone:{}@host.org\\/x",
        "https://some%40one.org:{}@host.org:443/x",
        "https://:{}@host.org/x",
        "HTTPSConnectionPool(host='h', port=443): url: /f?a=1&X-Amz-Signature={} (Caused by ...)",
        "see https://host/f?a=1&amp;sig={}&amp;b=2",
        "https://host/f?u=https%3A%2F%2Fother%2Ff%3Fa%3D1%26sig%3D{}",
    ],
)
def test_addresses_lose_what_they_carry(address):
    left = redact(address.format(WORTH.replace("&", "%26")), NOTHING)
    assert "ub4" not in left and HIDDEN in left


def test_a_private_key_is_hidden_whole_in_a_file_in_json_and_when_it_is_cut():
    key = pem("PRIV" + "ATE KEY")
    for text in (key, json.dumps({"private_key": key}), key[:200]):
        left = redact(text, NOTHING)
        assert key[40:60] not in left and key[120:160] not in left


def test_the_value_of_a_secret_variable_is_hidden_wherever_it_stands():
    environment = {"LAMBDA_API_KEY": "correct horse battery", "PASSWORD": "short", "KEY_FILE": "/home/someone/key.json"}
    text = "answered 403 for correct%20horse%20battery, short, /home/someone/key.json"
    assert redact(text, environment) == f"answered 403 for {HIDDEN}, short, /home/someone/key.json"
    assert find(text, environment) == ["value of the environment variable LAMBDA_API_KEY"]


def test_nested_values_lose_what_their_keys_or_their_texts_tell():
    token = BARE["GitHub classic"]
    value = {
        "a": [{"password": "hunter"}, f"x {token}"],
        "b": {"api_key": "abc", token: 1, "token": "cls"},
        "c": (1, None),
    }
    assert redacted(value) == {
        "a": [{"password": HIDDEN}, f"x {HIDDEN}"],
        "b": {"api_key": HIDDEN, HIDDEN: 1, "token": "cls"},
        "c": [1, None],
    }
    assert redacted(b"\xff" + token.encode()) == b"\xff" + HIDDEN.encode()
    assert redacted({"api_key": "WANDB_API_KEY", "secret": None, "password": ""}) == {
        "api_key": "WANDB_API_KEY",
        "secret": None,
        "password": "",
    }


def test_held_names_the_place_and_the_kind():
    value = {"a": {"b": ["x", f"see {BARE['Hugging Face']}"]}, "d": {"password": "hunter"}}
    assert list(held(value)) == [("a.b.1", "Hugging Face token"), ("d.password", "secret beside its name")]


def test_a_notebook_s_outputs_are_clean_and_its_pictures_untouched():
    picture = base64.b64encode(random.Random(1).randbytes(30_000)).decode()
    token = BARE["OpenAI project"]
    outputs = [
        {"output_type": "stream", "text": ["a\n", f"{token}\n"]},
        {"output_type": "error", "traceback": [f"\x1b[31mValueError\x1b[0m: {token}"], "evalue": token},
        {"output_type": "display_data", "data": {"image/png": picture, "text/plain": repr(token)}},
    ]
    left = redacted({"cells": [{"outputs": outputs}]})
    assert token not in json.dumps(left)
    assert left["cells"][0]["outputs"][2]["data"]["image/png"] == picture


def test_no_file_about_secrets_holds_anything_that_looks_like_one():
    for path in (secret_samples.__file__, __file__, secrets.__file__, secret_kinds.__file__):
        assert find(Path(path).read_text(encoding="utf-8"), NOTHING) == [], path


def test_every_hint_is_lower_case_and_hides_no_other():
    hints = {hint for kind in KINDS for hint in kind.hints}
    assert all(hint == hint.lower() for hint in hints)
    assert not [(one, two) for one in hints for two in hints if one != two and one in two]
    assert all(secrets.hint().findall(f"x {hint}y") == [hint] for hint in hints)


@pytest.mark.parametrize(
    "piece", ["a", "-", "=", "%41", "\\n", "://a:", "eyJ", "?key=", "token: ", "password:", "&#65;"]
)
def test_no_long_text_makes_a_pattern_backtrack(piece):
    """A pattern that did would need hours for this; the test's time limit would tell."""
    find(piece * (10**6 // len(piece)) + "!", NOTHING)
    for end in ("", "@", "\n", "@h"):
        find(piece * (10**5 // len(piece)) + end, NOTHING)


def test_a_megabyte_of_base64_holds_no_secret():
    noise = random.Random(3).randbytes(750_000)
    for text in (base64.b64encode(noise).decode(), base64.encodebytes(noise).decode()):
        assert find(text, NOTHING) == []


def test_a_short_hex_word_and_a_made_one_differ_only_by_their_names():
    assert find(HEX32, NOTHING) == [] and find(f"runpod_api_key={HEX32}", NOTHING)
    assert find(made("abc", 40), NOTHING) == []
