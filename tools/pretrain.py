"""Pre-trains a backbone on images without their labels, with BERT's masked-token objective.

The result, saved_models/NAME/weights, is a directory for train.py's --weights, and one that
Hugging Face transformers loads. Give --dataset several times to use several data sets, and
--data_dir once for each of them but phantoms, in the same order. The same command with the same
--name goes on after the last whole epoch.
"""

from typing import Any

from absl import flags

from covid_lm.backbones.configs import BACKBONES
from covid_lm.command_line import define_tpu_flags, run_tool
from covid_lm.data import DATASETS
from covid_lm.protocols import LAYOUT_HELP, LAYOUTS, PROTOCOLS

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum(
    "dataset", ["phantom"], DATASETS, "Data set; its training images are used, its labels not."
)
flags.DEFINE_multi_string("data_dir", [], "Where the data sets lie, without one for phantoms.")
flags.DEFINE_integer(
    "max_images",
    None,
    "Most training and most validation images of each data set; all unless given.",
)
flags.DEFINE_string("backbone", "tiny", f"One of {', '.join(BACKBONES)}, or a size as 4x256.")
flags.DEFINE_string(
    "weights", None, "Weights to begin with, as train.py takes them; random ones unless given."
)
flags.DEFINE_enum(
    "protocol", "paper", list(PROTOCOLS), "How the file name enters: as in training, see train.py."
)
flags.DEFINE_enum("layout", "paper", list(LAYOUTS), LAYOUT_HELP)
flags.DEFINE_float("mask_rate", 0.15, "Share of each sequence's words to mask.")
flags.DEFINE_integer("epochs", 8, "Epochs to train, those of an interrupted run among them.")
flags.DEFINE_integer("batch_size", None, "Images a step; fit for the machine unless given.")
flags.DEFINE_float("learning_rate", 1e-4, "Constant learning rate of AdamW.")
flags.DEFINE_enum(
    "dtype",
    None,
    ("float32", "bfloat16"),
    "Arithmetic (bfloat16: mixed); float32, and bfloat16 on a TPU, unless given.",
)
flags.DEFINE_integer("seed", 0, "Seed of weights, order, masks and dropout.")
flags.DEFINE_string("name", None, "Name of the run; made from the flags above unless given.")
flags.DEFINE_string("output_dir", "saved_models", "Where NAME/run and NAME/weights are written.")
flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and list them.")
define_tpu_flags()


def main(argv: list[str]) -> None:
    from covid_lm.pretrain import pretrain
    from covid_lm.training.devices import default_dtype
    from covid_lm.training.pretraining_options import PretrainingOptions

    renamed = {"datasets": "dataset", "data_dirs": "data_dir"}
    values: dict[str, Any] = {
        name: FLAGS[renamed.get(name, name)].value
        for name in PretrainingOptions.__dataclass_fields__
    }
    values["dtype"] = FLAGS.dtype or default_dtype(FLAGS.tpu)
    lists = {name: tuple(values[name]) for name in renamed}
    options = PretrainingOptions(**{**values, **lists})
    result = pretrain(options)
    dataset, data_dir = options.sources[0]
    place = f" --data_dir={data_dir}" if data_dir else ""
    print(
        f"\nwritten: {result.weights_dir}; {result.seconds:.0f} s in all\n"
        f"next:\n  python tools/train.py --dataset={dataset}{place} --backbone={options.backbone} "
        f"--weights={result.weights_dir} --layout={options.layout} --protocol={options.protocol}"
    )


if __name__ == "__main__":
    run_tool(main)
