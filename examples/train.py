"""
Fit a model epoch by epoch, saving it after each, and use it.

    python examples/train.py fit examples/data/leaves.csv --model leaves.json
    python examples/train.py fit examples/data/leaves.csv --model leaves.json --epochs 50 --resume
    python examples/train.py predict leaves.json 110 95

The model is a softmax regression, fitted by gradient descent. An epoch depends on nothing but
the model and the data, so a run that was stopped and resumed ends with the very same numbers.
"""

import csv
import json
import math
import os
import random
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import click

import mcli

Row = list[float]


class Data(NamedTuple):
    """Examples: their features' names, and for each example the values and the label."""

    features: list[str]
    rows: list[Row]
    labels: list[str]


@dataclass
class Model:
    """A softmax regression on features that are scaled to mean 0 and deviation 1."""

    features: list[str]
    labels: list[str]
    means: Row
    scales: Row
    weights: list[Row]
    """For each label: a weight for each feature, then the bias."""
    epoch: int = 0

    @classmethod
    def untrained(cls, data: Data) -> "Model":
        """A model that holds every label of *data* equally likely."""
        columns = list(zip(*data.rows, strict=True))
        means = [math.fsum(column) / len(column) for column in columns]
        scales = [
            math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(column)) or 1.0
            for column, mean in zip(columns, means, strict=True)
        ]
        labels = sorted(set(data.labels))
        return cls(data.features, labels, means, scales, [[0.0] * (len(means) + 1) for _ in labels])

    @classmethod
    def load(cls, path: Path) -> "Model":
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise click.ClickException(f"{path} is not a model that fit has saved") from error

    def save(self, path: Path) -> None:
        """Replace *path* in one step: at any moment it holds a whole model, old or new."""
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            part.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise click.ClickException(str(error)) from error
        finally:
            with suppress(OSError):
                part.unlink()

    def scaled(self, row: Row) -> Row:
        """*row* as the weights expect it: scaled, and a 1 for the bias."""
        return [(x - m) / s for x, m, s in zip(row, self.means, self.scales, strict=True)] + [1.0]

    def chances(self, scaled: Row) -> Row:
        """How likely each label is, in the order of ``labels``."""
        scores = [sum(map(float.__mul__, weights, scaled)) for weights in self.weights]
        odds = [math.exp(score - max(scores)) for score in scores]
        return [odd / sum(odds) for odd in odds]

    def step(self, rows: list[Row], targets: list[int], rate: float) -> None:
        """One epoch: move the weights against the mean gradient of the loss."""
        gradient = [[0.0] * len(rows[0]) for _ in self.labels]
        for row, target in zip(rows, targets, strict=True):
            for label, chance in enumerate(self.chances(row)):
                error = chance - (label == target)
                gradient[label] = [g + error * x for g, x in zip(gradient[label], row, strict=True)]
        self.weights = [
            [w - rate * g / len(rows) for w, g in zip(weights, slopes, strict=True)]
            for weights, slopes in zip(self.weights, gradient, strict=True)
        ]
        self.epoch += 1

    def measure(self, rows: list[Row], targets: list[int]) -> tuple[float, float]:
        """The mean loss, and the share of *rows* whose likeliest label is the right one."""
        loss = right = 0.0
        for row, target in zip(rows, targets, strict=True):
            chances = self.chances(row)
            loss -= math.log(max(chances[target], 1e-300))
            right += chances[target] == max(chances)
        return loss / len(rows), right / len(rows)


@click.group()
def train() -> None:
    """Fit a classifier, and use it."""


@train.command()
@mcli.background
@click.argument(
    "data", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--model", "path", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the data that is made.")
@click.option("--resume", is_flag=True, help="Go on from the saved model, if there is one.")
def fit(
    data: Path | None, path: Path, epochs: int, rate: float, seed: int, resume: bool
) -> dict[str, float]:
    """Fit a model to DATA: a CSV with a header, numbers, and the label in the last column.

    Without DATA the model is fitted to points that are made from the seed.
    """
    examples = read(data) if data else make(seed)
    model = Model.load(path) if resume and path.exists() else Model.untrained(examples)
    if model.features != examples.features or not set(examples.labels) <= set(model.labels):
        raise click.ClickException(f"{path} was fitted to other columns; leave out --resume")
    rows = [model.scaled(row) for row in examples.rows]
    targets = [model.labels.index(label) for label in examples.labels]
    while model.epoch < epochs:
        model.step(rows, targets, rate)
        loss, accuracy = model.measure(rows, targets)
        model.save(path)
        click.echo(f"epoch {model.epoch}/{epochs}: loss {loss:.4f}, accuracy {accuracy:.1%}")
    loss, accuracy = model.measure(rows, targets)
    return {"epochs": model.epoch, "loss": loss, "accuracy": accuracy}


# A value may be negative: without this setting Click would take -1.5 for an option.
@train.command(context_settings={"ignore_unknown_options": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("values", type=float, nargs=-1, required=True)
def predict(model: Path, values: tuple[float, ...]) -> None:
    """Print the likeliest label for VALUES, one for each feature of MODEL."""
    fitted = Model.load(model)
    if len(values) != len(fitted.features):
        raise click.UsageError(f"{model} needs {len(fitted.features)}: {' '.join(fitted.features)}")
    chance, label = max(zip(fitted.chances(fitted.scaled([*values])), fitted.labels, strict=True))
    click.echo(f"{label} ({chance:.1%})")


def read(path: Path) -> Data:
    """The examples in the CSV file *path*, checked line by line."""
    rows, labels = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            for fields in filter(None, lines):
                *values, label = fields
                row = [float(value) for value in values]
                if len(fields) != len(header) or not all(map(math.isfinite, row)):
                    raise ValueError(f"not {len(header) - 1} numbers and a label")
                rows.append(row)
                labels.append(label)
    except (OSError, csv.Error, UnicodeError) as error:
        raise click.ClickException(f"cannot read {path}: {error}") from error
    except ValueError as error:
        raise click.ClickException(f"{path}, line {lines.line_num}: {error}") from error
    if len(header) < 2 or not rows:
        raise click.ClickException(
            f"{path} holds no examples: a header, numbers, labels at the end"
        )
    return Data(header[:-1], rows, labels)


def make(seed: int, count: int = 300) -> Data:
    """*count* points around three centres, the same for the same *seed*."""
    chance = random.Random(seed)
    centres = {"red": (0.0, 0.0), "green": (3.0, 1.0), "blue": (1.0, 3.5)}
    labels = [list(centres)[i % 3] for i in range(count)]
    rows = [[chance.gauss(x, 1.0) for x in centres[label]] for label in labels]
    return Data(["x", "y"], rows, labels)


if __name__ == "__main__":
    train()
