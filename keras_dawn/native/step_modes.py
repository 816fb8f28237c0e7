"""How the steps of a model behave within a call: arrays, logs, gradients, looks for changes."""

import contextlib


class StepModes:
    """How a model steps within one `fit`, `predict` or call by hand; put back after it.

    Attributes:
        steps: `NativeSteps`, or `None`; they may become others in the course of a call.
        makes_arrays: bool, whether what is predicted becomes arrays, and nothing else.
        watched: bool, whether a callback of the user's acts between batches.
        followed: bool, whether `FollowChanges` and `FreshLogs` are told of each batch.
    """

    def __init__(self):
        self.steps = None
        self.makes_arrays = self.watched = self.followed = False

    @contextlib.contextmanager
    def into_arrays(self):
        """What is predicted in here becomes arrays."""
        self.makes_arrays = True  # `prepare` tells the steps
        try:
            yield
        finally:
            self.makes_arrays = False
            if self.steps is not None:
                self.steps.makes_arrays = self.steps.undisturbed = False

    def undisturb(self, undisturbed):
        """Says whether nothing of the user's runs until `into_arrays` ends."""
        if self.steps is not None:
            self.steps.undisturbed = undisturbed

    @contextlib.contextmanager
    def watching(self):
        """A `fit` in here decides for itself whether callbacks watch its batches."""
        before = self.watched
        try:
            yield
        finally:
            self.watched = before
            if self.steps is not None:  # of an outer `fit`, whose callback this one was called in
                self.steps.keep_gradients = before

    @contextlib.contextmanager
    def following(self, followed=True):
        """Whether what is called in here looks at the model's changes before its batches itself."""
        before, self.followed = self.followed, followed
        try:
            yield
        finally:
            self.followed = before

    @contextlib.contextmanager
    def unfollowed(self):
        """A training step in here leaves exact logs, and gradients in the variables."""
        with self.watching(), self.leaving_exact_logs():
            self.watched = self.steps.keep_gradients = True
            yield

    @contextlib.contextmanager
    def leaving_exact_logs(self):
        """The logs of the present steps are exact in here."""
        self.steps.exact_logs = True
        try:
            yield
        finally:
            if self.steps is not None:
                self.steps.exact_logs = False
