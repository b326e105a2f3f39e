"""Many independent learners as one batch of arrays."""

from pg_agents.learners.batch import LearnerBatch
from pg_agents.learners.recorder import BatchRecorder

__all__ = ["BatchRecorder", "LearnerBatch"]
