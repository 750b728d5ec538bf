"""What the registry's tests share: stores of three kinds, small files, and a finished run of the template study."""

import secrets
import uuid
from pathlib import Path

import pytest

from stepladder import studies, testing
from stepladder.core.run import Run
from stepladder.core.study import find
from stepladder.data import convert, fetch, splits
from stepladder.registry.hub_api import Client
from stepladder.registry.index import Registry
from stepladder.testing.template.study import DiscParams
from tests.registry.hub_runs import REPO, save
from tests.registry.hub_server import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request, tmp_path) -> str:
    """A store of its own for the test."""
    if request.param == "folder":
        return str(tmp_path / "store")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    request.getfixturevalue("s3_endpoint")
    return f"s3://shelf/{uuid.uuid4().hex}"


@pytest.fixture
def registry(tmp_path) -> Registry:
    """A registry in a folder."""
    return Registry(str(tmp_path / "store"))


@pytest.fixture
def params() -> DiscParams:
    """Parameters of the finished run."""
    return DiscParams(study="template", profile="quick", run="walk", splits={"by": "asset"})


@pytest.fixture
def run(outputs, params, monkeypatch) -> Run:
    """A run of the template study with 01_inventory and 02_conversion done, without their notebooks."""
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(Path(testing.__file__).parent)])
    made = Run.of(ROOT, params)
    made.begin(params)
    template = find("template")
    sources = template.synthesize(made.data / "synthetic", 4, 0, params)
    plans = [fetch.plan(source, made.data / "raw") for source in sources]
    assets = template.assets([plan.root for plan in plans], params)
    folder = made.data / "shards"
    report = convert.convert(assets, params, folder, convert.Inline())
    paths = {name: path.relative_to(outputs / "template") for name, path in convert.converted(report, folder)}
    divided = splits.split(assets, params.splits, params.seed)
    made.finish_stage("01_inventory", params, [])
    aside = made.make_aside("02_conversion")
    splits.save(aside / "splits.json", divided)
    kept = {"vouched": [outputs / "template" / path for path in paths.values()], "made": aside}
    made.finish_stage("02_conversion", params, [], **kept, shards=paths, splits=divided, samples=1, failed={})
    return made


@pytest.fixture
def begun(outputs, params, monkeypatch) -> Run:
    """A run of the template study that has just begun."""
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(Path(testing.__file__).parent)])
    made = Run.of(ROOT, params)
    made.begin(params)
    return made


@pytest.fixture
def trained(begun: Run, params) -> Run:
    """A run with two checkpoints, the first of which is the best; with averaged weights."""
    for step in (10, 20):
        save(begun, params, step, best=10)
    return begun


@pytest.fixture
def token() -> str:
    """Looks like a token, is none, and is another one each time."""
    return "hf" + "_" + secrets.token_hex(17)


@pytest.fixture
def server(token, monkeypatch):
    """A hub that takes the token, which the environment holds."""
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("safetensors")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with serving(token) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", token)
        yield hub


@pytest.fixture
def client() -> Client:
    return Client(REPO)
