import importlib
import sys
from pathlib import Path
from types import FunctionType

import keras_dawn
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


def test_a_folder_whose_name_begins_with_a_librarys_is_the_users():
    function = lambda: None  # noqa: E731
    package = Path(keras_dawn.__file__).parent
    for folder, users in ((package, False), (package.with_name("keras_dawn_runs"), True)):
        code = function.__code__.replace(co_filename=str(folder / "train.py"))
        assert is_users_function(FunctionType(code, {})) is users
