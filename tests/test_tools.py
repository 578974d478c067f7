"""The tools from a user's side: help, one-line errors, exit statuses, messages of TensorFlow.

One process loads the modules that all tools share and then forks for every command line.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from absl import flags

from covid_lm import command_line
from covid_lm.command_line import PathParser, check_output, tool_command
from covid_lm.errors import InputError
from tests.conftest import REPOSITORY
from tests.tool_arguments import check_arguments, load_tool

TOOLS = sorted(path.stem for path in (REPOSITORY / "tools").glob("*.py"))
RUNNER = """
import json, os, runpy, sys, tempfile, traceback
import covid_lm.environment, covid_lm.training.options

HEAVY = {"tensorflow", "keras", "torch", "sklearn", "scipy", "pandas", "jinja2"}

def run(command):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        read, write = os.pipe()
        if not os.fork():
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv, code = command, 0
            try:
                runpy.run_path(command[0], run_name="__main__")
            except SystemExit as stop:
                code = stop.code or 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            heavy = HEAVY.intersection(sys.modules)
            os.write(write, json.dumps([code, sorted(heavy)]).encode())
            os._exit(0)
        os.close(write)
        os.wait()
        with os.fdopen(read) as result:
            code, heavy = json.load(result)
        out.seek(0), err.seek(0)
        return {"code": code, "heavy": heavy, "out": out.read(), "err": err.read()}

