"""Deletes one final job and all that belongs to it, while its client waits.

The sweep writes the output files of its batch anew, without its line: `worker/sweep/erase.py`.
"""

from api.context import Context
from core.erasures import contents, records
from core.erasures.records import NewErasure
from core.rows.job import JobRow
from core.storage import image_prefix


async def delete_job(context: Context, row: JobRow) -> None:
    """Delete the objects of a job, then its rows, then its keys in Redis."""
    await context.storage.delete_prefix(image_prefix(row.id))
    inputs = await context.database.execute(contents.list_unused_inputs(row.project_id, [row.id], uploads=False))
    for file in inputs:
        await context.storage.delete_async(file.storage_key)
    async with context.database.transaction() as transaction:
        await transaction.execute(contents.delete_files(row.project_id, [file.id for file in inputs]))
        await transaction.execute(contents.delete_jobs(row.project_id, [row.id]))
        if row.batch_id is not None:
            await transaction.execute(records.submit(NewErasure(row.project_id, "job", row.id, row.batch_id)))
    await context.threads.storage.run(row.project_id, context.job_keys.delete, [row.id])
