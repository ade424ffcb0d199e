"""Trainings and sweeps on a SLURM cluster: ``scidiff launch slurm`` writes the script of a job through submitit, and submits it.

The job runs ``python -m scidiff train`` itself, one process a GPU, under srun; nothing is pickled. A job that is preempted, or reaches its
time limit, gets SIGTERM: the training saves and ends with the exit status 143, and the script puts the job back into the queue, where it
continues bit for bit. ``docs/clusters.md`` says what was seen on a real cluster.
"""
