"""Exports a new version from a finished run: export.py --run=saved_models/NAME."""

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


def main(argv: list[str]) -> None:
    from covid_lm.serving.export import export_run

    if FLAGS.run is None:
        raise InputError("--run=saved_models/NAME is needed")
    version_dir, difference = export_run(FLAGS.run.rstrip("/"), FLAGS.dtype)
    print(
        f"exported {version_dir} in {FLAGS.dtype}: on the run's sample images its probabilities "
        f"differ from the live model's by at most {difference:.1e}"
    )


if __name__ == "__main__":
    run_tool(main)
