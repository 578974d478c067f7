"""Pre-trains a backbone on images without their labels, with BERT's masked-token objective.

The result, saved_models/NAME/weights, is a directory for train.py's --weights, and one that
Hugging Face transformers loads. Give --dataset several times to use several data sets, and
--data_dir once for each of them but phantoms, in the same order. The same command with the same
--name goes on after the last whole epoch.
"""

from covid_lm.command_line import run_tool
from covid_lm.training.options import PretrainingOptions

PretrainingOptions.define_flags()


def main(argv: list[str]) -> None:
    options = PretrainingOptions.from_flags()
    from covid_lm.pretrain import pretrain

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
