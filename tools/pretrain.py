"""Pre-trains a backbone on images without their labels.

--objective is BERT's masked tokens, the values of masked patches, or the features of a teacher.

The result, saved_models/NAME/weights, is a directory for train.py's --weights, and one that
Hugging Face transformers loads. Give --dataset several times to use several data sets, and
--data_dir once for each of them that isn't embedded, in the same order. The same command with the
same --name resumes an interrupted run. KERAS_BACKEND=jax in the environment trains on JAX.
"""

import os

from absl import flags

from covid_lm.command_line import run_tool, tool_command
from covid_lm.data import check_dataset
from covid_lm.environment import import_tensorflow
from covid_lm.training.pretraining_options import PretrainingOptions

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
FLAGS = flags.FLAGS
PretrainingOptions.define_flags()


def options() -> PretrainingOptions:
    return PretrainingOptions.from_flags(FLAGS, backend=BACKEND)


def main(argv: list[str]) -> None:
    chosen = options()
    for name, directory in chosen.sources:
        check_dataset(name, directory, chosen.reading)
    chosen = chosen.with_pinned_weights()
    import_tensorflow()
    from covid_lm.pretrain import pretrain

    result = pretrain(chosen)
    print(f"\nwritten: {result.weights_dir}; {result.seconds:.0f} s in all")
    dataset, data_dir = chosen.sources[0]
    same = {name: getattr(chosen, name) for name in ("backbone", "layout", "protocol")}
    command = tool_command(
        "train",
        dataset=dataset,
        data_dir=data_dir,
        **same,
        **chosen.reading_flags,
        weights=result.weights_dir,
    )
    print(f"next:\n  {command}")


if __name__ == "__main__":
    run_tool(main, options, keras_backend=BACKEND)
