# What the jobs share; they source it in the root of the repository.
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} # the code here, also if VENV belongs to another checkout

# The first node is where the processes meet, at a port of the job's own; set MASTER_PORT if that one is taken.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

# Each worker of the loader computes with one thread, and GPUs leave little to their process; without GPUs it has all.
threads=1
[[ ${SLURM_GPUS_PER_NODE:-0} != 0 ]] || threads=${SLURM_CPUS_PER_TASK:-1}
export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=1
