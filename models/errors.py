"""What can go wrong with models, tokenizers and corpora, in one line that says the way out."""


class ModelError(Exception):
    """A model, tokenizer, adapter, prompt or corpus cannot be had as asked."""
