"""Predicts the classes of image files: predict.py --model=saved_models/NAME FILE_OR_FOLDER ...

The files may also be those of a table, which needs no labels: --dataset=table --data_dir=FILE.csv.
Prints one line per file: its class, or the reason why it has none; the exit status is 1 if any file
has none. With --runner, an Apache Beam pipeline predicts the files of PATTERN ... and writes shards
of JSON lines, with "valid" false for a file without a class; the exit status is 0 then, too.
"""

import contextlib
import logging

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.data import WITH_FILES
from covid_lm.data.dicom_frames import FRAMES, with_all_frames
from covid_lm.data.reading import Reading, parse_columns
from covid_lm.data.windows import WINDOW_HELP, Window, parse_window
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError, reason
from covid_lm.serving.client import predict_on_server
from covid_lm.serving.predict import (
    image_files,
    predict_files,
    unoptimized_graphs,
    window_of,
    write_predictions,
)
from covid_lm.serving.versions import resolve_model

TAKES_WORDS = True
FEW = 8  # files, for which optimizing the graph isn't worth its time
FLAGS = flags.FLAGS
define_path("model", "Export, saved_models/NAME[/VERSION]; by default the newest.", "input folder")
flags.DEFINE_enum("dataset", None, WITH_FILES, "The images of --data_dir, instead of words.")
define_path("data_dir", "With --dataset: a folder of images, or a table with a row for each.")
flags.DEFINE_string("columns", None, "Of a table: 'path=NAME' if another name than usual.")
define_path("image_root", "Of a table: folder of its images; default: its own.", "input folder")
flags.DEFINE_string("server", None, "Model server: HOST:PORT for gRPC, http://HOST:PORT for REST.")
flags.DEFINE_string("model_name", "covid_lm", "Name of the model on the server.")
flags.DEFINE_float("timeout", 30, "Seconds for a request, retries included.", lower_bound=0.001)
flags.DEFINE_enum("format", "table", ("table", "csv", "json"), "Output format.")
flags.DEFINE_integer("batch_size", 32, "Largest number of images per call.", lower_bound=1)
flags.DEFINE_string("runner", None, "Apache Beam runner: DirectRunner, DataflowRunner, ...")
flags.DEFINE_string("window", None, WINDOW_HELP + "the model's, else a DICOM file's own.")
flags.DEFINE_enum("frames", "middle", FRAMES, "Frames of a DICOM file that has several.")
define_path("output", "With --runner: PREFIX of the shards, local or gs://.", "output folder")
flags.DEFINE_integer("num_shards", 4, "With --runner: number of shards.", 1, 99999)
flags.DEFINE_string("beam_options", "", "With --runner: Beam's options, '--project=P --region=R'.")


def options() -> None:
    parse_window(FLAGS.window)
    if FLAGS.runner is not None and FLAGS.frames == "all":
        raise InputError("--frames=all: not with --runner, which takes the middle frame")
    if FLAGS.runner is not None:
        if FLAGS.model is None or FLAGS.output is None or FLAGS.server is not None:
            raise InputError("--runner needs --model and --output=PREFIX, and no --server")
    elif FLAGS.output is not None or FLAGS.beam_options:
        raise InputError("--output and --beam_options need --runner")
    elif (FLAGS.model is None) == (FLAGS.server is None):
        raise InputError("give either --model=saved_models/NAME or --server=HOST:PORT")
    if FLAGS.dataset is not None and FLAGS.runner is not None:
        raise InputError("--dataset: not with --runner, which takes patterns of files")
    if (FLAGS.dataset is None) != (FLAGS.data_dir is None):
        raise InputError("give --dataset and --data_dir together, or neither and the files")
    Reading(_columns(), FLAGS.image_root).check(FLAGS.dataset)


def main(argv: list[str]) -> int:
    if FLAGS.runner is not None:
        return _predict_in_a_pipeline(argv[1:])
    files = _files(argv[1:])
    if FLAGS.frames == "all":
        files = with_all_frames(files)
    graphs: contextlib.AbstractContextManager = contextlib.nullcontext()
    if FLAGS.server is None:
        import_tensorflow(with_keras=False)
        if len(files) <= FEW:
            graphs = unoptimized_graphs()
        version_dir = resolve_model(FLAGS.model)[1]
        predictions = predict_files(version_dir, files, FLAGS.batch_size, _window(version_dir))
    else:
        for name in ("urllib3", "grpc"):  # they log every retry, and answers that are no messages
            logging.getLogger(name).setLevel(logging.CRITICAL)
        predictions = predict_on_server(
            FLAGS.server,
            files,
            FLAGS.model_name,
            FLAGS.batch_size,
            FLAGS.timeout,
            parse_window(FLAGS.window),
        )
    with graphs:
        return int(write_predictions(predictions, FLAGS.format, files) > 0)


def _columns() -> dict[str, str]:
    return {} if FLAGS.columns is None else parse_columns(FLAGS.columns)


def _files(words: list[str]) -> list[str]:
    if FLAGS.dataset is not None and words:
        raise InputError(f"{words[0]}: give either files or --dataset={FLAGS.dataset}")
    if FLAGS.dataset != "table":
        return image_files(words or ([FLAGS.data_dir] if FLAGS.dataset else []))
    from covid_lm.data.table import table_images  # pandas is slow to import

    return table_images(FLAGS.data_dir, _columns(), FLAGS.image_root)


def _predict_in_a_pipeline(patterns: list[str]) -> int:
    try:
        from covid_lm.serving.batch_inference import run_batch_inference
    except ImportError as error:
        message = f"--runner needs Apache Beam ({reason(error)}): pip install 'covid_lm[beam]'"
        raise InputError(message) from None
    # An error of a worker in this process is raised here, too: its traceback is not logged as well.
    for name in ("common", "worker"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    import_tensorflow(with_keras=False)
    version_dir = resolve_model(FLAGS.model)[1]
    shards = run_batch_inference(
        version_dir,
        patterns,
        FLAGS.output,
        FLAGS.num_shards,
        FLAGS.runner,
        FLAGS.beam_options,
        FLAGS.batch_size,
        _window(version_dir),
    )
    print("\n".join(shards))
    return 0


def _window(version_dir: str) -> Window | None:
    return parse_window(FLAGS.window or window_of(version_dir))


if __name__ == "__main__":
    run_tool(main, options, TAKES_WORDS)
