"""Goes on with a training that was cut off, at the step of its last checkpoint."""

from pathlib import Path

from keras_dawn.dawnbench.paid_time import PaidTime
from keras_dawn.foundation import keras_fit
from keras_dawn.resume.checkpoints import CheckpointFolder
from keras_dawn.resume.compiled_numbers import numbers_set_since
from keras_dawn.resume.eviction import Notices
from keras_dawn.resume.last_word import LastWord
from keras_dawn.resume.restoration import check_agreed
from keras_dawn.resume.saved_state import check_neighbours

import keras


class ResumeTraining(keras.callbacks.Callback):
    """Saves everything that a training is, and goes on from the newest whole checkpoint.

    A run that was killed and started again with the same script ends with the same weights as one
    that was not. Saved are the weights, the buffers of torch modules in the model, which layers and
    variables are frozen, all its optimizers with their hyper-parameters, epoch and step, the
    metrics of a half-finished epoch, the history, the state of Python's, NumPy's, torch's and
    Keras's random numbers of every rank, and the state of callbacks: of those with `state_dict` and
    `load_state_dict`, yours or this package's (the averages of the weights, the epochs and the time
    of `TimeToAccuracy`), of Keras's `EarlyStopping`, `ReduceLROnPlateau`, `ModelCheckpoint`,
    `CSVLogger`, `SwapEMAWeights` and `TensorBoard`, and of whatever is tracked (`track`). A state
    is saved between two steps and may be put back twice; it is anything made of numbers, strings,
    arrays and tensors, else it is refused when the training begins. Of any other callback those
    attributes are saved that have changed since the training began, where all of these are data
    (`resume.plain_attributes` has the rules): the restart says which go on, and which begin anew. A
    callback that counts for its process alone has a `state_dict` that returns `{}`. So it is with
    what your own code keeps in attributes of the model, its layers, losses, metrics and optimizers.
    Followed is what these hold: objects of your classes, closures of your functions, callbacks,
    what they use of modules of your own, and with their whole states models, layers, metrics,
    variables, optimizers and loaders, Keras's or torch's (`resume.own_objects`); numbers, ranges
    and switches that Keras's own layers, regularizers, losses, metrics and optimizers take in
    `__init__`, such as a rate of dropout (functions and objects in their place begin anew, which is
    said); gradients that an own `train_step` adds up. What is made after the training has begun is
    refused or begins anew, as nothing could be put back into it. Not followed are objects of other
    packages without a state to give, which are named when the training begins, and what the rules
    for data below leave out. Of several callbacks of a class each is known by its settings
    (`monitor`, `filepath`), and then by its place.

    Of the data, its place is saved: the random generators, shuffled lists, arrays and tables,
    counts and `state_dict`s in it, in its sampler and its transforms and all that these hold, in
    closures and under the names of the script that its functions use (`SourceState` in
    `foundation.source_state` has the rules), and how many batches of the pass under way were
    trained on. These are fetched again and passed over. Data that holds a queue, a live thread,
    or more than 5,000 objects with states of their own is refused when the training begins.
    What only reads on (a Python generator, a dataset that holds an iterator) is read from its
    beginning and has to give the same batches again; if it does not, the restart is refused. When
    the training begins a `PyDataset` with workers under `steps_per_epoch` is refused, and in a
    plan what only reads on. Workers of a torch `DataLoader` with `persistent_workers` are started
    anew for every pass, also over the data to validate on, and what workers of a `PyDataset` had
    fetched ahead when an epoch ended is not used in the next one.

    The place among the callbacks does not matter: it acts after all others. One object may see a
    script through several `fit`s, one after the other: those that had ended are not trained
    again. So it is with a training that was stopped, by its target or by `EarlyStopping`, whose
    changed `patience` is named with the checkpoint that is to be deleted to train with it. A
    training that had ended with its last epoch goes on where `epochs` has become larger. A folder
    is for one training: where a process has completed one in it, another object with another seed
    (`keras.utils.set_random_seed`) or other settings is refused; with the same it is a restart.

    A checkpoint is written beside its place, with its SHA-256, and moved there. It holds data
    and no code. A file that is damaged, or not what its name says, is passed over with a warning,
    and the one before it is used. Beside a `CSVLogger` that appends, there is one of the very
    beginning too. Where the disk is full, a warning says so and the training goes
    on. Weights that are not finite are not saved; they end the training. On several ranks the
    folder must be one that all of them see; rank 0 writes. On a GPU, files are written beside
    the training. Another number of ranks goes on with the same batches (`resume.other_ranks` has
    the rules); what that cannot be done for is refused by name.

    What the script has changed since is named. Hyper-parameters that were compiled otherwise, or
    set since this process was asked to stop or found weights that are not finite, are taken up,
    except for a rate that a schedule's callback sets or `ReduceLROnPlateau` has
    reduced, which goes on; so are the loss, its weights, the optimizer's other settings, whether
    batch normalisation is synchronised, schedules, settings of callbacks, values in closures, code
    of your functions and classes, and between two epochs data of another length or batch size,
    other class weights and arrays (told apart by some thousand numbers of each). Callbacks that
    are new begin then, except one that has to have seen the beginning (`TimeToAccuracy`). A model
    with other names and the same layers goes on, each weight as the one in its place. Another
    model, optimizer or set of metrics is refused, and a setting by which the optimizer keeps other
    variables, such as `amsgrad`, or layers that are frozen.

    SIGTERM, a notice of eviction and SIGINT save after the step under way, or after a validation
    under way, and end the training: the first two with the exit code 75, SIGINT with
    `KeyboardInterrupt`. A second SIGINT acts at once.

    Args:
        directory: folder for the checkpoints.
        every_steps: int, in how many steps within an epoch to save, or `None`.
        every_seconds: float, how long after the last save to save within an epoch, by rank 0's
            clock, or `None`. Without either it saves after every epoch only.
        keep: int from 1 up, how many checkpoints to keep.
        data: not needed any more; data with `set_epoch` is told the epoch if it is given here.
        save_on_signal: bool, whether to take SIGTERM and SIGINT as above, while `fit` runs in
            the main thread.
        notice: `keras_dawn.resume.eviction.EvictionNotice`, or `None` to ask no cloud.

    Attributes:
        paid: `PaidTime` of all processes that trained from this folder, on rank 0.
        taken_up: list of str, the settings that were others when the training went on, and from
            where on they hold; of all its processes.
        not_taken_up: list of str, those that are others than a complete training had, whose
            weights the model has.
        set_since: list, hyper-parameters that were set between two tries of this process.

    Raises:
        TypeError: when the training begins: a state of a callback that no checkpoint can hold.
        ValueError: bad numbers; `BackupAndRestore`, or another `ResumeTraining` with its folder,
            beside it; a checkpoint of another model or format; data that does not give its batches
            again, or not in their order on another number of ranks; a generator to validate on.
        TypeError: a callback's state that holds more than data.
        OSError: when the training begins: the folder cannot be written, or another process
            trains from it.
        FloatingPointError: weights that are not finite.

    Example:
        >>> resume = ResumeTraining("checkpoints", every_steps=500)     # doctest: +SKIP
        >>> model.fit(train, epochs=30, callbacks=[resume])             # doctest: +SKIP
    """

    def __init__(
        self,
        directory,
        *,
        every_steps=None,
        every_seconds=None,
        keep=2,
        data=None,
        save_on_signal=True,
        notice=None,
    ):
        super().__init__()
        if every_seconds is not None and not every_seconds > 0:
            raise ValueError(f"`every_seconds` must be above 0, got {every_seconds!r}.")
        for name, value in (("every_steps", every_steps), ("keep", keep)):
            given = value is not None or name == "keep"
            if given and (not isinstance(value, int) or value < 1):
                raise ValueError(f"`{name}` must be a whole number from 1 up, got {value!r}.")
        self.every_steps, self.every_seconds = every_steps, every_seconds
        directory = Path(directory).expanduser()
        self.folder = CheckpointFolder(directory, keep)
        self.paid = PaidTime(directory)
        self.notices = Notices(save_on_signal, notice)
        self.tracked, self.set_since = {}, []
        self.taken_up, self.not_taken_up = [], []
        self._data = data
        self._fit = 0  # how many `fit`s this object saw through to their ends
        self._asked = None  # which `fit` comes next, where the script leaves out what is done

    def track(self, name, part):
        """Saves and restores something else, with `state_dict()` and `load_state_dict(state)`."""
        self.tracked[name] = part

    def next_epoch(self):
        """The epoch (0-based) that the training will go on in; 0 without a checkpoint.

        For a script that leaves out `fit`s that are done by itself: the first `fit` after this
        is taken for the one that the checkpoint is of, or for the one after it. On several ranks
        all of them ask, and have the same answer.

        Raises:
            ValueError: the ranks find different checkpoints.
        """
        state = self.folder.newest()
        check_agreed(state, self.folder)
        self._asked = None if state is None else state["fit"] + int(state["complete"])
        return state["epoch"] if state else 0

    def set_model(self, model):
        super().set_model(model)
        self.set_since = numbers_set_since(model)  # before callbacks that begin set rates

    def on_train_begin(self, logs=None):
        callbacks = keras_fit.callback_list(self)
        iterator = keras_fit.epoch_iterator(self.model)
        if callbacks is None or iterator is None:
            raise ValueError(
                "ResumeTraining works only inside `keras.Model.fit`. Call "
                "`fit`, or save in your own loop yourself."
            )
        check_neighbours(callbacks.callbacks)
        self._check_alone(callbacks.callbacks)
        asked, self._asked = self._asked, None
        if asked is not None:
            self._fit = asked
        last = LastWord(self, self._fit, callbacks, iterator, asked is not None)
        last.set_model(self.model)
        last.set_params(callbacks.params)
        callbacks.callbacks.append(last)  # it is called after all others, this time too

    def _check_alone(self, callbacks):
        others = [one for one in callbacks if isinstance(one, ResumeTraining) and one is not self]
        if self.folder.path.resolve() in {one.folder.path.resolve() for one in others}:
            raise ValueError(
                f"Two ResumeTraining in one `fit` would write to {self.folder.path}. Leave one out."
            )

    def on_epoch_begin(self, epoch, logs=None):
        if self._data is not None:
            self._data.set_epoch(epoch)

    def on_train_batch_end(self, batch, logs=None):
        """Overridden, so that Keras calls batch ends in their order, not in threads."""

    def on_train_end(self, logs=None):
        self._fit += 1
