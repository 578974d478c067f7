"""Trains a classifier, evaluates it on the test split, exports it and verifies the export.

Without flags: a tiny model on the embedded phantom data, about a minute on two cores. With
KERAS_BACKEND=jax in the environment, the training itself runs on Keras' JAX backend.
"""

import os

from absl import flags

from covid_lm.command_line import define_tpu_flags, run_tool
from covid_lm.training.flags import define_training_flags, told_flags

# What trains; `run_tool` gives all else to TensorFlow.
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")

FLAGS = flags.FLAGS
define_training_flags()
flags.DEFINE_enum(
    "early_stopping",
    "val",
    ("val", "test", "none"),
    "Split that stops the training. `test` replicates the paper and spoils the test split; `test` "
    "and `none` train on the validation images too.",
)
flags.DEFINE_string(
    "name", None, "Name of the run; made from data set, backbone, protocol and layout unless given."
)
flags.DEFINE_string("output_dir", "saved_models", "Where NAME/run and NAME/VERSION are written.")
flags.DEFINE_bool("tensorboard", False, "Log for TensorBoard, too: NAME/run/tensorboard.")
define_tpu_flags()
flags.DEFINE_string(
    "coordinator",
    None,
    "With several processes: HOST:PORT at which process 0 listens, the same for all of them.",
)
flags.DEFINE_integer(
    "num_processes", 1, "Processes, one a host, to train as one; only with KERAS_BACKEND=jax."
)
flags.DEFINE_integer(
    "process_id", 0, "Which of them this one is, from 0; process 0 evaluates and exports."
)


def main(argv: list[str]) -> None:
    from covid_lm.evaluation.summary import summary
    from covid_lm.train import train, train_worker
    from covid_lm.training.devices import default_dtype
    from covid_lm.training.options import TrainingOptions

    told = told_flags()
    told["dtype"] = told["dtype"] or default_dtype(FLAGS.tpu)
    options = TrainingOptions(**told, backend=BACKEND)
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