print(json.dumps([run(command) for command in json.load(sys.stdin)]))
"""
ERRORS = [
    ("train --dataset=mnist", "flag --dataset=mnist: value should be one of"),
    ("train --unknown", "Unknown command line flag 'unknown'"),
    ("train --batch_size=0", "--batch_size=0: must be at least 1"),
    ("train --backbone=nope", "--backbone=nope: no such backbone; choose one of tiny, minilm-l6"),
    ("train --num_processes=2 --coordinator=h:1", "--num_processes=2: only with KERAS_BACKEND=jax"),
    ("train --dataset=folder", "--dataset=folder: needs --data_dir"),
    ("train --dataset=folder --data_dir=~/absent", "--data_dir=/nobody/absent: no such file"),
    ("train --dataset=covid_ct --data_dir=tools", "tools/Images-processed/CT_NonCOVID.zip: no"),
    (
        "train --dataset=cifar100_coarse --data_dir=tools",
        "tools: no cifar100 here; --data_dir must hold",
    ),
    ("train --dataset=folder --data_dir=tools", "tools: 0 class folder(s) found"),
    ("train --weights=absent", "--weights=absent: no such file or directory"),
    ("train --weights=hf://rbt3", "--weights=hf://rbt3: give hf://OWNER/NAME or ...@REVISION"),
    ("pretrain --weights=hf://a/b/c", "--weights=hf://a/b/c: give hf://OWNER/NAME or"),
    ("cross_validate --weights=hf://a/b@", "--weights=hf://a/b@: give hf://OWNER/NAME or"),
    ("train --dataset=cifar10", "--dataset=cifar10: needs --data_dir; --download fetches cifar10"),
    (
        "evaluate --model=tools --dataset=covid_ct --data_dir=absent",
        "--data_dir=absent: no such file or directory; --download fetches covid_ct there",
    ),
    (
        "pretrain --dataset=cifar100 --data_dir=absent",
        "--data_dir=absent: no such file or directory; --download fetches cifar100 there",
    ),
    ("train --download", "--download: only with --dataset=covid_ct or cifar10 or cifar100 or"),
    ("train --dataset=cifar10 --data_dir=setup.cfg/x --download", "--data_dir=setup.cfg/x: "),
    (
        "train --dataset=cifar10 --data_dir=setup.cfg --download",
        "--download: --data_dir=setup.cfg must be a folder on this machine",
    ),
    ("train --output_dir=setup.cfg", "--output_dir=setup.cfg: "),
    ("train --output_dir=caf\udce9", r"--output_dir=caf\xe9: not UTF-8; give another path"),
    ("predict --model=caf\udce9 x.png", r"--model=caf\xe9: not UTF-8; give another path"),
    ("predict --model=tools \x1b[1m", r"\x1b[1m: no such file or directory"),
    ("pretrain --dataset=mnist", "flag --dataset=mnist: value should be one"),
    ("pretrain --mask_rate=1", "--mask_rate=1.0: must be above 0 and below 1"),
    ("pretrain --data_dir=tools", "--data_dir: given 1 time(s), but needed once"),
    ("pretrain --backbone=resnet50", "--backbone=resnet50: no such backbone"),
    ("pretrain --dataset=folder --data_dir=absent", "--data_dir=absent: no such file"),
    ("cross_validate --augment=x", "flag --augment=x: value should be"),
    ("cross_validate --epochs=0", "--epochs=0: must be at least 1"),
    ("cross_validate --record=/none/x.json", "--record=/none/x.json: its folder does not exist"),
    ("cross_validate --folds=1", "flag --folds=1: 1 is not integer >= 2"),
    ("predict x.png", "give either --model="),
    ("predict --output=x x.png", "--output and --beam_options need --runner"),
    ("predict --runner=DirectRunner *.png", "--runner needs --model and --output=PREFIX"),
    ("predict --model=tools --dataset=table", "give --dataset and --data_dir together"),
    ("predict --model=tools --columns=path=x x.png", "--columns: only with --dataset=table"),
    ("predict --model=tools --dataset=table --data_dir=tools x.png", "x.png: give either files or"),
    ("predict --model=absent x.png", "--model=absent: no such directory"),
    ("export", "give --run=saved_models/NAME, a finished run"),
    ("export --run=absent", "--run=absent: no such directory"),
    ("export --run=tools --format=tflite", "flag --format=tflite: value should be one"),
    ("export --run=tools --output=x", "--output: only with --format=onnx or --format=litert"),
    ("export --run=tools --format=litert", "--format=litert: needs --output=DIR, a directory"),
    ("export --run=tools --format=onnx", "--format=onnx: needs --output=DIR, a directory"),
    (
        "export --run=tools --format=onnx --output=x --dtype=bfloat16",
        "--format=onnx: neither with --encoder nor with --dtype=bfloat16",
    ),
    ("results --records=absent", "--records=absent: no such directory"),
    ("results --figure=/none/x.png", "--figure=/none/x.png: its folder does not exist"),
    ("evaluate", "--model=saved_models/NAME is needed"),
    ("evaluate --model=absent", "--model=absent: no such directory"),
    ("evaluate --model=tools", "--model=tools: no exported version in it"),
    ("evaluate --model=tools --output=tools", "--output=tools: is a folder; give the name of a"),
    ("audit --dataset=folder", "--dataset=folder: needs --data_dir"),
    ("audit --columns=label=x", "--columns: only with --dataset=table"),
    ("train --dataset=table --data_dir=tools --columns=x", "--columns=x: give ROLE=COLUMN,ROLE=C"),
    ("pretrain --image_root=tools", "--image_root: only with --dataset=table"),
    ("cross_validate --patient_pattern=(.)", "--patient_pattern: only with --dataset=folder"),
    ("audit --window=lung", "--window: only with --dataset=folder or table or images"),
    ("train --dataset=table --data_dir=tools --window=9", "--window=9: give CENTER,WIDTH, as 40,4"),
    ("predict --model=tools --window=40,0 x.png", "--window=40,0: WIDTH must be at least 1"),
    ("evaluate --model=tools --baselines --split=all", "--baselines: fitted on training images"),
    ("audit --output=setup.cfg/x", "--output=setup.cfg/x: "),
    ("audit --embedding=absent", "--embedding=absent: no such directory"),
    ("audit --embedding=tools", "--embedding=tools: no exported version in it"),
    ("audit --side=64", "--side: only with --neutralise"),
    ("audit --split=/tmp/new.csv", "--split=/tmp/new.csv: the images of phantom are no files of"),
    (
        "audit --dataset=folder --data_dir=tools --neutralise=tools/x",
        "--neutralise=tools/x: is inside the data folder",
    ),
    ("benchmark --backbones=nope", "--backbone=nope: no such backbone"),
    ("benchmark --resume", "--resume needs --json=FILE"),
    ("benchmark --batch_sizes=8,0", "--batch_sizes=0: must be at least 1"),
    ("benchmark --suite=all --dtypes=float32", "--suite=all sets backbones, batch sizes and"),
    ("benchmark --readme=README.md", "--readme=README.md: only with --suite=all"),
]
HELP = [f"{tool} --help" for tool in TOOLS]
STRAY_WORDS = [f"{tool} stray" for tool in TOOLS if tool != "predict"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, dict]:
    """Output, exit status and imported heavy modules of each command line."""
    lines = [*HELP, *STRAY_WORDS, *(line for line, _ in ERRORS)]
    commands = [["tools/" + words[0] + ".py", *words[1:]] for words in map(str.split, lines)]
    process = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HOME": "/nobody"},
    )
    return dict(zip(lines, json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("line", HELP)
def test_help(answers, line):
    answer = answers[line]
    assert (answer["code"], answer["err"], answer["heavy"]) == (0, "", [])
    assert f"tools/{line.split()[0]}.py:\n" in answer["out"]
    assert "  --[no]verbose: " in answer["out"]


@pytest.mark.parametrize(("line", "message"), ERRORS)
def test_wrong_flags_and_input_are_one_line_and_status_2_before_tensorflow(answers, line, message):
    answer = answers[line]
    assert answer["err"].startswith(f"{line.split()[0]}.py: {message}")
    assert answer["err"].count("\n") == 1
    assert (answer["code"], answer["out"], answer["heavy"]) == (2, "", [])


@pytest.mark.parametrize("line", STRAY_WORDS)
def test_a_stray_word_is_an_error(answers, line):
    message = "stray: takes flags only; --help lists them"
    assert answers[line]["err"] == f"{line.split()[0]}.py: {message}\n"
    assert answers[line]["code"] == 2


def test_wrong_input_leaves_no_files(answers):
    assert answers
    assert not (REPOSITORY / "saved_models" / "folder-tiny-paper-paper").exists()


def test_a_reader_that_closes_the_output_is_no_error():
    script = (
        "from covid_lm.command_line import run_tool\n"
        "run_tool(lambda argv: [print('a line') for _ in range(100_000)])\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"a line"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("tool", TOOLS)
def test_every_path_is_a_path_flag(tool):
    """Flags of plain text are those listed here, so that a new path can't be forgotten."""
    texts = {"backbone", "layout", "name", "tpu", "tpu_zone", "gcp_project", "coordinator"}
    texts |= {
        "columns",
        "patient_pattern",
        "window",
        "server",
        "model_name",
        "runner",
        "beam_options",
        "reference",
    }
    _, values = load_tool(str(REPOSITORY / "tools" / f"{tool}.py"))
    plain = {name for name in values if type(values[name].parser) is flags.ArgumentParser}
    assert plain <= texts
    paths = [name for name in values if isinstance(values[name].parser, PathParser)]
    assert all(values[name].parser.parse("~/x") == os.path.expanduser("~/x") for name in paths)
    assert paths or tool == "benchmark"


