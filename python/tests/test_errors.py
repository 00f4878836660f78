"""The tree of exceptions."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from slotkv import errors

ROOT = Path(__file__).resolve().parents[2]


def test_every_code_of_the_table_has_a_class_that_agrees_with_it() -> None:
    for line in (ROOT / "proto" / "vectors" / "codes.txt").read_text().splitlines():
        number, name, retry, applied = line.split()
        error = errors.CLASSES[int(number)]("text")
        assert isinstance(error, errors.SlotkvError)
        if not isinstance(error, errors.RoutingError):
            assert (error.code, error.kind, error.retry) == (int(number), name, retry)
        assert (error.outcome == "failed") == (applied == "no"), name
        assert not error.retryable or error.outcome == "failed"


def test_a_code_of_a_newer_version_is_unexpected() -> None:
    assert errors.CLASSES[4711] is errors.UnexpectedError


def test_errors_survive_pickle_and_copy() -> None:
    error = errors.ConnectionLostError("broke", outcome="failed", member="h:1", attempts=2, causes=("reset",))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is errors.ConnectionLostError
        assert str(twin) == "CONNECTION_LOST: broke (member h:1, attempt 2): reset"
        assert (twin.message, twin.outcome, twin.attempts) == ("broke", "failed", 2)
    many = errors.ManyError("some", results=[1, error])
    assert pickle.loads(pickle.dumps(many)).errors[1].member == "h:1"


def test_programs_may_subclass_and_raise_them() -> None:
    class Mine(errors.ReadOnlyError):
        def __init__(self) -> None:
            super().__init__("mine", member="here")

    with pytest.raises(errors.TemporaryError, match="READ_ONLY: mine") as caught:
        raise Mine
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.DeadlineError, TimeoutError),
        (errors.ConnectionLostError, ConnectionError),
        (errors.UnavailableError, ConnectionError),
        (errors.NoMasterError, ConnectionError),
        (errors.TooLargeError, ValueError),
        (errors.NumberOverflowError, OverflowError),
    ],
)
def test_python_s_own_classes_catch_them(error: type[errors.SlotkvError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise error("text")
