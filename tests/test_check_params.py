"""`python -m tools.check_params`: what it says of the file, the registry and a killed experiment."""

import pytest

from tools import check_params, repair_lock


def test_the_command_checks_the_file(study):
    assert study.ok("python", "-m", "tools.check_params") == ""
    study.set(model__hidden=0)
    done = study.run("python", "-m", "tools.check_params")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: params.yaml: model.hidden: ")
    assert done.stderr.endswith(", but is 0\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("warning", [None, "warning: a dvc exp run was killed"])
def test_the_values_of_a_killed_experiment_are_warned_of(warning, monkeypatch, capsys):
    monkeypatch.setattr(repair_lock, "killed_experiment", lambda: warning)
    check_params.main()
    assert capsys.readouterr() == ("", f"{warning}\n" if warning else "")


def test_the_registry_is_checked(monkeypatch):
    checked = []
    monkeypatch.setattr(check_params.variants, "check", lambda: checked.append(True))
    check_params.main()
    assert checked == [True]
