"""Exports a new version of a finished run: export.py --run=saved_models/NAME.

With --encoder=DIR, writes the run's encoder weights instead, for train.py --weights=DIR. With
--format=onnx --output=DIR, writes the model for ONNX Runtime, with an example without TensorFlow.
"""

import importlib.util

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError

ONNX_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")  # the extra `onnx`
FLAGS = flags.FLAGS
define_path("run", "Finished run, saved_models/NAME.", "input folder")
flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16", "float16"),
    "Type of the export's weights and arithmetic, float32 or bfloat16; its outputs are always "
    "float32. With --encoder, that of the weights, float32 or float16.",
)
define_path(
    "encoder",
    "Directory for the encoder's weights in Hugging Face's format, for --weights of train.py; no "
    "version is exported then.",
    "output folder",
)
flags.DEFINE_enum(
    "format",
    "saved_model",
    ("saved_model", "onnx"),
    "saved_model: the run's next version; onnx: --output, in float32.",
)
define_path("output", "With --format=onnx: directory to write.", "local folder")


def options() -> None:
    if FLAGS.run is None:
        raise InputError("give --run=saved_models/NAME, a finished run")
    other = "float16" if FLAGS.encoder is None else "bfloat16"
    if FLAGS.dtype == other:
        reason = "only with --encoder" if FLAGS.encoder is None else "not with --encoder"
        raise InputError(f"--dtype={other}: {reason}")
    if FLAGS.format == "saved_model":
        if FLAGS.output is not None:
            raise InputError("--output: only with --format=onnx")
        return
    if FLAGS.output is None:
        raise InputError("--format=onnx: needs --output=DIR, a directory to write")
    if FLAGS.encoder is not None or FLAGS.dtype != "float32":
        raise InputError("--format=onnx: neither with --encoder nor with --dtype=bfloat16")
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format=onnx: needs pip install 'covid_lm[onnx]' (no {', '.join(missing)})"
        )


def main(argv: list[str]) -> None:
    import_tensorflow()
    if FLAGS.encoder is not None:
        from covid_lm.export import write_encoder

        write_encoder(FLAGS.run.rstrip("/"), FLAGS.encoder, FLAGS.dtype)
        print(f"written: {FLAGS.encoder}")
        return
    if FLAGS.format == "onnx":
        from covid_lm.export import write_onnx

        difference = write_onnx(FLAGS.run.rstrip("/"), FLAGS.output)
        print(
            f"written: {FLAGS.output}; for images as PNG, the example's probabilities differ from "
            f"the live model's by at most {difference:.1e}"
        )
        return
    from covid_lm.export import export_run

    version_dir, difference = export_run(FLAGS.run.rstrip("/"), FLAGS.dtype)
    print(
        f"exported {version_dir} in {FLAGS.dtype}: for the run's sample images, its probabilities "
        f"differ from the live model's by at most {difference:.1e}"
    )


if __name__ == "__main__":
    run_tool(main, options)
