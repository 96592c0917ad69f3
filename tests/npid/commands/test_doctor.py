from importlib import metadata

from npid.commands import doctor
from tests.npid.command_line import npid


def test_what_is_installed_is_shown():
    done = npid("doctor")
    assert done.exit_code == 0 and "torch" in done.output and "CLASH" not in done.output
    assert metadata.version("torch") in done.output


def test_a_package_that_another_distribution_owns_is_a_clash(monkeypatch):
    owners = {"zoo": ["npid-zoo"], "npid": ["npid-zoo"], "pretrain": ["pretrain", "npid-zoo"]}
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: owners)
    assert doctor._clashes() == {"pretrain"}
    done = npid("doctor")
    assert done.exit_code == 1 and "reinstall npid-zoo" in done.output
    assert done.output.count("CLASH") == 1


def test_what_is_missing_comes_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    rows = dict(doctor._optional_rows())
    assert rows["faiss (indices)"] == "missing: pip install 'npid-zoo[index]'"
    assert doctor._clashes() == set(doctor.PACKAGES), "a package that is not found is a clash too"
