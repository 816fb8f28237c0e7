"""What everything else stands on: hyper-parameters by name, random states, the precision."""
