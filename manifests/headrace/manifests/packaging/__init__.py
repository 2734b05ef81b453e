"""How rendered resources are handed over: plain files, a kustomize base with overlays, a Helm chart.

Pure functions from resources to files; who calls them writes the files. What the resources are belongs elsewhere.
"""
