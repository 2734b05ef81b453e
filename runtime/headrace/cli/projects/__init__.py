"""New projects for ``headrace init``: their files as values, and writing them.

Belongs here: what a new project holds. Does not belong here: what its files do when they run; the examples that new
projects are made of lie in the folder ``examples`` of the repository, and in the wheel beside this package.
"""
