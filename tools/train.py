"""Trains a classifier, evaluates it on the test split, exports it and verifies the export.

Without flags: a tiny model on the embedded phantom data, about a minute on two cores. With
KERAS_BACKEND=jax in the environment, the training itself runs on Keras' JAX backend.
"""

import os

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.training.options import TrainingOptions

# What trains; `run_tool` gives all else to TensorFlow.
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")

FLAGS = flags.FLAGS
TrainingOptions.define_flags()


def main(argv: list[str]) -> None:
    options = TrainingOptions.from_flags(backend=BACKEND)
    from covid_lm.evaluation.summary import summary
    from covid_lm.train import train, train_worker

    if options.process_id:
        train_worker(options)
        print(f"process {options.process_id} is done; process 0 evaluates and exports")
        return
    result = train(options)
    print(f"\ntest split\n{summary(result.metrics)}\n")
    if FLAGS.early_stopping == "test":
        print("early stopping looked at the test split: these figures are not held-out ones")
    print(
        f"exported {result.version_dir}: reloaded, it gives the live model's probabilities "
        f"(max difference {result.export_difference:.1e}); {result.seconds:.0f} s in all"
    )
    data_dir = f" --data_dir={FLAGS.data_dir}" if FLAGS.data_dir else ""
    print(
        "next:\n"
        f"  python tools/evaluate.py --model={result.model_dir} "
        f"--dataset={FLAGS.dataset}{data_dir}\n"
        f"  python tools/predict.py --model={result.model_dir} {result.model_dir}/run/samples"
    )


if __name__ == "__main__":
    run_tool(main)
