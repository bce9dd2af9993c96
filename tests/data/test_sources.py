from __future__ import annotations

import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.formats import BadRow, Field, Row, Shape, formats_of
from data.samples import SAMPLES, reviews
from data.sources import CatalogueName, Source, open_source
from data.splits import row_hash, split_of

TEXT = Field("text", "text", "text", "--set data.text_column=NAME")
LABEL = Field("label", "label", "label", "--set data.label_column=NAME")
FIELDS = (TEXT, LABEL)
SHAPES: tuple[Shape, ...] = ("records",)
SHARES = (("train", 0.8), ("validation", 0.1), ("test", 0.1))


def find(data: str | Path) -> Source:
    source = open_source(str(data), FIELDS, SHAPES)
    assert isinstance(source, Source)
    return source


def refusal(data: str | Path) -> str:
    """Return the error message about DATA, which must be one line."""
    with pytest.raises(UserError) as caught:
        open_source(str(data), FIELDS, SHAPES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rows(source: Source, split: str) -> list[Row | BadRow]:
    """Return the rows of a part, without their places."""
    return [row for _, row in source.parts[split].rows()]


def write(folder: Path, **files: str) -> Path:
    """Write a folder of files; `train_csv="..."` is `train.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        folder.joinpath(name.replace("_", ".")).write_text(content)
    return folder


EXPECTED = ", ".join(f"train.{suffix}" for suffix in formats_of(SHAPES, FIELDS))
CSV = "text,label\na,x\nb,y\n"
ROWS = [Row(2, {"text": "a", "label": "x"}), Row(3, {"text": "b", "label": "y"})]


@given(st.integers(0, 2**64 - 1))
def test_every_hash_has_one_split(number: int) -> None:
    """The split of a hash is always the same, and defined for the smallest and largest hashes."""
    assert split_of(number, SHARES) == split_of(number, SHARES)
    assert split_of(number, SHARES) in {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("number", "split"),
    [
        (0, "train"),
        (int(0.79 * 2**64), "train"),
        (int(0.81 * 2**64), "validation"),
        (int(0.89 * 2**64), "validation"),
        (int(0.91 * 2**64), "test"),
        (2**64 - 1, "test"),
    ],
)
def test_shares_of_hashes_are_contiguous(number: int, split: str) -> None:
    """The smallest hashes are in the training split, the largest in the test split."""
    assert split_of(number, SHARES) == split


def test_shares_hold_for_texts_that_are_alike() -> None:
    """Of 20,000 similar examples, about 80 % are for training, 10 % each for validation and test."""
    hashes = [row_hash({"text": f"text {i}", "label": "x"}) for i in range(20_000)]
    counts = Counter(split_of(number, SHARES) for number in hashes)

    assert len(set(hashes)) == 20_000
    assert abs(counts["train"] - 16_000) < 300
    assert abs(counts["validation"] - 2_000) < 250
    assert abs(counts["test"] - 2_000) < 250


def test_the_hash_is_of_the_content() -> None:
    """The hash depends on the values of all fields, not on their order or the process."""
    assert row_hash({"text": "a", "label": "x"}) == row_hash({"label": "x", "text": "a"})
    assert row_hash({"text": "a", "label": "x"}) != row_hash({"text": "a", "label": "y"})
    assert row_hash({"text": "a", "label": "x"}) != row_hash({"text": "x", "label": "a"})


def test_the_hash_is_the_same_on_every_machine() -> None:
    """A change of the hash changes the splits of files, and needs a new version of the format."""
    assert row_hash({"text": "ä 中", "label": "x"}) == 5911001223127709182
    assert row_hash({"text": "ä 中"}) == 6316943692352939509


def test_a_folder_has_a_part_for_each_split(tmp_path: Path) -> None:
    """Files may have different formats, and other files are ignored."""
    folder = write(
        tmp_path / "My Reviews (2)",
        train_csv=CSV,
        test_jsonl='{"text": "c", "label": "x"}\n',
        validation_tsv="text\tlabel\nd\ty\n",
        readme_md="# Reviews",
        train_md="notes",
        extra_csv="no columns",
    )
    source = find(folder)

    assert source.name == "my_reviews_2"
    assert {split: part.where for split, part in source.parts.items()} == {
        "train": str(folder / "train.csv"),
        "validation": str(folder / "validation.tsv"),
        "test": str(folder / "test.jsonl"),
    }
    assert rows(source, "train") == ROWS
    assert rows(source, "validation") == [Row(2, {"text": "d", "label": "y"})]
    assert rows(source, "test") == [Row(1, {"text": "c", "label": "x"})]


def test_rows_can_be_read_again(tmp_path: Path) -> None:
    """A part can be read several times."""
    source = find(write(tmp_path / "a", train_csv=CSV))

    assert rows(source, "train") == rows(source, "train") == ROWS


def test_training_examples_are_enough(tmp_path: Path) -> None:
    """Other splits are optional."""
    assert set(find(write(tmp_path / "a", train_csv=CSV)).parts) == {"train"}


@pytest.mark.parametrize("alias", ["valid", "dev", "val", "validation", "Dev", "VALID"])
def test_validation_has_many_names(tmp_path: Path, alias: str) -> None:
    """Each alias, in upper or lower case, is the validation split."""
    source = find(write(tmp_path / "a", train_csv=CSV, **{f"{alias}_csv": CSV}))

    assert set(source.parts) == {"train", "validation"}
    assert source.parts["validation"].where == str(tmp_path / "a" / f"{alias}.csv")


@pytest.mark.parametrize("name", ["train.csv.gz", "Train.CSV", "train.v2.csv"])
def test_a_file_is_known_by_how_its_name_begins_and_ends(tmp_path: Path, name: str) -> None:
    """The first part of a name is the split, and the last one, except `.gz`, is the format."""
    content = gzip.compress(CSV.encode()) if name.endswith("gz") else CSV.encode()
    write(tmp_path / "a").joinpath(name).write_bytes(content)

    assert rows(find(tmp_path / "a"), "train") == ROWS


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [
        ("train.csv", "train.jsonl", "train"),
        ("test.csv", "test.csv.gz", "test"),
        ("dev.csv", "validation.csv", "validation"),
    ],
)
def test_two_files_for_one_split_are_refused(tmp_path: Path, first: str, second: str, split: str) -> None:
    """Two files for a split are an error; the message names both."""
    folder = write(tmp_path / "a", train_csv=CSV)
    for name in (first, second):
        folder.joinpath(name).write_text(CSV)

    assert refusal(folder) == f"{folder}: two files for {split}: {first} and {second}; keep one"


def test_a_folder_without_training_examples_is_refused(tmp_path: Path) -> None:
    """The message lists the expected names and those in the folder."""
    folder = write(tmp_path / "a", test_csv=CSV, train_txt="a\n")

    assert refusal(folder) == (
        f"{folder}: no training file; expected one of {EXPECTED} (also compressed), "
        "or a folder for each class, such as train/pos/*.txt and train/neg/*.txt; "
        "there is test.csv, train.txt"
    )
    assert refusal(write(tmp_path / "b")).endswith("; there is nothing")


def test_a_folder_named_train_is_no_training_file(tmp_path: Path) -> None:
    """An empty folder is ignored."""
    (tmp_path / "a" / "train.csv").mkdir(parents=True)

    assert "no training file" in refusal(tmp_path / "a")


def test_a_file_has_one_part(tmp_path: Path) -> None:
    """It may have any name, since its examples will be split."""
    path = write(tmp_path).joinpath("Film-Reviews.2024.csv")
    path.write_text(CSV)
    source = find(path)

    assert source.name == "film_reviews"
    assert {split: part.where for split, part in source.parts.items()} == {"all": str(path)}
    assert rows(source, "all") == ROWS


@pytest.mark.parametrize(
    ("name", "expected"), [("2024", "data_2024"), ("评论", "data"), ("Ünï", "n"), ("a__b-", "a_b")]
)
def test_names_are_plain_whatever_the_file_is_called(tmp_path: Path, name: str, expected: str) -> None:
    """A name has ASCII letters, digits and `_`, and begins with a letter."""
    assert find(write(tmp_path / name, train_csv=CSV)).name == expected


def test_sample_reviews() -> None:
    """A sample has the splits and examples that are generated from seed 0."""
    source = find("sample:reviews")
    found = [row for row in rows(source, "test") if isinstance(row, Row)]

    assert source.name == "sample_reviews"
    assert set(source.parts) == {"train", "validation", "test"}
    assert [row.values for row in found] == reviews(0)["test"]
    assert [row.line for row in found[:3]] == [1, 2, 3]
    assert source.digest() == find("sample:reviews").digest()


def test_a_catalogue_name_is_kept_for_the_catalogue() -> None:
    """It includes configuration and version, and is not looked up yet."""
    data = "tfds:glue/sst2:2.0.0"

    assert open_source(data, FIELDS, SHAPES) == CatalogueName("glue/sst2:2.0.0")


def test_unknown_dataset() -> None:
    """The message lists what DATA may be."""
    message = refusal("no/such/place")

    assert message.startswith("unknown dataset 'no/such/place': no such file or folder; ")
    assert "sample:reviews" in message
    assert "tfds:NAME" in message


def test_unknown_sample() -> None:
    """The message lists the samples and the most similar one."""
    assert (
        refusal("sample:reveiws")
        == f"unknown sample 'reveiws'; there is {', '.join(SAMPLES)}; did you mean 'reviews'?"
    )


@pytest.mark.parametrize(("name", "found"), [("a.txt", "txt"), ("a.doc.gz", "doc"), ("a", "no")])
def test_unknown_format(tmp_path: Path, name: str, found: str) -> None:
    """The message lists the formats of the task."""
    path = tmp_path / name
    path.write_text("Some words.\nMore words.\n")

    expected = ", ".join(f".{suffix}" for suffix in formats_of(SHAPES, FIELDS))
    assert refusal(path) == f"{path}: {found} format; expected {expected} (also compressed)"


@pytest.mark.parametrize("name", ["sample", "tfds"])
def test_a_folder_may_have_the_name_of_a_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Only a name with a colon is a sample."""
    write(tmp_path / name, train_csv=CSV)
    monkeypatch.chdir(tmp_path)

    assert set(find(name).parts) == {"train"}


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    """Copies have the same digest, also under an alias of the split; it has 64 hexadecimal digits."""
    digest = find(write(tmp_path / "a", train_csv=CSV, dev_csv=CSV)).digest()

    assert digest == find(write(tmp_path / "other", train_csv=CSV, valid_csv=CSV)).digest()
    assert len(digest) == 64
    assert int(digest, 16) > 0


def test_one_byte_makes_another_digest(tmp_path: Path) -> None:
    """A change anywhere in a file changes the digest, also after its first blocks."""
    generator = random.Random(0)
    content = bytearray(CSV.encode() + b"some words,x\n" * 200_000)
    path = write(tmp_path / "a") / "train.csv"
    digests = set()
    for position in (len(CSV), generator.randrange(len(CSV), len(content)), len(content) - 2):
        content[position] ^= 1
        path.write_bytes(content)
        digests.add(find(tmp_path / "a").digest())

    assert len(content) > 2 << 20
    assert len(digests) == 3


def test_the_split_of_a_row_is_part_of_the_digest(tmp_path: Path) -> None:
    """Other splits, or bytes that move from one file to another, change the digest."""
    digests = [
        find(write(tmp_path / "a", train_csv=CSV, test_csv="text,label\n")).digest(),
        find(write(tmp_path / "b", train_csv=CSV, validation_csv="text,label\n")).digest(),
        find(write(tmp_path / "c", train_csv=CSV + "t", test_csv="ext,label\n")).digest(),
        find(write(tmp_path / "d", train_tsv=CSV, test_csv="text,label\n")).digest(),
        find(write(tmp_path / "e", train_csv=CSV)).digest(),
    ]

    assert len(set(digests)) == len(digests)


def test_the_digest_of_a_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is a user error."""
    source = find(write(tmp_path / "a", train_csv=CSV))
    (tmp_path / "a" / "train.csv").unlink()

    with pytest.raises(UserError, match=r"train\.csv: cannot be read: No such file"):
        source.digest()
