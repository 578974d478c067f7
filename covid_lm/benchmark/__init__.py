"""Side-by-side measurements. Free of TensorFlow, so that `--help` answers at once."""

SUITES = {  # name: module with `run(options)`, imported when its suite is asked for
    "encoder": "covid_lm.benchmark.encoder",
    "training": "covid_lm.benchmark.training",
    "preprocessing": "covid_lm.benchmark.preprocessing",
    "serving": "covid_lm.benchmark.serving",
    "soak": "covid_lm.benchmark.soak",
    "scale": "covid_lm.benchmark.scale",
    "all": "covid_lm.benchmark.all_suites",
}