def test_arguments_are_checked_in_this_process():
    train = str(REPOSITORY / "tools" / "train.py")
    check_arguments(train, ["--dataset=folder", "--data_dir=DIR", "--epochs=3"])
    for arguments, message in (
        (["--epochs=0"], "--epochs=0: must be at least 1"),
        (["--dataset=folder"], "--dataset=folder: needs --data_dir"),
        (["--nothing"], "Unknown command line flag 'nothing'"),
        (["word"], "word: takes flags only"),
    ):
        with pytest.raises(InputError) as error:
            check_arguments(train, arguments)
        assert str(error.value).startswith(message)
    predict = str(REPOSITORY / "tools" / "predict.py")
    check_arguments(predict, ["--model=DIR", "a.png", "b.png"])
    assert "dataset" not in flags.FLAGS


def test_arguments_of_training_on_jax(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # as if JAX were installed
    train = str(REPOSITORY / "tools" / "train.py")
    hosts = ["--num_processes=2", "--process_id=1", "--coordinator=h:1"]
    check_arguments(train, hosts, keras_backend="jax")
    with pytest.raises(InputError, match="only with KERAS_BACKEND=jax"):
        check_arguments(train, hosts)


def test_outputs_are_checked_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for path in ("file", "new", str(tmp_path / "new")):
        check_output("record", os.path.join(tmp_path, path))
    check_output("output_dir", str(tmp_path / "new" / "deep"), is_folder=True)
    PathParser("output file").check("output", "gs://bucket/absent/file")
    for path, is_folder, message in (
        (tmp_path, False, "is a folder; give the name of a file"),
        (tmp_path / "new" / "file", False, "its folder does not exist"),
        (tmp_path / "file" / "x", False, f"{tmp_path / 'file'} is no folder that can be written"),
        (tmp_path / "file" / "x", True, f"{tmp_path / 'file'} is no folder that can be written"),
    ):
        with pytest.raises(InputError) as error:
            check_output("flag", str(path), is_folder)
        assert str(error.value) == f"--flag={path}: {message}"


def test_the_next_command_is_named_as_this_one_was_run(monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/train.py"])
    assert tool_command("predict", "$HOME", model="my runs/1", server=None) == (
        "python tools/predict.py '--model=my runs/1' '$HOME'"
    )
    monkeypatch.setattr("sys.argv", ["train.py"])
    assert tool_command("cross_validate") == "python cross_validate.py"
    monkeypatch.setattr(command_line, "_console_command", True)
    assert tool_command("cross_validate", folds=3) == "covid-lm-cross-validate --folds=3"


KNOWN = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1.2 573 port.cc:153] oneDNN custom operations are on. You may see",
    "I0000 00:00:1.2 573 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will",
    "I0000 573 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available CPU "
    "instructions in performance-critical operations.",
    "To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow",
    "E0000 00:00:1.2 1 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to register",
]


