"""Names of variables that processes of taskq set for each other, and that no user sets."""

LIFELINE = "TASKQ_LIFELINE"
"""The file descriptor that a worker reads to learn of its supervisor's death."""
REPORTS = "TASKQ_REPORTS"
"""The file descriptor to which a worker process writes what its supervisor shows of it."""
WORKER_PROCESS = "TASKQ_WORKER_PROCESS"
"""Set in a process under a supervisor, to a JSON list of the warnings that the supervisor has logged."""
DEV_PROCESS = "TASKQ_DEV_PROCESS"
"""Set in the process that `taskq dev` starts anew at each change, to the store that stands for the memory of all."""
PRIVATE = (LIFELINE, REPORTS, WORKER_PROCESS, DEV_PROCESS)
