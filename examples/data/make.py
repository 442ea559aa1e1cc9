"""
Make the data of the examples: the same bytes each time.

    python examples/data/make.py [DIRECTORY]
"""

import csv
import json
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

PRICES = {"apples": 2.40, "bread": 3.15, "cheese": 8.90, "honey": 6.50, "tea": 4.25}
LEAVES = {"beech": (80, 55), "maple": (110, 120), "willow": (105, 18)}
"""Mean length and width in millimetres."""


def sales(chance: Random) -> Iterator[list[object]]:
    """200 sales over a year, in order."""
    yield ["date", "product", "units", "unit_price"]
    for i in range(200):
        product = list(PRICES)[int(chance.random() * len(PRICES))]
        price = PRICES[product] * (0.9 + 0.2 * chance.random())
        day = date(2025, 1, 1) + timedelta(days=i * 365 // 200)
        yield [day, product, 1 + int(chance.random() * 24), f"{price:.2f}"]


def leaves(chance: Random) -> Iterator[list[object]]:
    """150 measured leaves."""
    yield ["length_mm", "width_mm", "tree"]
    for i in range(150):
        tree = list(LEAVES)[i % len(LEAVES)]
        length, width = (mean * (0.6 + 0.8 * chance.random()) for mean in LEAVES[tree])
        yield [f"{length:.1f}", f"{width:.1f}", tree]


def events(chance: Random) -> Iterator[dict[str, object]]:
    """100 visits of a web site."""
    when = datetime(2025, 3, 1, 8)  # noqa: DTZ001
    for number in range(1, 101):
        when += timedelta(seconds=int(chance.random() * 600))
        page = ["/", "/prices", "/café", "/contact"][int(chance.random() * 4)]
        tags = ["mobile"] if chance.random() < 0.4 else []
        milliseconds = round(20 + 400 * chance.random() ** 3, 1)
        yield {"id": number, "at": f"{when:%FT%TZ}", "page": page, "ms": milliseconds, "tags": tags}


def main(directory: Path) -> None:
    for name, rows in {"sales": sales(Random(1)), "leaves": leaves(Random(2))}.items():
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    with (directory / "events.jsonl").open("w", encoding="utf-8") as file:
        for event in events(Random(3)):
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
