import importlib
import sys

from keras_dawn.foundation.users_code import is_users_class, is_users_function


def test_packages_of_a_folder_into_which_pip_installs_are_not_the_users(tmp_path, monkeypatch):
    folders = tmp_path / "target", tmp_path / "project"
    for folder in folders:
        folder.mkdir()
        text = "class Kind:\n    pass\n\n\ndef work():\n    pass\n"
        (folder / f"found_in_{folder.name}.py").write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
    (folders[0] / "some_package-1.0.dist-info").mkdir()  # as `pip install --target` leaves it
    modules = [importlib.import_module(f"found_in_{folder.name}") for folder in folders]
    try:
        assert [is_users_class(module.Kind) for module in modules] == [False, True]
        assert [is_users_function(module.work) for module in modules] == [False, True]
    finally:
        for module in modules:
            del sys.modules[module.__name__]
