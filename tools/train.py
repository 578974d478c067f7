"""Trains a classifier, evaluates it on the test split, exports it and verifies the export.

`--recipe=pixels` and `--recipe=named` train small models on the embedded phantoms, each in about
half a minute of two cores. With KERAS_BACKEND=jax in the environment, training itself runs on
Keras' JAX backend.
"""

import os

from absl import flags

from covid_lm.command_line import run_tool, tool_command
from covid_lm.data import check_dataset
from covid_lm.environment import import_tensorflow
from covid_lm.training.options import TrainingOptions

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")  # `run_tool` replaces it
FLAGS = flags.FLAGS
TrainingOptions.define_flags()


def options() -> TrainingOptions:
    return TrainingOptions.from_flags(FLAGS, backend=BACKEND)


def main(argv: list[str]) -> None:
    chosen = options()
    check_dataset(chosen.dataset, chosen.data_dir, chosen.reading)
    chosen = chosen.with_pinned_weights()
    import_tensorflow()
    from covid_lm.evaluation.summary import summary
    from covid_lm.training_run import train, train_worker

    if chosen.process_id:
        train_worker(chosen)
        print(f"process {chosen.process_id} is done; process 0 evaluates and exports")
        return
    result = train(chosen)
    print(f"\n{summary(result.metrics)}\n")
    if chosen.early_stopping == "test":
        print("early stopping looked at the test split: these figures are not held-out ones")
    print(
        f"exported {result.version_dir}: reloaded, it gives the live model's probabilities "
        f"(max difference {result.export_difference:.1e}); {result.seconds:.0f} s in all"
    )
    model, samples = result.model_dir, os.path.join(result.model_dir, "run", "samples")
    data = {"dataset": chosen.dataset, "data_dir": chosen.data_dir, **chosen.reading_flags}
    print(f"next:\n  {tool_command('evaluate', model=model, **data)}")
    print(f"  {tool_command('predict', samples, model=model)}")


if __name__ == "__main__":
    run_tool(main, options)
