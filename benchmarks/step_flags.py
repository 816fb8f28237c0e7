"""Flags of the scripts that compare contestants round by round."""

from absl import flags

flags.DEFINE_string("only", None, "run the cases whose name contains this")
flags.DEFINE_integer("rounds", 7, "rounds of each case", lower_bound=1)
flags.DEFINE_bool("fastai", True, "include fastai where it is installed")
flags.DEFINE_bool("compiled", False, "include ours and the hand loop under torch.compile")
flags.DEFINE_string("json", None, "file to write the ratios to")
