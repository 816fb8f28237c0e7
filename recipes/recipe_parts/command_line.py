"""How recipes and benchmarks are called: unknown arguments are rejected before any work begins."""

import math
import sys
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
_HELP = {f"{dashes}{name}" for dashes in ("-", "--") for name in ("help", "helpshort", "helpfull")}


def run(main):
    """Calls `main(argv)` with the flags read; `--help` lists those of the script's parts too.

    Unknown arguments, `nan`, `inf` and what `main` raises as `app.UsageError` are said in one line,
    without the list of all flags below which it would be overlooked, and exit with code 1; Ctrl-C
    ends in one line with 130.
    """
    rooms = Path(__file__).resolve().parent, Path(sys.argv[0]).resolve().parent
    for module, defined in FLAGS.flags_by_module_dict().items():
        file = getattr(sys.modules.get(module), "__file__", None)
        if file and Path(file).resolve().parent in rooms:
            for flag in defined:
                FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def checked(argv):
        if argv[1:]:
            raise app.UsageError(f"Not a flag: {' '.join(argv[1:])}. Flags look like --seed=3.")
        for name, value in FLAGS.flag_values_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise app.UsageError(f"--{name} must be a finite number, got {value}.")
        return main(argv)

    def said(argv):
        try:
            return checked(argv)
        except app.UsageError as error:
            sys.exit(f"{error}\n(--help lists the flags)")
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)  # as a shell counts Ctrl-C; where it was is nothing to mend

    try:
        app.run(said)
    except SystemExit as ended:
        if ended.code == 1 and _HELP.intersection(sys.argv[1:]):
            sys.exit(0)  # absl counts help that was asked for as a failure
        raise
