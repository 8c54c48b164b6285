"""The sweep: takes back lost jobs, expires old ones, deletes what is past its time. `python -m worker.sweep`.

Three loops, so that a storage that answers slowly delays no lost job: `reclaim`, `cleanup`, `erase`. Each runs in one
process at a time; more sweeps stand by (`worker/sweep/loop.py`). They are plain loops and no Celery beat, because they
must work when Redis does not (docs/decisions/0004-the-sweep-is-a-loop.md). The batch processor runs beside them:
`worker/batches/processor.py`.
"""
