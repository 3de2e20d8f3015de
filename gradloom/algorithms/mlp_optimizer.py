"""The optimizer that a perceptron's settings ask for."""

from gradloom.algorithms.mlp_settings import MlpSettings
from gradloom.optimizers.first_order import Adam, Momentum
from gradloom.optimizers.first_order_decoupled import AdamW
from gradloom.optimizers.schedules import Schedule, Scheduled, Stepper


def optimizer_of(settings: MlpSettings, steps_per_epoch: int) -> Scheduled:
    """A stepper whose learning rate follows the schedule, told in epochs, over updates."""
    schedule = Schedule(
        learning_rate=settings.learning_rate,
        name=settings.schedule,
        warmup=round(settings.warmup_epochs * steps_per_epoch),
        length=settings.max_epochs * steps_per_epoch,
        final=settings.final_rate,
        power=settings.power,
    )
    return Scheduled(_stepper(settings), schedule)


def _stepper(s: MlpSettings) -> Stepper:
    match s.solver:
        case "adam":
            return Adam(s.learning_rate, s.beta1, s.beta2, s.epsilon)
        case "adamw":
            return AdamW(s.learning_rate, s.beta1, s.beta2, s.epsilon, s.weight_decay)
        case "sgd":
            return Momentum(s.learning_rate, s.momentum, s.nesterov)
