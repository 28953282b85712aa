"""cache"""
def load_cached(file): return None
def save_cached(trace, file): pass