def messages_of_import(directory: pathlib.Path, source: str, **environment: str) -> list[str]:
    """The lines of standard error of a process that imports a stand-in for TensorFlow."""
    lines = [*KNOWN[:3], "W0000 something is wrong", *KNOWN[3:]]
    text = "\n".join(lines) + "\n"
    (directory / "tensorflow.py").write_text(f"import os\nos.write(2, {text.encode()!r})\n{source}")
    script = "from covid_lm.environment import import_tensorflow\nimport_tensorflow()\n"
    process = subprocess.run(
        [sys.executable, "-c", script + "import os; os.write(2, b'afterwards')"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{directory}:{REPOSITORY}", **environment},
    )
    return process.stderr.splitlines()


def test_known_messages_of_an_import_are_left_out_and_others_shown(tmp_path):
    shown = messages_of_import(tmp_path, "print('printed', file=__import__('sys').stderr)")
    assert shown == ["W0000 something is wrong", "printed", "afterwards"]


def test_all_messages_are_shown_where_they_are_wanted_or_an_import_fails(tmp_path):
    shown = messages_of_import(tmp_path, "", TF_CPP_MIN_LOG_LEVEL="0")
    assert len(shown) == len(KNOWN) + 2
    failed = messages_of_import(tmp_path, "raise ImportError('no such library')")
    assert failed[: len(KNOWN) + 1] == shown[:-1]
    assert failed[-1] == "ImportError: no such library"


def test_a_tool_shows_no_messages_of_tensorflow(tmp_path):
    """A real import, after which a warning is shown, but no note of deprecation.

    It is one without Keras, which can be imported afterwards.
    """
    script = textwrap.dedent("""
        import sys
        from covid_lm.command_line import run_tool
        from covid_lm.environment import import_tensorflow

        def main(argv):
            import_tensorflow(with_keras=False)
            import tensorflow as tf
            print(*sorted({"keras", "matplotlib", "pandas", "sklearn"} & {*sys.modules}))
            print(tf.keras.activations.relu(tf.constant(-1.0)).numpy(), "keras" in sys.modules)
            tf.get_logger().warning("f (from g) is deprecated and will be removed in a version.")
            tf.get_logger().warning("something else")

        run_tool(main)
    """)
    path = tmp_path / "tool.py"
    path.write_text(script)
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, check=False, env=environment
    )
    assert (process.returncode, process.stdout) == (0, "\n0.0 True\n")
    assert re.fullmatch(r"W\d{4} .*\] something else\n", process.stderr)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_tools_readme_names_every_flag_and_no_other(tool):
    text = (REPOSITORY / "tools" / "README.md").read_text(encoding="utf-8")
    sections = dict(section.split("\n", 1) for section in text.split("\n## ")[1:])
    named = set(re.findall(r"--(\w+)", sections[f"{tool}.py"]))
    _, values = load_tool(str(REPOSITORY / "tools" / f"{tool}.py"))
    flags_of_train = set(re.findall(r"`--(\w+)`", sections["train.py"]))
    known = named | (flags_of_train if tool == "cross_validate" else set())
    assert named - {"weights"} <= set(values)
    assert set(values) <= known | {"verbose"}
