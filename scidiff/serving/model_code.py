"""What MLflow runs when it loads a registered model (models from code): it names a domain, and holds nothing else of the model.

Run by MLflow alone, which knows the configuration that the model was registered with.
"""

from __future__ import annotations

from mlflow.models import ModelConfig, set_model

from scidiff.serving.pyfunc import pyfunc_model

set_model(pyfunc_model(ModelConfig().to_dict()))
