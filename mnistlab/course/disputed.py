"""The fifteen test digits whose labels most of five people did not choose."""

import pandas as pd

# Of 100 test digits that five people each were shown, these fifteen got fewer than three votes for their label.
# They chose between the label, what a program had guessed, and neither.  Source: Northcutt, Athalye & Mueller, 2021
# (cleanlab/label-errors, mnist_mturk.json).
DISPUTED = pd.DataFrame(
    [
        (947, 8, 9, 0, 5, 0),
        (1621, 0, 6, 2, 3, 0),
        (1901, 9, 4, 2, 3, 0),
        (2130, 4, 9, 2, 2, 1),
        (2462, 2, 0, 0, 4, 1),
        (2597, 5, 3, 0, 4, 1),
        (2654, 6, 1, 0, 2, 3),
        (3520, 6, 4, 2, 0, 3),
        (3558, 5, 0, 1, 4, 0),
        (5937, 5, 3, 1, 3, 1),
        (6651, 0, 6, 0, 5, 0),
        (6783, 1, 6, 2, 3, 0),
        (8527, 4, 9, 2, 2, 1),
        (9679, 6, 3, 2, 0, 3),
        (9729, 5, 6, 2, 3, 0),
    ],
    columns=["test digit", "label", "guess", "for the label", "for the guess", "for neither"],
)
