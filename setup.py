from setuptools import find_packages, setup
from setuptools.command.sdist import sdist


class SourceDistribution(sdist):
    """What builds the package, and nothing else: setuptools would add some of the tests."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, [f for f in files if not f.startswith("tests")])


# The tools lie at the top, where a reader looks for them, and are installed as covid_lm.tools.
setup(
    packages=[*find_packages(include=["covid_lm*"]), "covid_lm.tools"],
    package_dir={"covid_lm.tools": "tools"},
    cmdclass={"sdist": SourceDistribution},
)
