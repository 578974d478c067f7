"""Predicts the classes of image files: predict.py --model=saved_models/NAME FILE_OR_FOLDER ...

Instead of --model, --server=HOST:PORT (gRPC) or --server=http://HOST:PORT (REST) uses a model
server. Prints one line per file: its class, or the reason why it has none. The exit status is 1 if
any file has none.

With --model, --runner=DirectRunner --output=PREFIX predicts the files of a PATTERN
('gs://.../*.png') in an Apache Beam pipeline. The results are shards of JSON lines,
PREFIX-00000-of-00004.jsonl and so on. A file without a class has a row with "valid" false; the
exit status is 0 then, too.
"""

import logging
import os

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError

TAKES_WORDS = True
FLAGS = flags.FLAGS
define_path(
    "model", "Export, saved_models/NAME[/VERSION]; the newest version by default.", "input folder"
)
flags.DEFINE_string(
    "server", None, "TF Serving server: HOST:PORT for gRPC, http://HOST:PORT for REST."
)
flags.DEFINE_string("model_name", "covid_lm", "Name of the model on the server.")
flags.DEFINE_float("timeout", 30, "Seconds for a request, retries included.", lower_bound=0.001)
flags.DEFINE_enum("format", "table", ("table", "csv", "json"), "Output format.")
flags.DEFINE_integer("batch_size", 32, "Largest number of images per call.", lower_bound=1)
flags.DEFINE_string("runner", None, "Apache Beam runner: DirectRunner, DataflowRunner, ...")
define_path("output", "With --runner: PREFIX of the shards, local or gs://.", "output folder")
flags.DEFINE_integer("num_shards", 4, "With --runner: number of shards.", 1, 99999)
flags.DEFINE_string(
    "beam_options", "", "With --runner: further options of Beam, such as '--project=P --region=R'."
)


def options() -> None:
    if FLAGS.runner is not None:
        if FLAGS.model is None or FLAGS.output is None or FLAGS.server is not None:
            raise InputError("--runner needs --model and --output=PREFIX, and no --server")
    elif FLAGS.output is not None or FLAGS.beam_options:
        raise InputError("--output and --beam_options need --runner")
    elif (FLAGS.model is None) == (FLAGS.server is None):
        raise InputError("give either --model=saved_models/NAME or --server=HOST:PORT")


def main(argv: list[str]) -> int:
    if FLAGS.runner is not None:
        return _predict_in_a_pipeline(argv[1:])
    if FLAGS.server is None:
        import_tensorflow()
    from covid_lm.serving.client import predict_on_server
    from covid_lm.serving.predict import image_files, predict_files, write_predictions
    from covid_lm.serving.versions import resolve_model

    files = image_files(argv[1:])
    if FLAGS.server is None:
        _, version_dir = resolve_model(FLAGS.model)
        predictions = predict_files(version_dir, files, FLAGS.batch_size)
    else:
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs every retry
        predictions = predict_on_server(
            FLAGS.server, files, FLAGS.model_name, FLAGS.batch_size, FLAGS.timeout
        )
    return int(write_predictions(predictions, FLAGS.format) > 0)


def _predict_in_a_pipeline(patterns: list[str]) -> int:
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--runner needs Apache Beam ({reason}): pip install 'covid_lm[beam]'"
        ) from None
    # An error of a worker in this process is raised here, too: its traceback is not logged as well.
    for name in ("common", "worker"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    import_tensorflow()
    from covid_lm.serving.batch_inference import run_batch_inference
    from covid_lm.serving.versions import resolve_model

    is_local = "://" not in FLAGS.model
    shards = run_batch_inference(
        os.path.abspath(resolve_model(FLAGS.model)[1]) if is_local else FLAGS.model,
        patterns,
        FLAGS.output,
        FLAGS.num_shards,
        FLAGS.runner,
        FLAGS.beam_options,
        FLAGS.batch_size,
    )
    print("\n".join(shards))
    return 0


if __name__ == "__main__":
    run_tool(main, options, TAKES_WORDS)
