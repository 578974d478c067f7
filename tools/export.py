"""Exports a new version of a finished run: export.py --run=saved_models/NAME.

With --encoder=DIR, writes the run's encoder weights instead, for train.py --weights=DIR. With
--format=onnx or --format=litert and --output=DIR, writes the model for ONNX Runtime or LiteRT, with
an example that needs no TensorFlow.
"""

import importlib.util

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError

# Format -> packages of the extra of that name.
PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}
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
    ("saved_model", *PACKAGES),
    "saved_model: the run's next version; onnx, litert: --output, in float32.",
)
define_path("output", "With --format=onnx or litert: directory to write.", "local folder")


def options() -> None:
    if FLAGS.run is None:
        raise InputError("give --run=saved_models/NAME, a finished run")
    other = "float16" if FLAGS.encoder is None else "bfloat16"
    if FLAGS.dtype == other:
        reason = "only with --encoder" if FLAGS.encoder is None else "not with --encoder"
        raise InputError(f"--dtype={other}: {reason}")
    flag = f"--format={FLAGS.format}"
    if FLAGS.format == "saved_model":
        if FLAGS.output is not None:
            raise InputError("--output: only with --format=onnx or --format=litert")
        return
    if FLAGS.output is None:
        raise InputError(f"{flag}: needs --output=DIR, a directory to write")
    if FLAGS.encoder is not None or FLAGS.dtype != "float32":
        raise InputError(f"{flag}: neither with --encoder nor with --dtype=bfloat16")
    missing = [name for name in PACKAGES[FLAGS.format] if importlib.util.find_spec(name) is None]
    if missing:
        packages = ", ".join(missing)
        raise InputError(f"{flag}: needs pip install 'covid_lm[{FLAGS.format}]' (no {packages})")


def main(argv: list[str]) -> None:
    import_tensorflow()
    if FLAGS.encoder is not None:
        from covid_lm.export import write_encoder

        write_encoder(FLAGS.run.rstrip("/"), FLAGS.encoder, FLAGS.dtype)
        print(f"written: {FLAGS.encoder}")
        return
    if FLAGS.format != "saved_model":
        from covid_lm.export import write_core

        difference = write_core(FLAGS.run.rstrip("/"), FLAGS.output, FLAGS.format)
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
