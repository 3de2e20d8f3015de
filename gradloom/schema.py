"""What a job knows of its data once every row has been looked at."""

from dataclasses import dataclass

from gradloom.data.preparation import Preparation
from gradloom.data.shard import Labels


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns, classes and counts of a job's data; what an algorithm starts from and a model remembers."""

    features: tuple[str, ...]
    target: str
    """Empty where none is looked at."""
    classes: Labels | None
    """None where the target is no class."""
    train_rows: int
    validation_rows: int
    test_rows: int
    train_weight: float
    """Sum of the weights of the train rows, class weights included."""
    preparation: Preparation

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return len(self.features)

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 in a regression."""
        return 0 if self.classes is None else len(self.classes)
