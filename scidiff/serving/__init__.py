"""Models in a registry, and behind a port.

    >>> from scidiff.serving.register import register_model
    >>> register_model("qm9", alias="champion").alias_uri  # doctest: +SKIP
    'models:/qm9@champion'

From then on ``models:/qm9@champion`` names the model wherever one is named (:mod:`scidiff.registry` fetches the weights), ``mlflow models
serve`` serves it, and ``scidiff models serve`` does so with a guard (:mod:`scidiff.serving.guard`).
"""
