"""Trains a classifier, evaluates it on the test split, exports it and verifies the export.

Without flags: a tiny model on the embedded phantom data, about a minute on two cores.
"""

from typing import Any

from absl import flags

from covid_lm.backbones.named import BACKBONES, CONVOLUTIONAL_NETWORKS
from covid_lm.command_line import run_tool
from covid_lm.data import DATASETS
from covid_lm.protocols import LAYOUTS, PROTOCOLS

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
flags.DEFINE_string("data_dir", None, "Where the data set lies; phantoms need none.")
flags.DEFINE_integer(
    "max_images", None, "Most training and most validation images; all unless given."
)
flags.DEFINE_string(
    "backbone",
    "tiny",
    f"One of {', '.join(BACKBONES)}, or a size as 4x256; or, to compare with, one of "
    f"{', '.join(CONVOLUTIONAL_NETWORKS)}.",
)
flags.DEFINE_string(
    "weights",
    None,
    "Pretrained weights of that backbone: a directory with a Hugging Face model.safetensors or "
    "tf_model.h5, or an original TensorFlow checkpoint; for a convolutional network its HDF5 file "
    "without the top; random weights unless given.",
)
flags.DEFINE_enum(
    "protocol",
    "paper",
    list(PROTOCOLS),
    "How the file name enters in training and test; `fixed` and `absent` are the honest ones.",
)
flags.DEFINE_enum("layout", "paper", list(LAYOUTS), "32x32 RGB trimmed, or 22x22 gray whole.")
flags.DEFINE_integer(
    "image_size", None, "Side of what a convolutional network reads, in pixels; 224 unless given."
)
flags.DEFINE_integer("epochs", 8, "Most epochs to train.")
flags.DEFINE_integer("batch_size", None, "Images a step; fit for the machine unless given.")
flags.DEFINE_float("learning_rate", 1e-4, "Constant learning rate of AdamW.")
flags.DEFINE_enum(
    "dtype",
    None,
    ("float32", "bfloat16"),
    "Arithmetic (bfloat16: mixed); float32, and bfloat16 on a TPU, unless given.",
)
flags.DEFINE_enum(
    "early_stopping",
    "val",
    ("val", "test", "none"),
    "Split that stops the training. `test` replicates the paper and spoils the test split; `test` "
    "and `none` train on the validation images too.",
)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and dropout.")
flags.DEFINE_string("name", None, "Name of the run; made from the flags above unless given.")
flags.DEFINE_string("output_dir", "saved_models", "Where NAME/run and NAME/VERSION are written.")
flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and list them.")
flags.DEFINE_bool("tensorboard", False, "Log for TensorBoard, too: NAME/run/tensorboard.")
flags.DEFINE_string(
    "tpu",
    None,
    "Train on a Cloud TPU: its name, `local` on a TPU VM, or grpc://HOST:PORT. Else on all GPUs of "
    "this machine, else on its CPU.",
)
flags.DEFINE_string("tpu_zone", None, "Zone of a named TPU; this machine's unless given.")
flags.DEFINE_string("gcp_project", None, "Project of a named TPU; this machine's unless given.")
flags.DEFINE_float("tpu_timeout", 25.0, "Seconds until the TPU must be ready.")


def main(argv: list[str]) -> None:
    from covid_lm.distribution import default_dtype
    from covid_lm.evaluation.summary import summary
    from covid_lm.training import train
    from covid_lm.training_options import TrainingOptions

    told: dict[str, Any] = {
        name: FLAGS[name].value for name in TrainingOptions.__dataclass_fields__
    }
    told["dtype"] = FLAGS.dtype or default_dtype(FLAGS.tpu)
    result = train(TrainingOptions(**told))
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
