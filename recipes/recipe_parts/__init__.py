"""What recipes share: flags, data, a training, and what is printed and written about it."""
