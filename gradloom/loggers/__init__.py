"""A job's rounds, settings and model in the tools where people keep their experiments.

``job.log_to(MlflowLogger())`` follows a job to its end. Each logger is an optional extra: ``gradloom[mlflow]``,
``gradloom[tensorboard]``. To write your own, have the methods of ``RunLogger``.
"""

from gradloom.loggers.mlflow import MlflowLogger
from gradloom.loggers.run_logger import RunLogger, log_run
from gradloom.loggers.tensorboard import TensorBoardLogger

__all__ = ["MlflowLogger", "RunLogger", "TensorBoardLogger", "log_run"]
