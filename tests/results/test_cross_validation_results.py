"""Cross-validations as records and as a table: what is kept, which epoch is shown."""

from covid_lm.results.cross_validation_results import (
    cross_validation_commands,
    cross_validation_record,
    cross_validation_table,
)


def report(flags: str, *losses: float) -> dict:
    rows = [
        {
            "epoch": epoch,
            "n": 20,
            "accuracy": 0.5 + 0.01 * epoch,
            "ci95": [0.4, 0.6],
            "auc": 0.6 + 0.01 * epoch,
            "auc_ci95": [0.5, 0.75],
            "log_loss": loss,
        }
        for epoch, loss in enumerate(losses, 1)
    ]
    return {
        "dataset": "covid_ct",
        "command": f"python tools/cross_validate.py --backbone=2x128 {flags} --folds=5",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "run": {"weights": None, "data_dir": "/somewhere"},
        "machine": {"cores": 2, "processor": "a processor", "python": "3.11"},
        "classes": ["no", "yes"],
        "images": 30,
        "patients": 10,
        "folds": 5,
        "folds_done": 3,
        "epochs": rows,
        "by_fold": [],
        "out_of_fold": [],
    }


PLAIN = cross_validation_record(report("--learning_rate=0.0003", 0.7, 0.6, 0.9))
AUGMENTED = cross_validation_record(
    report(
        "--layout=gray16 --learning_rate=0.0005 --schedule=cosine --weight_decay=0.05 "
        "--augment=strong --token_dropout=0.1",
        0.8,
        0.55,
    )
)


def test_a_record_keeps_no_answers_and_no_places():
    assert PLAIN.keys() == {
        *("dataset", "command", "commit", "classes", "images", "patients", "folds", "folds_done"),
        *("epochs", "weights", "machine", "date"),
    }
    assert (PLAIN["weights"], PLAIN["machine"]) == ("random", "2 cores of a processor")


def test_the_epoch_of_the_lowest_loss_stands_for_a_recipe_and_the_best_recipe_first():
    lines = cross_validation_table([PLAIN, AUGMENTED]).splitlines()
    assert lines[2:] == [
        "| 2x128 gray16, random weights, strong augmentation, token dropout 0.1, "
        "weight decay 0.05, cosine from 0.0005 | 3 of 5 | 20 | 2 of 2 | "
        "0.520 [0.400, 0.600] | 0.620 [0.500, 0.750] | 0.550, 0.550 |",
        "| 2x128 paper, random weights, constant 0.0003 | 3 of 5 | 20 | 2 of 3 | "
        "0.520 [0.400, 0.600] | 0.620 [0.500, 0.750] | 0.600, 0.900 |",
    ]


def test_commands_stand_in_the_same_order():
    lines = cross_validation_commands([PLAIN, AUGMENTED]).splitlines()
    assert ["gray16" in line for line in lines] == [True, False]
    assert lines[1] == (
        f"- 2x128 paper, random weights, constant 0.0003 ({PLAIN['date']}, 2 cores of a "
        "processor): `python tools/cross_validate.py --backbone=2x128 --learning_rate=0.0003 "
        "--folds=5`"
    )
