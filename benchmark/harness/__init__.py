"""The benchmark. `install` gets what is needed, `postgres` keeps a cluster, `contenders` says how each is started, `measure`
makes one run, `session` all of them in rounds, `summary` the medians and ratios, `report` and `chart` the pages."""
