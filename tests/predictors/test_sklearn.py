"""Models of scikit-learn, fitted to real data: the handwritten digits and the wines that it ships."""

from __future__ import annotations

import operator
import pickle
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.predictors.test_frameworks import served
from tests.serving.conftest import Server

from headrace.errors import ModelLoadError
from headrace.predictors.sklearn import SklearnPredictor

if TYPE_CHECKING:
    from pathlib import Path

DIGITS = load_digits()


@pytest.fixture(scope="module")
def digits() -> Any:
    """Reads handwritten digits; right on more than nine of ten."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return model.fit(DIGITS.data[:1500], DIGITS.target[:1500])


@pytest.fixture(scope="module")
def file(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' model as skops writes it."""
    path = tmp_path_factory.mktemp("digits") / "digits.skops"
    skops.io.dump(digits, path)
    return path


def loaded(file: Path) -> SklearnPredictor:
    """A predictor of the file."""
    model = SklearnPredictor("m", model=str(file))
    assert model.load()
    return model


def test_a_classifier(file: Path, digits: Any) -> None:
    """v2 and v1 say what the estimator says; metadata are the file's; other numbers are taken too."""
    model, rows = loaded(file), DIGITS.data[1500:1520]

    def tensor(datatype: str) -> dict[str, Any]:
        data = rows.ravel().tolist() if datatype.startswith("F") else rows.ravel().astype(int).tolist()
        return {"inputs": [{"name": "features", "datatype": datatype, "shape": [20, 64], "data": data}]}

    async def ask(server: Server) -> Any:
        asked = [server.post("/v2/models/m/infer", tensor(datatype)) for datatype in ("FP64", "FP32", "INT64")]
        v2 = [await each for each in asked]
        v1 = await server.post("/v1/models/m:predict", {"instances": rows.tolist()})
        return v2, v1, await server.ask("GET", "/v2/models/m")

    v2, v1, metadata = served(model, ask)
    for answer in v2:
        label, probability = answer.json["outputs"]
        assert label["data"] == digits.predict(rows).tolist()
        assert np.allclose(probability["data"], digits.predict_proba(rows).ravel())
    assert [row["label"] for row in v1.json["predictions"]] == digits.predict(rows).tolist()
    assert np.mean(digits.predict(DIGITS.data[1500:]) == DIGITS.target[1500:]) > 0.9
    assert metadata.json["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 64]}]
    assert [(each["name"], each["datatype"]) for each in metadata.json["outputs"]] == [
        ("label", "INT64"),
        ("probability", "FP64"),
    ]


def test_wrong_features_are_named(file: Path) -> None:
    """400: another number of them, texts, and a value that is no number."""
    model = loaded(file)
    short = {"name": "features", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}
    texts = {"name": "features", "datatype": "BYTES", "shape": [1, 64], "data": ["a"] * 64}
    for tensor in (short, texts):
        body = {"inputs": [tensor]}
        answer = served(model, partial(Server.post, path="/v2/models/m/infer", value=body))
        assert answer.status == 400
        assert "'features' must be FP64 [-1, 64]" in answer.body.decode()
    nan = {"instances": [[None] * 64]}
    answer = served(model, lambda server: server.post("/v1/models/m:predict", nan))
    assert answer.status == 400
    assert "'features'" in answer.body.decode()


def test_names_of_features(tmp_path: Path) -> None:
    """A model that was fitted with names takes objects by name, in any order; a missing one is named."""
    wine = load_wine(as_frame=True)
    names = np.array(["barolo", "grignolino", "barbera"], dtype=object)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(wine.data, names[wine.target])
    skops.io.dump(fitted, tmp_path / "wine.skops")
    model = loaded(tmp_path / "wine.skops")
    row = dict(reversed(list(wine.data.iloc[0].items())))

    async def ask(server: Server) -> Any:
        good = await server.post("/v1/models/m:predict", {"instances": [row]})
        row.pop("alcohol")
        return good, await server.post("/v1/models/m:predict", {"instances": [row]})

    good, bad = served(model, ask)
    assert good.json["predictions"][0]["label"] == "barolo"
    assert (bad.status, "instance 0 has no feature 'alcohol'" in bad.body.decode()) == (400, True)


def test_a_regressor(tmp_path: Path) -> None:
    """One output, and v1 predictions are plain numbers."""
    data = load_diabetes()
    fitted = LinearRegression().fit(data.data, data.target)
    skops.io.dump(fitted, tmp_path / "m.skops")
    model = loaded(tmp_path / "m.skops")
    answer = served(model, lambda server: server.post("/v1/models/m:predict", {"instances": data.data[:3].tolist()}))
    assert np.allclose(answer.json["predictions"], fitted.predict(data.data[:3]))


def test_types_that_nobody_trusts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function in a skops file is not made until its very name is trusted."""
    fitted = make_pipeline(FunctionTransformer(operator.neg), LogisticRegression(max_iter=200))
    skops.io.dump(fitted.fit(DIGITS.data[:200], DIGITS.target[:200]), tmp_path / "m.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "m.skops")
    with pytest.raises(ModelLoadError, match=unknown[0]):
        SklearnPredictor("m", model=str(tmp_path / "m.skops")).load()
    monkeypatch.setenv("HEADRACE_TRUST", ",".join(unknown))
    assert SklearnPredictor("m", model=str(tmp_path / "m.skops")).load()


class Trap:
    """Says so when it is unpickled."""

    sprung: list[str] = []  # noqa: RUF012  # what the test looks at

    def __reduce__(self) -> Any:
        return Trap.sprung.append, ("sprung",)


def test_a_pickle_is_not_opened_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Any) -> None:
    """It is a program. With HEADRACE_TRUST=pickle it is run, on the user's word."""
    (tmp_path / "trap.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelLoadError, match="is pickled: reading it runs whatever is in it"):
        SklearnPredictor("m", model=str(tmp_path / "trap.pkl")).load()
    assert not Trap.sprung
    (tmp_path / "digits.joblib").write_bytes(pickle.dumps(digits))
    monkeypatch.setenv("HEADRACE_TRUST", "pickle")
    model = loaded(tmp_path / "digits.joblib")
    assert model.run({"features": DIGITS.data[:2]})["label"].tolist() == digits.predict(DIGITS.data[:2]).tolist()


def test_what_is_no_file_of_skops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with the cause; and without the package, with the command that installs it."""
    (tmp_path / "m.skops").write_bytes(b"nothing")
    with pytest.raises(ModelLoadError, match=r"m\.skops is no file of skops\.io\.dump"):
        SklearnPredictor("m", model=str(tmp_path / "m.skops")).load()
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(ModelLoadError, match=r"pip install 'headrace\[sklearn\]'"):
        SklearnPredictor("m", model=str(tmp_path / "m.skops")).load()
