"""Classes for image files: predict.py --model=saved_models/NAME FILE_OR_FOLDER ...

Instead of --model, --server=HOST:PORT (gRPC) or --server=http://HOST:PORT (REST) asks a model
server. Every file is answered once, by its class or by why there is none; exit status 1 if any has
none.
"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "saved_models/NAME[/VERSION]; the newest version by default.")
flags.DEFINE_string(
    "server", None, "Ask a TF Serving server: HOST:PORT by gRPC, http://HOST:PORT by REST."
)
flags.DEFINE_string("model_name", "covid_lm", "The model's name on the server.")
flags.DEFINE_float("timeout", 30, "Seconds a request to the server may take.", lower_bound=0.001)
flags.DEFINE_enum("format", "table", ("table", "csv", "json"), "How answers are printed.")
flags.DEFINE_integer("batch_size", 32, "Images answered together.", lower_bound=1)


def main(argv: list[str]) -> int:
    from covid_lm.serving.client import predict_on_server
    from covid_lm.serving.model_path import resolve_model
    from covid_lm.serving.predict import image_files, predict_files, write_predictions

    if (FLAGS.model is None) == (FLAGS.server is None):
        raise InputError("give either --model=saved_models/NAME or --server=HOST:PORT")
    files = image_files(argv[1:])
    if FLAGS.server is None:
        _, version_dir = resolve_model(FLAGS.model)
        predictions = predict_files(version_dir, files, FLAGS.batch_size)
    else:
        predictions = predict_on_server(
            FLAGS.server, files, FLAGS.model_name, FLAGS.batch_size, FLAGS.timeout
        )
    return int(write_predictions(predictions, FLAGS.format) > 0)


if __name__ == "__main__":
    run_tool(main)
