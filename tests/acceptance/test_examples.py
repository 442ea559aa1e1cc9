"""The examples, each command as a real process on real input, run here and by a daemon."""

import csv
import gzip
import hashlib
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, PROJECT, Run, clean_env

DATA = EXAMPLES / "data"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
VARYING = re.compile(r"[\d,]+ rows/s|[\d,]+ bytes \([\d.]+%\)")
"""The speed, and how small this machine's zlib makes a file."""


def sums(paths: Iterable[Path]) -> str:
    """What sha256sum prints for *paths*."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n" for path in sorted(paths)
    )


def rows_of(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute(query).fetchall()


def sales() -> list[dict[str, str]]:
    """The bundled sales, read by the test itself."""
    with (DATA / "sales.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# files.py


def test_checksum_prints_the_digest_of_every_file(run: Run) -> None:
    """
    The lines are those of sha256sum, sorted by path; the progress bar keeps to stderr.
    """
    done = run("files.py", "checksum", DATA, "--exclude", "__pycache__", "--exclude", "*.jsonl")
    assert done.stdout == sums([*DATA.glob("*.csv"), *DATA.glob("*.py")])
    assert "Hashing" in done.stderr


def test_checksum_writes_a_file_that_does_not_list_itself(run: Run, tmp_path: Path) -> None:
    """
    --output holds the sums, under paths relative to where the command ran, and stdout nothing.
    A second run, with that file in the tree, writes the same.
    """
    below = tmp_path / "tree" / "below"
    below.mkdir(parents=True)
    (below / "two").write_bytes(bytes(range(256)) * 5000)
    (tmp_path / "tree" / "empty").touch()
    expected = sums([below / "two", tmp_path / "tree" / "empty"]).replace(f"{tmp_path}/", "")
    for _ in range(2):
        assert run("files.py", "checksum", "tree", "--output", "tree/SUMS").stdout == ""
        assert (tmp_path / "tree" / "SUMS").read_text() == expected


def test_checksum_escapes_a_name_with_a_line_end(run: Run, tmp_path: Path) -> None:
    """
    A name that would break its line is escaped and the line is marked, as sha256sum does.
    """
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a\nb").touch()
    empty = hashlib.sha256(b"").hexdigest()
    assert run("files.py", "checksum", "tree").stdout == f"\\{empty}  tree/a\\nb\n"


def test_checksum_of_no_directory_is_a_usage_error(run: Run) -> None:
    """
    A path that is not there, and one that is a file, exit 2 with a line that names them.
    """
    assert "'nowhere' does not exist" in run("files.py", "checksum", "nowhere", exit_code=2).stderr
    done = run("files.py", "checksum", DATA / "make.py", exit_code=2)
    assert "is a file" in done.stderr


def test_compress_makes_a_file_that_unpacks_to_the_same(run: Run, tmp_path: Path) -> None:
    """
    The packed file holds every byte of the source, which stays; sizes and ratio are printed.
    """
    plain = b"".join(b"line %d of a log\n" % number for number in range(150_000))
    (tmp_path / "app.log").write_bytes(plain)
    done = run("files.py", "compress", "app.log", "--level", "9")
    packed = (tmp_path / "app.log.gz").read_bytes()
    assert gzip.decompress(packed) == plain == (tmp_path / "app.log").read_bytes()
    assert done.stdout == (
        f"app.log: {len(plain):,} bytes\n"
        f"app.log.gz: {len(packed):,} bytes ({len(packed) / len(plain):.1%})\n"
    )
    assert done.stderr.splitlines()[-1] == f"{len(plain):,} of {len(plain):,} bytes"
    assert {path.name for path in tmp_path.iterdir()} == {"app.log", "app.log.gz"}


def test_compress_replaces_a_file_only_by_force(run: Run, tmp_path: Path) -> None:
    """
    Without --force an output that is there stays as it is and the exit code is 1.
    """
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    done = run("files.py", "compress", "a", "--output", "b", exit_code=1)
    assert done.stderr == "Error: b is there already; --force replaces it\n"
    assert (tmp_path / "b").read_bytes() == b"old"
    run("files.py", "compress", "a", "--output", "b", "--force")
    assert gzip.decompress((tmp_path / "b").read_bytes()) == b"new"


def test_compress_into_a_missing_folder_is_one_line(run: Run) -> None:
    """
    An output that cannot be written exits 1, with one line on stderr.
    """
    source = DATA / "sales.csv"
    done = run("files.py", "compress", source, "--output", "no/where.gz", exit_code=1)
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "No such file" in line


# database.py


def test_load_inserts_every_row_of_a_csv(run: Run, tmp_path: Path) -> None:
    """
    The table has the header's columns and the file's rows in order, whatever the batch size.
    """
    done = run(
        "database.py", "load", DATA / "sales.csv",
        "--database", "x.db", "--table", "sales", "--batch", 70,
    )  # fmt: skip
    assert rows_of(tmp_path / "x.db", "SELECT date, product, units, unit_price FROM sales") == [
        tuple(row.values()) for row in sales()
    ]
    assert done.stderr == "70 rows\n140 rows\n200 rows\n"
    assert done.stdout.startswith("sales: 200 rows loaded, 0 lines skipped, ")
    assert done.stdout.endswith(" rows/s\n")


def test_load_keeps_the_types_of_json_lines(run: Run, tmp_path: Path) -> None:
    """
    Numbers and text stay what they are, lists become JSON; names of any characters are quoted.
    """
    table = 'ev"ents; --'
    run("database.py", "load", DATA / "events.jsonl", "--database", "x.db", "--table", table)
    events = [json.loads(line) for line in (DATA / "events.jsonl").read_text("utf-8").splitlines()]
    loaded = rows_of(tmp_path / "x.db", 'SELECT id, at, page, ms, tags FROM "ev""ents; --"')
    assert loaded == [(e["id"], e["at"], e["page"], e["ms"], json.dumps(e["tags"])) for e in events]
    done = run("database.py", "count", "--database", "x.db", "--table", table, job=False)
    assert done.stdout == "100\n"


BAD = {
    "bad.csv": ('a,b\n1,"x\ny"\n2\n3,z\n', "bad.csv, line 4: 1 fields where the header has 2"),
    "bad.jsonl": (
        '{"a": 1, "b": "x"}\n{"a": 2,\n{"a": 3}\n',
        "bad.jsonl, line 2: not JSON: ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_load_skips_a_bad_line_when_told_to(run: Run, tmp_path: Path, name: str) -> None:
    """
    --on-error skip names the line and loads the others.
    """
    text, problem = BAD[name]
    (tmp_path / name).write_text(text)
    done = run(
        "database.py", "load", name, "--database", "x.db", "--table", "t", "--on-error", "skip"
    )
    assert problem in done.stderr
    assert done.stdout.startswith("t: 2 rows loaded, 1 lines skipped, ")
    assert rows_of(tmp_path / "x.db", "SELECT CAST(a AS INT) FROM t") == [(1,), (3,)]


@pytest.mark.parametrize("name", BAD)
def test_load_stops_at_a_bad_line(run: Run, tmp_path: Path, name: str) -> None:
    """
    By default a bad line exits 1 and names the line; the batches before it stay, whole.
    """
    text, problem = BAD[name]
    (tmp_path / name).write_text(text)
    done = run(
        "database.py", "load", name, "--database", "x.db", "--table", "t", "--batch", 1, exit_code=1
    )
    assert f"Error: {problem}" in done.stderr
    assert done.stderr.endswith("; 1 rows were loaded\n")
    assert rows_of(tmp_path / "x.db", "SELECT CAST(a AS INT) FROM t") == [(1,)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"a,b\n", "x.txt is neither .csv nor .jsonl; say which with --format"),
        ("x.csv", b"", "x.csv holds no rows"),
        ("x.csv", b"a\n\xff\xfe\n", "x.csv is not UTF-8; 0 rows were loaded"),
        ("x.csv", b"a,a\n1,2\n", "duplicate column name: a; 0 rows were loaded"),
    ],
)
def test_load_refuses_what_it_cannot_read(
    run: Run, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """
    A file of another kind exits 1 with one line that says what is wrong.
    """
    (tmp_path / name).write_bytes(content)
    done = run("database.py", "load", name, "--database", "x.db", "--table", "t", exit_code=1)
    assert done.stderr == f"Error: {message}\n"


def test_count_of_a_missing_table_is_one_line(run: Run, tmp_path: Path) -> None:
    """
    A table that is not there, and a file that is no database, exit 1 with one line.
    """
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database\n" * 100)
    for name, message in {
        "empty.db": "empty.db: no such table: t",
        "text.db": "text.db: file is not a database",
    }.items():
        done = run("database.py", "count", "--database", name, "--table", "t", exit_code=1)
        assert done.stderr == f"Error: {message}\n"


# train.py


def accuracies(output: str) -> list[float]:
    """The accuracy of each epoch, in percent."""
    return [float(line.rpartition(" ")[2].rstrip("%")) for line in output.splitlines()]


def test_fit_gets_better_and_predicts(run: Run) -> None:
    """
    There is a line per epoch, the accuracy rises, and the model tells a willow from a maple.
    """
    done = run("train.py", "fit", DATA / "leaves.csv", "--model", "m.json", "--epochs", 30)
    assert len(done.stdout.splitlines()) == 30
    assert done.stdout.startswith("epoch 1/30: loss ")
    assert accuracies(done.stdout)[-1] > max(accuracies(done.stdout)[0], 85)
    for length, width, tree in ((105, 18, "willow"), (110, 120, "maple")):
        done = run("train.py", "predict", "m.json", str(length), str(width), job=False)
        assert done.stdout.startswith(f"{tree} (")


def test_resume_ends_where_one_run_ends(run: Run, tmp_path: Path) -> None:
    """
    Three epochs and three more give the very model of six at once; a seventh run adds nothing.
    """
    whole = run("train.py", "fit", "--model", "whole.json", "--epochs", 6, "--resume").stdout
    first = run("train.py", "fit", "--model", "parts.json", "--epochs", 3).stdout
    second = run("train.py", "fit", "--model", "parts.json", "--epochs", 6, "--resume").stdout
    assert second.splitlines() == whole.splitlines()[3:]
    assert accuracies(first) == accuracies(whole)[:3]
    assert (tmp_path / "parts.json").read_text() == (tmp_path / "whole.json").read_text()
    assert run("train.py", "fit", "--model", "parts.json", "--epochs", 5, "--resume").stdout == ""


def test_fit_makes_other_data_from_another_seed(run: Run, tmp_path: Path) -> None:
    """
    The seed decides the data: the same one gives the same model, another another.
    """
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("train.py", "fit", "--model", name, "--seed", seed, "--epochs", 1)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,label\n1,a\nmany,b\n", "d.csv, line 3: could not convert string to float: 'many'"),
        ("x,label\n1,a\n2\n", "d.csv, line 3: not 1 numbers and a label"),
        ("x,label\nnan,a\n", "d.csv, line 2: not 1 numbers and a label"),
        ("", "d.csv holds no examples: a header, numbers, labels at the end"),
    ],
)
def test_fit_names_the_line_that_it_cannot_use(
    run: Run, tmp_path: Path, content: str, message: str
) -> None:
    """
    A CSV that is no data set exits 1 with one line, and no model is written.
    """
    (tmp_path / "d.csv").write_text(content)
    done = run("train.py", "fit", "d.csv", "--model", "m.json", exit_code=1)
    assert done.stderr == f"Error: {message}\n"
    assert not (tmp_path / "m.json").exists()


def test_models_and_data_have_to_fit(run: Run, tmp_path: Path) -> None:
    """
    Resuming with other columns, predicting with too few values, and a file that is no model
    are refused with a line that says so.
    """
    run("train.py", "fit", "--model", "m.json", "--epochs", 1)
    done = run("train.py", "fit", DATA / "leaves.csv", "--model", "m.json", "--resume", exit_code=1)
    assert done.stderr == "Error: m.json was fitted to other columns; leave out --resume\n"
    done = run("train.py", "predict", "m.json", "-1.5", exit_code=2)
    assert done.stderr.endswith("Error: m.json needs 2: x y\n")
    (tmp_path / "no.json").write_text("[1]")
    done = run("train.py", "predict", "no.json", "1", exit_code=1)
    assert done.stderr == "Error: no.json is not a model that fit has saved\n"


# report.py


@pytest.mark.parametrize("by", ["month", "product"])
def test_sales_are_totalled(run: Run, by: str) -> None:
    """
    Units and revenue of each month or product are exact sums; JSON has them as numbers.
    """
    units: Counter[str] = Counter()
    cents: Counter[str] = Counter()
    for row in sales():
        key = row["date"][:7] if by == "month" else row["product"]
        units[key] += int(row["units"])
        cents[key] += int(Decimal(row["unit_price"]) * 100) * int(row["units"])
    done = run("report.py", "--format", "json", "sales", DATA / "sales.csv", "--by", by)
    assert json.loads(done.stdout) == [
        {by: key, "units": units[key], "revenue": cents[key] / 100} for key in sorted(units)
    ]


def test_the_formats_show_the_same_table(run: Run) -> None:
    """
    Text is aligned and Markdown is a table, and --verbose talks on stderr only.
    """
    text = "tea tea Tea milk\nMILK, 1 sugar?\n"
    done = run("report.py", "--verbose", "words", "-", "--top", 2, stdin=text)
    assert done.stdout == "word  count\ntea       3\nmilk      2\n"
    assert done.stderr == "<stdin>: 6 words, 3 different ones\n"
    done = run("report.py", "--format", "markdown", "words", "-", "--top", 1, stdin=text)
    assert done.stdout == "| word | count |\n| --- | ---: |\n| tea | 3 |\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("when,what\n1,2\n", "s.csv has no column 'date'"),
        (
            "date,product,units,unit_price\n2025-01-01,tea,two,1\n",
            "s.csv, line 2: not a date, a product, units and a price",
        ),
        ("", "there is nothing to report: the file holds no data"),
    ],
)
def test_sales_refuses_another_file(run: Run, tmp_path: Path, content: str, message: str) -> None:
    """
    A CSV that is not one of sales exits 1 with one line.
    """
    (tmp_path / "s.csv").write_text(content)
    done = run("report.py", "sales", "s.csv", exit_code=1)
    assert done.stderr == f"Error: {message}\n"


# typer_app.py


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        ("exact", "b\nÄ\na  c\nä\na c\nlast\n"),
        ("ignore-case", "b\nÄ\na  c\na c\nlast\n"),
        ("ignore-space", "b\nÄ\na  c\nä\nlast\n"),
    ],
)
def test_dedupe_keeps_the_first_of_equal_lines(
    run: Run, tmp_path: Path, compare: str, expected: str
) -> None:
    """
    The order stays; what counts as equal is an option; a file and stdout get the same.
    """
    (tmp_path / "lines").write_text("b\nÄ\na  c\nb\nä\na c\nlast\nb", encoding="utf-8")
    done = run("typer_app.py", "dedupe", "lines", "--compare", compare)
    assert done.stdout == expected
    kept = len(expected.splitlines())
    assert done.stderr == f"{kept} lines kept, {8 - kept} dropped\n"
    run("typer_app.py", "dedupe", "lines", "--compare", compare, "--output", "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == expected


def test_split_makes_parts_of_whole_lines(run: Run, tmp_path: Path) -> None:
    """
    The parts joined are the source, each ends with a line end, and they are about as large.
    """
    source = (DATA / "sales.csv").read_bytes()
    done = run("typer_app.py", "split", DATA / "sales.csv", "--parts", 4, "--directory", "parts")
    parts = [path.read_bytes() for path in sorted((tmp_path / "parts").iterdir())]
    assert b"".join(parts) == source
    assert all(part.endswith(b"\n") for part in parts)
    assert all(abs(len(part) - len(source) / 4) < 50 for part in parts)
    assert done.stdout == "".join(
        f"parts/sales.{number:03}.csv: {part.count(10)} lines\n"
        for number, part in enumerate(parts, 1)
    )


def test_split_and_dedupe_refuse_bad_input(run: Run, tmp_path: Path) -> None:
    """
    A missing source, an unknown choice and an impossible directory exit 2, and name what.
    """
    (tmp_path / "file").touch()
    for args, message in (
        (["split", "nowhere"], "'nowhere' does not exist"),
        (["split", "file", "--parts", "0"], "'--parts'"),
        (["split", "file", "--directory", "file/below"], "Not a directory: 'file/below'"),
        (["dedupe", "file", "--compare", "mood"], "'--compare'"),
    ):
        assert message in run("typer_app.py", *args, exit_code=2).stderr


# api.py


def test_process_file_counts_and_hashes(run: Run, tmp_path: Path) -> None:
    """
    A file of more than one chunk is read to its end: lines, digest, progress on stderr.
    """
    content = b"one line\n" * 150_000
    (tmp_path / "large").write_bytes(content)
    done = run("api.py", "process-file", "--input", "large")
    digest = hashlib.sha256(content).hexdigest()
    assert done.stdout == f"large: 150,000 lines, sha256 {digest}\n"
    assert done.stderr == "1,048,576 of 1,350,000 bytes\n1,350,000 of 1,350,000 bytes\n"


def test_long_task_says_how_far_it_is(run: Run) -> None:
    """
    A line for each step; the last one says that all is done.
    """
    done = run("api.py", "long-task", "--minutes", "0.001", "--step", "0.02")
    assert done.stdout == "step 1 of 3: 33%\nstep 2 of 3: 67%\nstep 3 of 3: 100%\n"


def test_bulk_insert_puts_every_line_into_the_database(run: Run, tmp_path: Path) -> None:
    """
    Each line is one record, as it stands in the file.
    """
    words: list[str | Path | int] = [
        "--source",
        DATA / "events.jsonl",
        "--database",
        "events.db",
        "--batch",
        30,
    ]
    assert run("api.py", "bulk-insert", *words).stdout == "100 records inserted\n"
    lines = (DATA / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows_of(tmp_path / "events.db", "SELECT record FROM records") == [(x,) for x in lines]


def test_bulk_insert_stops_at_a_bad_line(run: Run, tmp_path: Path) -> None:
    """
    What is no JSON ends it with exit code 1; the batches before it are there.
    """
    (tmp_path / "lines").write_text("1\n2\nthree\n")
    words: list[str | Path | int] = ["--source", "lines", "--database", "lines.db", "--batch", 2]
    done = run("api.py", "bulk-insert", *words, exit_code=1)
    assert "2 records were inserted" in done.stderr
    assert rows_of(tmp_path / "lines.db", "SELECT record FROM records") == [("1",), ("2",)]


def test_train_finds_the_line(run: Run, tmp_path: Path) -> None:
    """
    On points of a line the loss goes to 0; a column that is not there is named.
    """
    rows = "".join(f"{x},{3 * x - 2}\n" for x in range(10))
    (tmp_path / "line.csv").write_text("x,y\n" + rows)
    words: list[str | Path | int] = [
        "train",
        "--data",
        "line.csv",
        "--feature",
        "x",
        "--epochs",
        100,
    ]
    done = run("api.py", *words, "--target", "y")
    assert done.stdout.endswith("epoch 100/100: loss 0.0000\n")
    assert len(done.stdout.splitlines()) == 10
    done = run("api.py", *words, "--target", "z", exit_code=1)
    assert done.stderr == "Error: line.csv has no column 'z'\n"


def test_status_and_health_are_those_of_mcli(run: Run, how: str) -> None:
    """
    The commands print what status_check() and health_check() return; they are no jobs.
    """
    status = json.loads(run("api.py", "status", job=False).stdout)
    health = json.loads(run("api.py", "health", job=False).stdout)
    assert set(health["checks"]) == {"home", "daemon", "version"}
    assert how != "routed" or (status["running"] and health["healthy"])


# All of them


def test_the_data_is_what_its_script_makes(tmp_path: Path) -> None:
    """
    make.py writes the bundled files again, byte for byte.
    """
    subprocess.run([sys.executable, DATA / "make.py", tmp_path], check=True, timeout=60)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {name: (DATA / name).read_bytes() for name in made}
    assert sorted(made) == ["events.jsonl", "leaves.csv", "sales.csv"]


def test_the_readme_shows_what_the_commands_print(tmp_path: Path) -> None:
    """
    Each command of the examples' README prints what stands below it, but for what varies.
    """
    (tmp_path / "examples").symlink_to(EXAMPLES)
    env = clean_env(MCLI_BACKGROUND_ENABLED="false")
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    shown = [part for block in CONSOLE.findall(readme) for part in block.split("$ ")[1:]]
    assert len(shown) >= 10
    for part in shown:
        command, _, expected = part.partition("\n")
        start = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
        done = subprocess.run(
            start,
            shell=True,
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert VARYING.sub("", done.stdout) == VARYING.sub("", expected), command


def test_the_tour_shows_both_ways() -> None:
    """
    The README's first command: a daemon runs the job and lists it, and without one the same
    command prints the same.
    """
    done = subprocess.run(
        [sys.executable, EXAMPLES / "tour.py"],
        cwd=PROJECT,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("$ python examples/files.py checksum mcli") == 2
    assert "succeeded" in done.stdout
    assert done.stdout.endswith("# Both outputs are the same, byte for byte.\n")
