"""nbval finds its patterns whichever folder pytest is started in."""


def pytest_configure(config):
    if getattr(config.option, "nbval_sanitize_with", None):
        config.option.nbval_sanitize_with = str(config.rootpath / "tests/nbval.cfg")
