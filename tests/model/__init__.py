"""The protocol of a job as a state machine: real decisions, virtual processes, faults by chance."""
