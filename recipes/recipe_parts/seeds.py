"""One training or several, each with the next seed and, where there are several, its own folder."""

import sys

from absl import flags

from recipe_parts import reporting, run_files

FLAGS = flags.FLAGS


def train_seeds(train, folder, prices, **said):
    """Trains `--runs` times from `--seed` on, and prints and writes what each came to.

    A training that was interrupted, or whose files could not be written, ends the process: 130 and
    1 are its exit codes then. A folder in which nothing was left is removed. Started again with
    its checkpoints, it writes to the same folder, and leaves what was finished there as it is.

    Args:
        train: callable `(seed, folder) -> run_flags.Result`.
        folder: `records.RunFolder`; of several trainings each has a folder in it.
        prices: list of `dawnbench.Price`.
        **said: further entries of every `run.json`.

    Returns:
        list of `run_flags.Result`, one a seed.
    """
    results = []
    with folder.removed_if_empty():
        for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs):
            own = folder if FLAGS.runs == 1 else folder.part(f"seed{seed}")
            result = train(seed, own)
            result.description.update(said)
            reporting.summary(result, prices)
            saved = own.is_finished or run_files.save(
                result, own, prices, FLAGS.author, FLAGS.author_email
            )
            if result.interrupted or not saved:
                sys.exit(130 if result.interrupted else 1)
            own.finish()
            results.append(result)
        if len(results) > 1:
            reporting.spread(results, folder)
        folder.finish()
    return results
