"""Files and folders that are read and written as a whole, on this machine or in an S3 bucket.

What belongs here: opening, listing and writing them by the name that a user gives. What does not: what stands in them.
Each kind of storage keeps :class:`headrace.eventing.replay.places.place.Place`, so that a source need not know where
it reads.
"""
