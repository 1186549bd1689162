"""A problem store: what is written is read back, and nobody holds tests but the process that runs them."""

import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.problems import load_problems
from ablate.data.store import PROBLEMS_FILE, TESTS_FILE, write_store
from ablate.errors import UserError
from ablate.files.parquet import iterate_parquet, write_row_groups
from ablate.files.stored_tests import pack_tests, unpack_tests
from ablate.types import Problem, TestCase

TESTS = tuple(TestCase(f"{a} 1\n", f"{a + 1}\n") for a in range(5))
ADD = Problem("add", "Print a+b.", TESTS, "easy", float_tolerance=1e-6, reference="print(1)", date="2024-08-01")
CALL = Problem("call", "Write f.", TESTS[:1], "hard", "functional", "f", memory_limit_mib=64, starter_code="def f(): 0")


def store(directory, *problems):
    write_store(directory, [(problem, pack_tests(problem.tests)) for problem in problems])
    return str(directory)


def test_a_store_gives_back_every_field_and_every_test(tmp_path):
    loaded = load_problems(store(tmp_path, ADD, CALL))
    for problem, original in zip(loaded, (ADD, CALL), strict=True):
        assert {**vars(problem), "tests": tuple(problem.tests)} == vars(original)


def test_the_same_problems_make_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        store(tmp_path / name, ADD, CALL)
    for name in (PROBLEMS_FILE, TESTS_FILE):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_counting_tests_decodes_none_and_decoded_tests_do_not_travel(tmp_path):
    tests = load_problems(store(tmp_path, ADD))[0].tests
    assert len(tests) == 5
    assert "decoded" not in vars(tests)
    assert tests[4] == TESTS[4]
    assert "decoded" in vars(tests)
    assert "decoded" not in vars(pickle.loads(pickle.dumps(tests)))


@given(st.lists(st.builds(TestCase, input=st.text(), output=st.text()), min_size=1, max_size=4))
def test_packed_tests_unpack_to_the_same_tests(tests):
    packed = pack_tests(tests)
    assert packed.num_tests == len(tests)
    assert unpack_tests(packed.blob, packed.digest) == tuple(tests)


def test_damaged_tests_are_an_error_and_never_fewer_tests():
    packed = pack_tests(TESTS)
    for blob, digest in ((packed.blob[:-5], packed.digest), (packed.blob, "0" * 64), (b"", packed.digest)):
        with pytest.raises(OSError, match="stored tests are"):
            unpack_tests(blob, digest)


def test_a_damaged_store_is_the_users_error(tmp_path):
    where = store(tmp_path, ADD, CALL)
    tests, problems = tmp_path / TESTS_FILE, tmp_path / PROBLEMS_FILE
    tests.write_bytes(tests.read_bytes()[:-1])
    with pytest.raises(UserError, match="before the tests of problem call"):
        load_problems(where)
    tests.unlink()
    with pytest.raises(UserError, match=r"has no tests\.bin"):
        load_problems(where)
    problems.write_bytes(problems.read_bytes()[:-20])
    tests.write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        load_problems(where)
    problems.unlink()
    with pytest.raises(UserError, match="no problem store"):
        load_problems(where)


def test_a_store_without_problems_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="holds no problems"):
        load_problems(store(tmp_path))


def test_reading_a_large_file_holds_no_more_than_a_few_of_its_rows(tmp_path):
    import pyarrow as pa

    path, rng = tmp_path / "rows.parquet", random.Random(0)
    texts = [rng.randbytes(100_000).hex() for _ in range(64)]
    write_row_groups(path, ({"text": text} for text in texts), {"text": str}, group_size=4)
    before, held = pa.total_allocated_bytes(), []
    for row, text in zip(iterate_parquet(path, ["text"], batch_size=1), texts, strict=True):
        held.append(pa.total_allocated_bytes() - before)
        assert row["text"] == text
    assert max(held) < path.stat().st_size / 3
