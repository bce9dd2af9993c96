"""Classification of sentence pairs, a task that is added from outside of the program."""
