"""The disputed labels are those of MNIST's test set."""

from mnistlab.course import disputed


def test_disputed_labels_are_mnists(test_digits):
    table = disputed.DISPUTED
    people = table[["for the label", "for the guess", "for neither"]]
    assert len(table) == 15 and (people.sum(axis=1) == 5).all() and (people["for the label"] < 3).all()
    assert (table["label"] != table["guess"]).all()
    if test_digits.is_mnist:
        assert test_digits.labels[table["test digit"].to_list()].tolist() == table["label"].to_list()
