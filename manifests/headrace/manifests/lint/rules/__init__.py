"""The rules of ``headrace lint``: a family a file, and one table of all of them (``table``)."""
