import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import config, profiles
from stepladder.core.config import ParameterError
from stepladder.core.schema import Parameters
from stepladder.core.secrets import find
from tests.core.secret_samples import BARE, INNOCENT, NAMED


def check(**values):
    return config.check(Parameters, {"study": "plateau", **values})


def test_a_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(ParameterError, match=r"'training\.learning_rat' = 0\.1; did you mean 'learning_rate'"):
        check(training={"learning_rat": 0.1})
    with pytest.raises(ParameterError, match="did you mean 'training'"):
        check(trainig={})


@pytest.mark.parametrize("value", ["ten", "10", 1.5, True, None, [1]])
def test_a_wrong_type_is_refused_and_shown(value):
    with pytest.raises(ParameterError, match=r"training\.steps"):
        check(training={"steps": value})


def test_scientific_notation_that_yaml_reads_as_text_is_a_number():
    assert isinstance(yaml.safe_load("3e-4"), str)
    assert check(training={"learning_rate": yaml.safe_load("3e-4")}).training.learning_rate == 3e-4


def test_out_of_range_names_the_limit():
    with pytest.raises(ParameterError, match="greater than 0"):
        check(training={"learning_rate": -1.0})


def test_values_cannot_change_after_the_check():
    with pytest.raises(Exception, match="frozen"):
        check().training.steps = 5


@pytest.mark.parametrize("text", [*BARE.values(), *(text for text, _ in NAMED.values())])
def test_a_secret_is_refused_as_a_parameter_and_not_shown(text):
    """In a parameter of its own, in one that does not exist, deep in a list, as a name."""
    kind = find(text)[0]
    for place, values in (
        ("data.mirror", {"data": {"mirror": text}}),
        ("training.note", {"training": {"note": text}}),
        ("data.a.1.b", {"data": {"a": [0, {"b": text}]}}),
        ("data", {"data": {text: 1}}),
    ):
        with pytest.raises(ParameterError) as error:
            check(**values)
        told = str(error.value)
        assert f"parameter {place!r} holds what looks like a secret ({kind})" in told
        assert "environment variable" in told
        assert text not in told and not find(told)


def test_what_a_name_calls_a_password_is_refused_and_the_name_of_a_variable_is_not():
    with pytest.raises(ParameterError, match=r"'training\.password' holds what looks like a secret"):
        check(training={"password": "hunter"})
    with pytest.raises(ParameterError, match=r"unknown parameter 'training\.password' = 'MY_PASSWORD'"):
        check(training={"password": "MY_PASSWORD"})


@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_resembles_a_secret_is_a_parameter_like_any(text):
    assert check(data={"mirror": text}).data.mirror == text


def test_no_error_about_parameters_shows_a_secret(tmp_path):
    token = BARE["GitLab personal"]
    path = tmp_path / "bad.yaml"
    for text in (f"training: {{note: {token}", f"- {token}", f"a: '{token}\n b: ["):
        path.write_text(text)
        with pytest.raises(ParameterError) as error:
            config.read_yaml(path)
        assert token not in str(error.value)
    with pytest.raises(ParameterError) as error:
        config.parse_assignment(token)
    assert token not in str(error.value)


def test_overrides_win_and_keep_their_neighbours(outputs):
    loaded = profiles.load(config.Path(__file__).parents[2], "plateau", "quick", {"training": {"steps": 7}})
    assert loaded.training.steps == 7
    assert loaded.training.batch == profiles.load(config.Path(__file__).parents[2], "plateau", "quick").training.batch


def test_unknown_study_and_profile_name_the_nearest():
    root = config.Path(__file__).parents[2]
    with pytest.raises(ParameterError, match="did you mean 'plateau'"):
        profiles.load(root, "plataeu")
    with pytest.raises(ParameterError, match="did you mean 'quick'"):
        profiles.load(root, "plateau", "quik")


def test_broken_yaml_names_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("training: {steps: 3")
    with pytest.raises(ParameterError, match=r"bad\.yaml is not valid YAML"):
        config.read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("training.steps=10", {"training": {"steps": 10}}), ("a=[1, 2]", {"a": [1, 2]}), ("a.b=x", {"a": {"b": "x"}})],
)
def test_assignments(text, value):
    assert config.parse_assignment(text) == value


def test_what_is_no_assignment_is_refused():
    with pytest.raises(ParameterError, match=r"training\.steps=10"):
        config.parse_assignment("training.steps")


scalars = st.one_of(st.integers(), st.booleans(), st.text(max_size=3))
trees = st.recursive(scalars, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(mappings, mappings)
def test_merging_keeps_every_value_of_the_last_layer(a, b):
    merged = config.merge(a, b)
    assert config.merge(merged, b) == merged
    assert set(merged) == set(a) | set(b)
    assert all(merged[key] == a[key] for key in set(a) - set(b))


def test_the_dump_reads_back_equal():
    loaded = check(training={"steps": 3}, tracking=["jsonl"])
    assert config.check(Parameters, yaml.safe_load(config.dump(loaded.model_dump(mode="json")))) == loaded


def test_every_parameter_says_what_it_means():
    from stepladder.core.study import find, names

    for name in names():
        for row in config.table(find(name).Params):
            assert row["meaning"], f"{name}: {row['name']} has no description"


def test_a_misspelt_name_inside_a_list_is_refused_with_its_place():
    with pytest.raises(ParameterError, match=r"'ladder\.rungs\.0\.worker' = 2; did you mean 'workers'"):
        check(ladder={"rungs": [{"worker": 2}]})
