"""Exports a new version of a finished run: export.py --run=saved_models/NAME.

With --encoder=DIR, writes the run's encoder weights instead, for train.py --weights=DIR.
"""

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError

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


def options() -> None:
    if FLAGS.run is None:
        raise InputError("give --run=saved_models/NAME, a finished run")
    other = "float16" if FLAGS.encoder is None else "bfloat16"
    if FLAGS.dtype == other:
        reason = "only with --encoder" if FLAGS.encoder is None else "not with --encoder"
        raise InputError(f"--dtype={other}: {reason}")


def main(argv: list[str]) -> None:
    import_tensorflow()
    if FLAGS.encoder is not None:
        from covid_lm.export import write_encoder

        write_encoder(FLAGS.run.rstrip("/"), FLAGS.encoder, FLAGS.dtype)
        print(f"written: {FLAGS.encoder}")
        return
    from covid_lm.export import export_run

    version_dir, difference = export_run(FLAGS.run.rstrip("/"), FLAGS.dtype)
    print(
        f"exported {version_dir} in {FLAGS.dtype}: for the run's sample images, its probabilities "
        f"differ from the live model's by at most {difference:.1e}"
    )


if __name__ == "__main__":
    run_tool(main, options)
