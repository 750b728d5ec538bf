"""Other models at the chosen setting: each is measured, what fails says why, none is chosen."""

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from stepladder.core import files
from stepladder.core.config import ParameterError
from stepladder.core.schema import LadderParams, Parameters, Section
from stepladder.ladder import run_ladder, variants
from stepladder.ladder.diagnosis import diagnose
from stepladder.ladder.records import Trial, Variant
from tests.ladder import search_results
from tests.training.conftest import make_run, toy  # noqa: F401  (fixtures)


class Model(Section):
    """Two fields to vary."""

    length: int = 128
    tokens: int = 16


class Params(Parameters):
    """Parameters with that model."""

    model: Model = Model()


def params(**asked):
    return Params(study="toy", ladder=LadderParams(variants=asked))


def test_every_combination_is_a_variant():
    found = variants.combinations(params(tokens=[16, 64], length=[128, 256, 512]))
    assert len(found) == 6 and found[0] == {"tokens": 16, "length": 128} and found[-1] == {"tokens": 64, "length": 512}
    assert variants.combinations(params()) == []


def test_what_the_model_cannot_be_is_refused_before_anything_is_measured():
    with pytest.raises(ParameterError, match="the model has no 'token'; did you mean 'tokens'"):
        variants.combinations(params(token=[16]))
    with pytest.raises(ParameterError, match="'tokens' = 'many'"):
        variants.combinations(params(tokens=[16, "many"]))


def test_a_variant_that_fails_says_how_and_all_are_read_as_they_were(tmp_path):
    found = search_results.data_bound()
    whole = found.rungs[0].trial
    failed = Trial(whole.setting, "oom", "out of memory at 10 GB", 2.0, 10**10)
    both = (Variant({"tokens": 16}, whole, 10**9), Variant({"tokens": 64}, failed, None))
    found = dataclasses.replace(found, variants=both)
    run_ladder.save(found, diagnose(found, LadderParams(), cores=4), tmp_path / "ladder.json")
    read, _ = run_ladder.read(tmp_path / "ladder.json")
    assert read == found
    table = variants.table(read)
    pd.testing.assert_frame_equal(table, variants.table(found))
    assert list(table.tokens) == [16, 64] and list(table.ended) == ["ok", "oom: out of memory at 10 GB"]
    assert variants.table(search_results.data_bound()).empty


def test_a_search_of_old_has_no_variants(tmp_path):
    found = search_results.data_bound()
    run_ladder.save(found, diagnose(found, LadderParams(), cores=4), tmp_path / "ladder.json")
    record = files.read_json(tmp_path / "ladder.json")
    del record["climb"]["variants"]
    files.write_json(tmp_path / "ladder.json", record)
    assert run_ladder.read(tmp_path / "ladder.json")[0].variants == ()


@pytest.mark.slow
def test_variants_of_a_real_training_are_measured_at_the_chosen_setting(make_run):  # noqa: F811
    asked = {"policy": "rungs", "rungs": [{"batch": 2}], "steps": 4, "soak": 0, "variants": {"width": [4, 512]}}
    run = make_run(values={"ladder": asked})
    command = [sys.executable, "-m", "stepladder.ladder.run_ladder", str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, _ = run_ladder.read(run.folder / "04_scaling/kept/ladder.json")
    assert found.chosen, found.why
    assert [one.model for one in found.variants] == [{"width": 4}, {"width": 512}]
    assert all(one.trial.ending == "ok" and one.trial.setting == found.chosen for one in found.variants)
    small, large = (one.fake_bytes for one in found.variants)
    assert large > 20 * small
