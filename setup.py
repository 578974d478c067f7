from setuptools import find_packages, setup

# The tools lie at the top, where a reader looks for them, and are installed as covid_lm.tools.
setup(
    packages=[*find_packages(include=["covid_lm*"]), "covid_lm.tools"],
    package_dir={"covid_lm.tools": "tools"},
)
