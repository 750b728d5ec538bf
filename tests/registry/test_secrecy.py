import pytest

from stepladder.registry import secrecy
from tests.registry.parcels import TOKEN


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: bytes | str):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize("name", [".env", ".netrc", "server.pem", "id_rsa", "credentials", ".env.local"])
def test_files_that_hold_keys_are_known_by_name(write, name):
    assert "its name" in secrecy.flaw(write(name, "x"), {})


def test_a_token_in_a_text_is_found_and_not_repeated(write):
    found = secrecy.flaw(write("notes.md", f"use {TOKEN} to log in"), {})
    assert "token" in found and TOKEN not in found


def test_the_value_of_a_secret_variable_is_found(write):
    environment = {"CLOUD_SECRET": "correct horse battery", "HOME": "nothing of interest", "PASSWORD": "short"}
    assert "CLOUD_SECRET" in secrecy.flaw(write("a.json", '{"k": "correct horse battery"}'), environment)
    assert secrecy.flaw(write("b.json", "nothing of interest, short"), environment) == ""


def test_nothing_hides_on_the_border_of_two_blocks(write):
    assert "token" in secrecy.flaw(write("long.txt", "x " * (secrecy.BLOCK // 2 - 5) + TOKEN), {})


def test_digests_and_binary_arrays_are_no_secrets(write):
    assert secrecy.flaw(write("result.json", f'{{"sha256": "{"0a" * 32}"}}'), {}) == ""
    assert secrecy.flaw(write("array.bin", b"\0" + TOKEN.encode()), {}) == ""
