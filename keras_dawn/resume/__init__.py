"""Going on with a training that was cut off: checkpoints, and what tells a training to end."""

from keras_dawn.resume.eviction import Evicted, EvictionNotice
from keras_dawn.resume.resume_training import ResumeTraining

__all__ = ["Evicted", "EvictionNotice", "ResumeTraining"]
