def cases(scale=None):
    return []
