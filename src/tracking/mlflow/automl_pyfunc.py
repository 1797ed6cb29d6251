"""Lets MLflow predict with a model that automl exported to ONNX: columns in, label and probabilities out.

Numbers may be missing, texts may be unknown; both count as missing, as in `automl predict`.
"""

import os

import numpy as np
import pandas as pd


def _numbers(column):
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def _texts(column):
    missing = column.isna().to_numpy(dtype=bool)
    texts = column.astype(object).map(str).str.strip().to_numpy(dtype=object)
    texts[missing] = ""
    return texts


class _Model:
    def __init__(self, path):
        import onnxruntime

        if os.path.isdir(path):
            path = os.path.join(path, "model.onnx")
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def predict(self, model_input, params=None):
        inputs = self._session.get_inputs()
        names = [i.name for i in inputs]
        if isinstance(model_input, pd.DataFrame):
            table = model_input
        elif isinstance(model_input, dict):
            table = pd.DataFrame(model_input)
        else:
            table = pd.DataFrame(model_input, columns=names)
        feed = {}
        for i in inputs:
            read = _texts if i.type == "tensor(string)" else _numbers
            feed[i.name] = read(table[i.name])
        outputs = [o.name for o in self._session.get_outputs()]
        values = self._session.run(outputs, feed)
        return pd.DataFrame(dict(zip(outputs, values)), index=table.index)


def _load_pyfunc(path):
    return _Model(path)
