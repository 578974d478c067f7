"""Exports a new version from a finished run: export.py --run=saved_models/NAME.

With --encoder, its encoder's weights instead, for another training to begin with.
"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("run", None, "saved_models/NAME, where a run has finished.")
flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16"),
    "Of the export's weights and arithmetic; outputs are float32 in any case.",
)
flags.DEFINE_string(
    "encoder",
    None,
    "Directory for the encoder's weights in Hugging Face's form, as --weights of train.py takes "
    "it; no version is exported then.",
)


def main(argv: list[str]) -> None:
    if FLAGS.run is None:
        raise InputError("--run=saved_models/NAME is needed")
    if FLAGS.encoder is not None:
        from covid_lm.export import write_encoder

        write_encoder(FLAGS.run.rstrip("/"), FLAGS.encoder)
        print(f"written: {FLAGS.encoder}")
        return
    from covid_lm.export import export_run

    version_dir, difference = export_run(FLAGS.run.rstrip("/"), FLAGS.dtype)
    print(
        f"exported {version_dir} in {FLAGS.dtype}: on the run's sample images its probabilities "
        f"differ from the live model's by at most {difference:.1e}"
    )


if __name__ == "__main__":
    run_tool(main)
