"""Which split each example gets: hash, seed, the same share of each label, and rare labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import UserError
from data.findings import Finding
from data.formats import Field, Row
from data.scan import Scan, scan
from data.sources import Part, Source
from data.splits import Splitting
from data.spool import Spool

FIELDS = (Field("text", "text", "text", ""), Field("label", "label", "label", "--set data.label_column=NAME"))
SEVERAL = (FIELDS[0], Field("label", "labels", "label", ""))
Scanned = Callable[..., tuple[Scan, dict[str, list[tuple[str, object]]]]]
MODES = ("hash", "random", "stratified")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """Return a function from the rows of each part to their counts and the rows of each split."""

    def found(
        splitting: Splitting | None = None,
        fields: Sequence[Field] = FIELDS,
        **parts: list[tuple[str, object]],
    ) -> tuple[Scan, dict[str, list[tuple[str, object]]]]:
        def part(name: str) -> Part:
            rows = [
                Row(line, {"text": text} | ({} if label is None else {"label": label}))  # type: ignore[dict-item]
                for line, (text, label) in enumerate(parts[name], 1)
            ]
            return Part(f"{name}.csv", lambda: ((f"{name}.csv", row) for row in rows))

        source = Source("data", {name: part(name) for name in parts}, lambda: "digest", "text")
        splits: dict[str, list[tuple[str, object]]] = {}
        with Spool(tmp_path_factory.mktemp("spool")) as spool:
            counts = scan(source, fields, splitting or Splitting(), spool)
            for split, _, row in spool.rows():
                splits.setdefault(split, []).append((row.text(), row.values.get("label")))
        return counts, splits

    return found


def rows(number: int, labels: str = "ab") -> list[tuple[str, object]]:
    return [(f"text {i}", labels[i % len(labels)]) for i in range(number)]


def sentences(findings: Sequence[Finding]) -> list[str]:
    return [finding.sentence() for finding in findings]


@pytest.mark.parametrize("mode", MODES)
def test_copies_are_in_one_split_whatever_their_labels(scanned: Scanned, mode: str) -> None:
    """Also if some of them are moved because their label is rare."""
    content = [(f"text {i % 150}", f"label {i % 40}") for i in range(600)] + [
        ("text 3", "rare"),
        ("text 9", "rare"),
    ]
    found, splits = scanned(Splitting(mode), all=content)  # type: ignore[arg-type]

    sets = [{text for text, _ in own} for own in splits.values()]
    assert sum(map(len, sets)) == 150
    assert len(sets) == 3
    assert found.examples.total() == 602
    assert set(found.labels()["train"]) == {label for _, label in content}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", ["all", "train"])
def test_rare_labels_go_to_train(scanned: Scanned, mode: str, part: str) -> None:
    """Each label has a training example; the warning names those that were moved."""
    content = [*rows(200), *((f"only {i}", f"rare {i}") for i in range(50)), ("only 3", "a")]
    found, splits = scanned(Splitting(mode), **{part: content})  # type: ignore[arg-type]

    assert {label for _, label in splits["train"]} == {label for _, label in content}
    assert {label for _, label in splits["validation"]} <= {"a", "b"}
    moved = [warning for warning in sentences(found.warnings) if "in train because" in warning]
    assert bool(moved) == bool(found.moved)
    if mode != "stratified":
        assert found.moved > 0
        assert moved[0].startswith(
            f"{found.moved} examples are in train because it would have no other example of their label: "
        )


def test_a_rare_label_of_a_set_goes_to_train(scanned: Scanned) -> None:
    """An example with several labels is moved if one of them is rare."""
    content = [(f"text {i}", ("a", "b")[: i % 2 + 1]) for i in range(100)]
    content += [(f"only {i}", ("a", f"rare {i}")) for i in range(30)]

    found, splits = scanned(fields=SEVERAL, all=content)

    assert {text for text, _ in splits["train"]} >= {f"only {i}" for i in range(30)}
    assert set(found.labels()["train"]) == {"a", "b", *(f"rare {i}" for i in range(30))}


def test_labels_of_given_splits_are_not_moved(scanned: Scanned) -> None:
    """A label that only the given test split has stays there."""
    found, splits = scanned(train=rows(100), test=[("t", "new")])

    assert splits["test"] == [("t", "new")]
    assert found.moved == 0


@pytest.mark.parametrize("part", ["all", "train"])
def test_each_label_has_its_share(scanned: Scanned, part: str) -> None:
    """Stratified splits have the same share of each label, and the right number of examples in all."""
    labels = "a" * 70 + "b" * 20 + "c" * 10
    found, _ = scanned(Splitting("stratified"), **{part: rows(1_000, labels)})

    assert found.labels()["validation"] == Counter(a=70, b=20, c=10)
    if part == "all":
        assert found.labels()["test"] == Counter(a=70, b=20, c=10)
    assert found.examples.total() == 1_000


def test_small_labels_share_the_validation_split(scanned: Scanned) -> None:
    """What rounding takes from one label is given to the next one."""
    content = [(f"text {i}", f"label {i % 100}") for i in range(400)]
    found, _ = scanned(Splitting("stratified"), all=content)

    assert found.examples == Counter(train=320, validation=40, test=40)
    assert len(found.labels()["train"]) == 100


def test_stratified_splits_of_label_sets(scanned: Scanned) -> None:
    """A set counts for its rarest label."""
    content = [(f"text {i}", ("common", "rare") if i % 10 == 0 else ("common",)) for i in range(500)]
    found, _ = scanned(Splitting("stratified"), SEVERAL, all=content)

    assert found.labels()["validation"] == Counter(common=50, rare=5)


def test_stratified_splits_need_labels(scanned: Scanned) -> None:
    """The advice works."""
    texts = [(f"text {i}", None) for i in range(50)]
    found, _ = scanned(Splitting("stratified"), FIELDS[:1], all=texts)
    assert sentences(found.problems) == [
        "data.split = 'stratified' needs labels, and the examples have none; use hash or random"
    ]
    for mode in ("hash", "random"):
        assert not scanned(Splitting(mode), FIELDS[:1], all=texts)[0].problems  # type: ignore[arg-type]


def test_random_splits_depend_on_the_seed(scanned: Scanned) -> None:
    """Other splits do not; the same seed gives the same splits."""
    content = rows(300)
    splits = [scanned(Splitting("random", seed=seed), all=content)[1] for seed in (0, 0, 1)]

    assert splits[0] == splits[1] != splits[2]
    for mode in ("hash", "stratified"):
        first, second = (scanned(Splitting(mode, seed=seed), all=content)[1] for seed in (0, 1))  # type: ignore[arg-type]
        assert first == second


@pytest.mark.parametrize("mode", MODES)
def test_the_fractions_are_kept(scanned: Scanned, mode: str) -> None:
    """There is no test split if its fraction is 0."""
    found, _ = scanned(Splitting(mode, validation=0.3, test=0.0), all=rows(2_000))  # type: ignore[arg-type]

    assert set(found.examples) == {"train", "validation"}
    assert found.examples["validation"] == pytest.approx(600, abs=60)


def test_nothing_left_for_training(scanned: Scanned) -> None:
    """Fractions of 1 in sum are refused with both values."""
    with pytest.raises(UserError) as caught:
        scanned(Splitting(validation=0.5, test=0.5), all=rows(10))
    assert str(caught.value) == (
        "data.validation_fraction = 0.5 and data.test_fraction = 0.5: nothing is left for training; "
        "expected a sum of less than 1"
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=60),
    st.sampled_from(MODES),
    st.floats(0.01, 0.4),
)
def test_every_label_is_learned_and_no_text_is_on_both_sides(
    scanned: Scanned, content: list[tuple[int, int]], mode: str, share: float
) -> None:
    """For any texts, labels and shares."""
    own = [(str(text), str(label)) for text, label in content]
    _, splits = scanned(Splitting(mode, share, share), all=own)  # type: ignore[arg-type]

    assert sorted(row for rows in splits.values() for row in rows) == sorted(own)
    sets = [{text for text, _ in rows} for rows in splits.values()]
    assert sum(map(len, sets)) == len({text for text, _ in own})
    assert {label for _, label in splits["train"]} == {label for _, label in own}


@pytest.mark.parametrize("labels", [[None, None], ["-1", "-1"], [None, "-1"]], ids=str)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_an_unlabelled_split_is_left_out(scanned: Scanned, labels: list[str | None], split: str) -> None:
    """It is used for nothing; without a validation split some training examples are held out."""
    found, splits = scanned(train=rows(200), **{split: [(f"t {i}", label) for i, label in enumerate(labels)]})

    assert set(splits) == {"train", "validation"}
    assert not found.problems
    assert found.left_out == {split: f"{split}.csv: no example has a label; the {split} split is left out"}
    assert sentences(found.warnings) == list(found.left_out.values())
    assert sum(map(len, splits.values())) == 200
    assert "-1" not in set().union(*found.labels().values())


def test_minus_one_may_be_a_label(scanned: Scanned) -> None:
    """If training examples have it, too."""
    found, splits = scanned(train=[("a", "1"), ("b", "-1")] * 50, test=[("c", "-1")])

    assert splits["test"] == [("c", "-1")]
    assert not found.left_out


def test_rows_without_a_label_are_listed(scanned: Scanned) -> None:
    """If only some rows of a split lack the label, they are errors with their places."""
    found, _ = scanned(train=[*rows(5), ("u", None)], test=[("a", "a"), ("v", None), ("w", "b")])

    (problem,) = found.problems
    assert problem.sentence() == (
        "2 of 9 examples have no label (train.csv:6, test.csv:2); add it, or remove these rows"
    )


def test_training_examples_without_any_label(scanned: Scanned) -> None:
    """The error names the column, and how to name another one."""
    found, _ = scanned(train=[("a", None), ("b", None)], test=[("c", "x")])

    assert sentences(found.problems) == [
        "train.csv: no example has a label: column 'label' is empty; name the right column with "
        "--set data.label_column=NAME"
    ]


def test_all_mistakes_are_found(tmp_path: Path) -> None:
    """One does not hide the next: unreadable rows, whole files, and missing labels of any split."""
    from data.prepared import prepare
    from data.sources import open_source

    (tmp_path / "train.csv").write_text('text,label\na,x\nb\nc,y\nd,\ne,"x\n')
    (tmp_path / "validation.csv").write_text("body,label\na,x\n")
    (tmp_path / "test.jsonl").write_text('{"text": 1, "label": "x"}\n{"text": "a", "label": "x"}\n')
    source = open_source(str(tmp_path), FIELDS, ("records",))
    assert isinstance(source, Source)
    with Spool(tmp_path / "spool") as spool:
        found = scan(source, FIELDS, Splitting(), spool)

    text = "\n".join(sentences(found.problems))
    assert f"{tmp_path / 'validation.csv'}: no column 'text'" in text
    assert "3 rows cannot be read" in text
    assert f"{tmp_path / 'train.csv'}:3: " in text
    assert f"{tmp_path / 'test.jsonl'}:1: 'text' is a number, not a text" in text
    assert f"1 of 4 examples has no label ({tmp_path / 'train.csv'}:5); add it, or remove this row" in text
    with pytest.raises(UserError) as caught:
        prepare(source, FIELDS, directory=tmp_path / "prepared")
    assert str(caught.value).endswith(
        "; there are 2 more problems; 'textrnn datasets check DATA --all' lists all"
    )
