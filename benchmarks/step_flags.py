"""Flags of the scripts that compare contestants round by round, and which cases `--only` leaves."""

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("only", None, "run the cases whose name contains this")
flags.DEFINE_integer("rounds", 7, "rounds of each case", lower_bound=1)
flags.DEFINE_string("json", None, "file to write the ratios to, anew after every case")


def chosen(cases, name_of):
    """The list of the cases whose name contains `--only`.

    Args:
        cases: iterable of cases.
        name_of: callable from a case to its name.

    Raises:
        app.UsageError: there are none.
    """
    cases = list(cases)
    names = list(map(name_of, cases))
    found = [case for case, name in zip(cases, names, strict=True) if (FLAGS.only or "") in name]
    if not found:
        raise app.UsageError(f"No case has --only={FLAGS.only} in its name: {'; '.join(names)}.")
    return found
