"""Classes for image files: predict.py --model=saved_models/NAME FILE_OR_FOLDER ...

Every file is answered once, by its class or by why there is none; exit status 1 if any has none.
"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "saved_models/NAME[/VERSION]; the newest version by default.")
flags.DEFINE_enum("format", "table", ("table", "csv", "json"), "How answers are printed.")
flags.DEFINE_integer("batch_size", 32, "Images answered together.", lower_bound=1)


def main(argv: list[str]) -> int:
    from covid_lm.serving.model_path import resolve_model
    from covid_lm.serving.predict import image_files, predict_files, write_predictions

    if FLAGS.model is None:
        raise InputError("--model=saved_models/NAME is needed")
    files = image_files(argv[1:])
    _, version_dir = resolve_model(FLAGS.model)
    predictions = predict_files(version_dir, files, FLAGS.batch_size)
    return int(write_predictions(predictions, FLAGS.format) > 0)


if __name__ == "__main__":
    run_tool(main)
