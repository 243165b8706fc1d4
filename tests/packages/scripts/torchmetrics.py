"""Metrics as functions, and one that gathers over batches."""

import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.functional import mean_squared_error, pearson_corrcoef, r2_score

from tests.packages.common import pattern


def run(compiled):
    logits, labels = pattern(40, 4), torch.arange(40) % 4
    accuracy, table, mean = MulticlassAccuracy(4), MulticlassConfusionMatrix(4), MeanMetric()
    for part, wanted in zip(logits.split(10), labels.split(10), strict=True):
        for metric in (accuracy, table):
            metric.update(part, wanted)
        mean.update(part.sum())

    def step(a, b):
        return mean_squared_error(a, b), pearson_corrcoef(a, b), r2_score(a, b)

    values = (torch.compile(step) if compiled else step)(pattern(20), pattern(20) * 0.5 + 0.1)
    return [*values, accuracy.compute(), table.compute(), mean.compute()]
