"""The ladder of notebook 10: one change a rung, and a result that knows the same rungs."""

import inspect
import json
from itertools import pairwise

import mnistlab as ml
from benchmarks import ladder


def test_each_rung_is_the_one_before_it_with_one_change():
    names = list(ladder.RUNGS)
    assert ladder.RUNGS[names[0]] == {}
    known = set(inspect.signature(ladder.stepping).parameters)
    for before, after in pairwise(names):
        changed = set(ladder.RUNGS[after].items()) - set(ladder.RUNGS[before].items())
        assert len(changed) == 1 and set(ladder.RUNGS[after]) <= known, after


def test_what_fit_is_told_is_the_last_rung_with_the_same_sums():
    assert ladder.FIT.batch_size == 128 and ladder.FIT.dropout
    assert ladder.FIT.muon == ladder.FIT.crop == 0 and ladder.FIT.augment is None


def test_the_result_is_of_these_rungs():
    found = json.loads((ml.home() / "benchmarks" / "results" / "ladder.json").read_text(encoding="utf-8"))
    assert set(ladder.PARTS) <= set(found)
    for table in (found["rungs"]["seconds_an_epoch"], found["rungs"]["times_as_fast_as_the_first"]):
        assert [name for name in table if name != "compiled"] == [*list(ladder.RUNGS)[:-1], "ml.fit"]
        assert all(len(values["values"]) == found["rounds"] for values in table.values())
    assert list(found["schedule"]["errors_on_validation"]["rising and falling"]) == [str(n) for n in ladder.LENGTHS]
    alone, together = found["processes"]["agreement"]
    assert [len(alone[kind]["train_loss"]) for kind in ("float64", "float32")] == [20, 80]
    assert all(len(alone[kind]["train_loss"]) == len(together[kind]["train_loss"]) for kind in alone)
