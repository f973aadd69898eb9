from __future__ import annotations

import datetime as dt
import re

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import TrineError, by_code, nearest
from trine.ids import canonical_json, digest, new_id, now_us, to_datetime, to_us


def test_ids_are_unique_and_ordered_by_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", one) for one in ids)
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)
    assert abs(int(ids[-1][:12], 16) * 1000 - now_us()) < 60_000_000


@given(st.integers(-(10**15), 4 * 10**15))
def test_times_go_there_and_back(us: int) -> None:
    when = to_datetime(us)
    assert when.tzinfo is dt.UTC
    assert to_us(when) == us
    assert to_us(when.replace(tzinfo=None)) == us
    assert to_us(when.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=45)))) == us


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)


@given(values)
def test_a_digest_is_of_the_value_and_not_of_the_order_of_keys(value: object) -> None:
    def turned(one: object) -> object:
        if isinstance(one, dict):
            return {name: turned(inside) for name, inside in reversed(list(one.items()))}
        return [turned(inside) for inside in one] if isinstance(one, list) else one

    assert canonical_json(turned(value)) == canonical_json(value)
    assert digest(value) == blake3(canonical_json(value)).hexdigest()


def test_a_digest_of_bytes_is_the_one_of_b3sum() -> None:
    assert digest(b"abc") == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def test_every_error_has_its_code_status_and_exit_code() -> None:
    def tree(kind: type[TrineError]) -> list[type[TrineError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in tree(child))]

    kinds = tree(TrineError)[1:]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(by_code(kind.code) is kind for kind in kinds)
    by_exit = {kind.code: (kind.status, kind.exit_code) for kind in kinds}
    assert by_exit["invalid_input"] == (422, 2)
    assert by_exit["not_found"] == (404, 3)
    assert by_exit["refused"] == (403, 4)
    assert by_exit["conflict"] == (409, 5)
    assert by_exit["failure"] == (500, 1)
    from trine import errors

    assert all(f"{kind.__name__} " in (errors.__doc__ or "") for kind in kinds)
    assert nearest("mdoel", ["model", "run"]) == ' Did you mean "model"?'
    assert nearest("zzz", ["model", "run"]) == ""
